"""What `verify` allows is never made looser by a manifest that travels with the file.

Tests `verify_request` of api.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mobile_export.api import verify
from mobile_export.errors import ArtifactError, UsageError
from mobile_export.exporters import apart
from mobile_export.exporters.interface import runtime_of
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.pipeline import ExportReport
from mobile_export.sources.table import Source
from tests.conftest import need

LOOSENED = [
    name if name == "tnn" else pytest.param(name, marks=pytest.mark.matrix)  # the cheapest
    for name in (row.name for row in FORMATS if len(row.precisions) > 1)
]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child that reads a file first takes seconds; what is allowed does not depend on it."""
    monkeypatch.setattr(
        apart, "describe_apart", lambda row, path, run: runtime_of(row).describe(path)
    )


@pytest.fixture
def slightly_wrong(
    request: pytest.FixtureRequest, exported: Callable[..., ExportReport], tmp_path: Path
) -> Path:
    """A float32 file with its manifest, 1e-3 off the model that it is compared with."""
    name: str = request.param
    need(name)
    path = exported(name, precision="fp32").artifacts[0].path
    assert path is not None
    manifest = path.with_name(path.name + ".manifest.json")
    for part in (*get_format(name).files(path), manifest):
        (shutil.copytree if part.is_dir() else shutil.copy)(part, tmp_path / part.name)
    return tmp_path / path.name


def _wrong(source: Source) -> torch.nn.Module:
    return torch.nn.Sequential(source.module, _Scale())


class _Scale(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 1.001


def _edit(path: Path, **facts: object) -> None:
    place = path.with_name(path.name + ".manifest.json")
    place.write_text(json.dumps(json.loads(place.read_text()) | facts))


@pytest.mark.parametrize("slightly_wrong", LOOSENED, indirect=True)
def test_a_manifest_that_asks_for_less(slightly_wrong: Path, source: Source) -> None:
    _edit(slightly_wrong, precision="fp16")
    report = verify(slightly_wrong, _wrong(source), size=32)
    assert report.parity.status == "failed"
    assert report.parity.tolerance < 1e-4
    assert "fp32, which is what the file holds; its manifest says fp16" in report.allowed_by
    asked = verify(slightly_wrong, _wrong(source), size=32, precision="fp16")
    assert asked.parity.status == "passed"
    assert asked.allowed_by == "fp16, as was asked for"


@pytest.mark.parametrize("slightly_wrong", ["onnx"], indirect=True)
def test_the_tolerances_of_a_manifest_are_not_used(slightly_wrong: Path, source: Source) -> None:
    place = slightly_wrong.with_name(slightly_wrong.name + ".manifest.json")
    facts = json.loads(place.read_text())
    facts["parity"]["tolerance"] = 1e300
    facts["expected"]["tolerance"] = {"fp32": 0.01}
    _edit(slightly_wrong, **facts)
    report = verify(slightly_wrong, _wrong(source), size=32)
    assert report.parity.status == "failed"
    assert report.allowed_by == "fp32, as the manifest beside the file says"
    _edit(slightly_wrong, precision="fp8")
    with pytest.raises(ArtifactError, match="precision is 'fp8'"):
        verify(slightly_wrong, _wrong(source), size=32)
    _edit(slightly_wrong, precision="fp16")
    with pytest.raises(UsageError, match="not written in fp16"):
        verify(slightly_wrong, _wrong(source), size=32)
    place.unlink()
    report = verify(slightly_wrong, source.module, size=32)
    assert report.parity.status == "passed"
    assert report.allowed_by == "fp32, the default of ONNX files (no manifest)"

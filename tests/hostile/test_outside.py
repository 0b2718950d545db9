"""A file is judged by its own content only, and by the precision that was asked for.

Tests the evaluator of ML Programs (text.py), the one of TNN, and the precision of `verify`.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mobile_export.api import inspect, verify
from mobile_export.errors import ArtifactError
from mobile_export.pipeline import ExportReport
from mobile_export.sources.table import Source
from tests.conftest import need


@pytest.fixture
def packages(exported: Callable[..., ExportReport], tmp_path: Path) -> tuple[Path, Path]:
    """A good package, and a copy of it whose weights are rubbish."""
    need("coreml")
    path = exported("coreml").artifacts[0].path
    assert path is not None
    good, bad = tmp_path / "good.mlpackage", tmp_path / "bad.mlpackage"
    for copy in (good, bad):
        shutil.copytree(path, copy)
    weights = next(bad.rglob("weight.bin"))
    weights.write_bytes(b"\xff" * weights.stat().st_size)
    return good, bad


def _edit_manifest(package: Path, end: str, new: str) -> None:
    place = package / "Manifest.json"
    manifest = json.loads(place.read_text())
    for item in manifest["itemInfoEntries"].values():
        if item["path"].endswith(end):
            item["path"] = new
    place.write_text(json.dumps(manifest))


def _refused(package: Path, source: Source) -> None:
    with pytest.raises(ArtifactError, match=r"inside|leads out"):
        inspect(package)
    with pytest.raises(ArtifactError, match=r"inside|leads out"):
        verify(package, source.module, size=32)


@pytest.mark.parametrize("item", ["model.mlmodel", "weights"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_manifest_that_points_outside(
    packages: tuple[Path, Path], source: Source, item: str, absolute: bool
) -> None:
    good, bad = packages
    found = next(p for p in good.rglob("*") if p.name == item).relative_to(good).as_posix()
    _edit_manifest(bad, item, str(good / found) if absolute else f"../../{good.name}/{found}")
    _refused(bad, source)


def test_weights_that_point_outside(packages: tuple[Path, Path], source: Source) -> None:
    """The program says ``@model_path/../../w``, as long as the name it had."""
    good, bad = packages
    old = b"@model_path/weights/weight.bin"
    outside = "../../../" + "w" * (len(old) - len("@model_path/../../../"))
    shutil.copy(next(good.rglob("weight.bin")), bad.parent / outside.rpartition("/")[2])
    model = next(bad.rglob("*.mlmodel"))
    content = model.read_bytes()
    assert old in content
    model.write_bytes(content.replace(old, b"@model_path/" + outside.encode()))
    _refused(bad, source)


@pytest.mark.parametrize("name", ["weight.bin", "weights", "Data"])
def test_a_link_out_of_the_package(packages: tuple[Path, Path], source: Source, name: str) -> None:
    good, bad = packages
    place = next(p for p in bad.rglob("*") if p.name == name)
    target = next(p for p in good.rglob("*") if p.name == name)
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(target)
    _refused(bad, source)


def test_one_float16_bias_does_not_loosen_a_float32_file(
    exported: Callable[..., ExportReport], source: Source, tmp_path: Path
) -> None:
    """The classifier's weights are 0.1 % too large, 100 times what float32 allows (1e-5)."""
    path = exported("tnn", precision="fp32").artifacts[0].path
    assert path is not None
    proto, model = tmp_path / "x.tnnproto", tmp_path / "x.tnnmodel"
    shutil.copy(path, proto)
    head = source.module.head
    assert isinstance(head, torch.nn.Linear)
    content = path.with_suffix(".tnnmodel").read_bytes()
    weight, bias = (p.detach().numpy().astype("<f4") for p in (head.weight, head.bias))
    assert content.count(weight.tobytes()) == content.count(bias.tobytes()) == 1
    content = content.replace(weight.tobytes(), (weight * np.float32(1.001)).tobytes())
    content = _as_float16(content, bias)
    model.write_bytes(content)
    report = verify(proto, source.module, size=32)
    assert inspect(proto)["precision"] == "fp16"  # the lowest that is inside
    assert report.parity.precision == "fp32"
    assert report.parity.status == "failed"
    assert 20e-5 < report.parity.max_rel < 1e-2  # float16 would allow it


def _as_float16(content: bytes, values: np.ndarray) -> bytes:
    """``content`` of a .tnnmodel with one array of one axis stored as float16 (TNN: type 1)."""
    start = content.index(values.tobytes())
    for rank in range(5):  # magic, type, bytes, rank, dimensions
        head = start - 16 - 4 * rank
        magic, kind, size, stored = struct.unpack_from("<IiiI", content, head)
        if magic == 0xFABC0004 and kind == 0 and size == values.nbytes and stored == rank:
            new = struct.pack("<IiiI", magic, 1, size // 2, rank)
            dimensions = content[head + 16 : start]
            rest = content[start + size :]
            return content[:head] + new + dimensions + values.astype("<f2").tobytes() + rest
    raise AssertionError("the array has no header")

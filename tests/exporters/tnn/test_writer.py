"""Models exported to TNN, through the whole pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.errors import ExportError
from mobile_export.exporters.tnn.evaluator import load_network
from mobile_export.exporters.tnn.files import MAGIC
from mobile_export.pipeline import ExportReport
from tests.conftest import MultiOutput


class Signs(nn.Module):
    """TNN has no powers of a negative number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.pow(-1.0, x.round())


def test_two_files_and_their_manifest(exported: Callable[..., ExportReport]) -> None:
    (artifact,) = exported("tnn").artifacts
    assert artifact.parity.passed
    assert artifact.parity.emulated
    assert artifact.parity.runtime == "TNN reference evaluator"
    assert [file.suffix for file in artifact.files] == [".tnnproto", ".tnnmodel", ".json"]
    assert artifact.bytes == sum(file.stat().st_size for file in artifact.files[:2])
    manifest = json.loads(artifact.files[2].read_text())
    assert [item["file"] for item in manifest["companions"]] == [artifact.files[1].name]


def test_header(exported: Callable[..., ExportReport]) -> None:
    """Five lines of header, each quoted and ended by a comma (TNN, ``model_packer.cc``)."""
    proto, model, _ = exported("tnn").artifacts[0].files
    lines = proto.read_text().splitlines()
    assert all(line.startswith('"') and line.endswith(',"') for line in lines)
    blobs = lines[2].strip('" ,').split()
    assert lines[0] == f'"1 {len(blobs)} 1 {MAGIC} ,"'
    assert lines[1] == '"image 4 1 3 32 32 0 ,"'
    assert lines[3] == '"logits ,"'
    assert lines[4] == f'" {len(lines) - 5} ,"'
    assert model.read_bytes()[:4] == MAGIC.to_bytes(4, "little")


def test_half_precision(exported: Callable[..., ExportReport]) -> None:
    full, half = exported("tnn").artifacts[0], exported("tnn", precision="fp16").artifacts[0]
    assert half.parity.passed
    assert half.parity.precision == "fp16"
    assert half.files[1].stat().st_size < full.files[1].stat().st_size


def test_several_outputs(tmp_path: Path) -> None:
    module = MultiOutput().eval()
    report = mobile_export.export(module, "tnn", tmp_path, name="net", size=(16, 16))
    assert report.exit_code == 0
    network = load_network(tmp_path / "net.tnnproto")
    assert network.outputs == ("out", "features")
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        expected = module(image)
    for name, array in network.run({"image": image.numpy()}).items():
        np.testing.assert_allclose(array, expected[name].numpy(), atol=1e-5)


def test_what_tnn_lacks_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(ExportError, match="powers of -1") as caught:
        mobile_export.export(
            nn.Sequential(nn.Conv2d(3, 4, 3), Signs()).eval(),
            "tnn",
            folder,
            name="net",
            size=(16, 16),
        )
    assert "'1'" in caught.value.message
    assert caught.value.hint
    assert not folder.exists()

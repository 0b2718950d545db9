"""What ``inspect`` says about each format, and what it says about files that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mobile_export.api import inspect
from mobile_export.errors import ArtifactError
from mobile_export.exporters.row import Format
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.exporters.tflite import session as tflite
from mobile_export.pipeline import ExportReport
from mobile_export.sources.table import Source
from tests.conftest import load_file, need

NAMES = [target.name for target in FORMATS]


@pytest.mark.parametrize("name", NAMES)
def test_facts(name: str, exported: Callable[..., ExportReport], source: Source) -> None:
    need(name)
    artifact = exported(name).artifacts[0]
    assert artifact.path is not None
    facts = inspect(artifact.path)
    assert facts["format"] == name
    assert facts["bytes"] == artifact.bytes
    assert facts["precision"] == get_format(name).precisions[0].name
    assert sum(facts["ops"].values()) > 10
    assert sorted(facts["inputs"][0]["shape"]) == [1, 3, 32, 32]
    assert "logits" in facts["outputs"][0]["name"]
    torch_count = sum(p.numel() for p in source.module.parameters())
    assert isinstance(source.module.head, torch.nn.Linear)
    # norms are folded into convolutions, shapes and scales are stored as constants
    assert facts["parameters"] == pytest.approx(torch_count, rel=0.15)


@pytest.mark.parametrize("target", FORMATS, ids=NAMES)
@pytest.mark.parametrize("content", [b"", b"not a model at all" * 10])
def test_damaged_files(target: object, content: bytes, tmp_path: Path) -> None:

    assert isinstance(target, Format)
    need(target.name)
    file = tmp_path / f"x{target.suffix}"
    file.write_bytes(content)
    with pytest.raises(ArtifactError):
        inspect(file)
    with pytest.raises(ArtifactError):
        load_file(target.name, file, ())


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_truncated_files(name: str, exported: Callable[..., ExportReport], tmp_path: Path) -> None:
    need(name)
    path = exported(name).artifacts[0].path
    assert path is not None
    file = tmp_path / path.name
    file.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArtifactError):
        load_file(name, file, ())


def test_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        inspect(tmp_path / "x.onnx")
    (tmp_path / "x.dat").write_text("")
    with pytest.raises(ArtifactError, match="no known suffix"):
        inspect(tmp_path / "x.dat")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        # printed by TensorFlow 2.21.0 for a file of ours
        (
            "Your model looks compatible with GPU delegate on TFLite runtime version 2.21.0.\n"
            "This does not guarantee that your model will work well with GPU delegate",
            "compatible, says TensorFlow's analyzer",
        ),
        # the example of tensorflow.org/lite/guide/model_analyzer
        (
            "  Op#0 SLICE(T#0, T#4, T#5) -> [T#1]\n"
            "GPU COMPATIBILITY WARNING: SLICE supports for 3 or 4 dimensional tensors only, "
            "but node has 1 dimensional tensors.\n"
            "GPU COMPATIBILITY WARNING: Subgraph#0 has GPU delegate compatibility issues at "
            "nodes 0 on TFLite runtime version 2.9.0",
            "not compatible: SLICE supports for 3 or 4 dimensional tensors only, but node has 1 "
            "dimensional tensors.; Subgraph#0 has GPU delegate compatibility issues at nodes 0 on "
            "TFLite runtime version 2.9.0",
        ),
        ("", "unknown: the analyzer gave no verdict"),
    ],
)
def test_reading_the_gpu_analysis(text: str, verdict: str) -> None:
    assert tflite._read_analysis(text) == verdict

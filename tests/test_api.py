"""The calls of the Python interface: their keywords become one request and one configuration."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import mobile_export
from mobile_export import api
from mobile_export.errors import UsageError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import FORMATS
from mobile_export.sources.request import ModelRequest


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `export` hands on."""
    found: list[Any] = []

    def record(request: Any, formats: Any, config: Any, **others: Any) -> None:
        found[:] = [request, formats, config, others]

    monkeypatch.setattr(api, "export_request", record)
    return found


def test_keywords_become_a_request_and_a_configuration(asked: list[Any], tmp_path: Path) -> None:
    nms = mobile_export.NmsOptions(max_detections=5)
    integers = mobile_export.QuantizationOptions(calibration="photos", sqnr=20)
    mobile_export.export(
        "emo_1m", "onnx", tmp_path, name="net", precision="fp32", force=True, no_passes=["x"],
        nms=nms, quantization=integers, weights="w.pth", size=64, labels=["a", "b"], seed=3,
    )  # fmt: skip
    request, formats, config, others = asked
    assert request == ModelRequest(
        "emo_1m", weights=Path("w.pth"), size=(64, 64), labels=("a", "b"), seed=3
    )
    assert formats == "onnx"
    assert config == ExportConfig(
        out_dir=tmp_path,
        force=True,
        precision="fp32",
        no_passes=("x",),
        nms=nms,
        quantization=integers,
    )
    assert others["name"] == "net"


def test_every_format_takes_its_options_under_its_name(asked: list[Any]) -> None:
    for row in FORMATS:
        mobile_export.export("emo_1m", **{row.name: row.options()})
        assert asked[2].options == {row.name: row.options()}
        mobile_export.export("emo_1m", **{row.name: None})
        assert asked[2].options == {}


def test_options_of_another_format_are_refused() -> None:
    with pytest.raises(UsageError, match=r"`tflite` is a CoreMLOptions\.\nGive a TFLiteOptions"):
        mobile_export.export("emo_1m", tflite=mobile_export.CoreMLOptions())


def test_a_misspelt_keyword_is_a_type_error() -> None:
    for call in (mobile_export.export, mobile_export.create_model, mobile_export.prepare):
        with pytest.raises(TypeError, match="wieghts"):
            call("emo_1m", wieghts="w.pth")
    with pytest.raises(TypeError, match="wieghts"):
        mobile_export.verify("x.onnx", "emo_1m", wieghts="w.pth")


def test_no_format_is_called_like_another_keyword() -> None:
    taken = {field.name for field in fields(ModelRequest)}
    taken |= set(inspect.signature(mobile_export.export).parameters)
    assert not taken & {row.name for row in FORMATS}


def test_the_example_must_be_images() -> None:
    import torch

    with pytest.raises(UsageError, match=r"\(3, 8, 8\)"):
        mobile_export.prepare("emo_1m", torch.zeros(3, 8, 8))


def test_an_export_leaves_the_streams_of_the_host_alone(tmp_path: Path) -> None:
    """Descriptors, `sys.stdout` and `sys.stderr` are the host's while it is called."""
    pytest.importorskip("onnxruntime")
    import torch
    from torch import nn

    def state() -> tuple[Any, ...]:
        places = tuple((stat.st_dev, stat.st_ino) for stat in (os.fstat(1), os.fstat(2)))
        return (*places, id(sys.stdout), id(sys.stderr), logging.root.manager.disable)

    seen = []

    class Watching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(state())
            return x.mean((2, 3))

    before = state()
    stages: list[str] = []
    mobile_export.export(
        Watching(), "onnx", tmp_path, size=8,
        progress=lambda stage: (stages.append(stage), seen.append(state()))[0],
    )  # fmt: skip
    mobile_export.verify(tmp_path / "Watching.onnx", Watching(), progress=lambda stage: None)
    mobile_export.prepare(Watching(), torch.zeros(1, 3, 8, 8))
    assert "ONNX: exporting" in stages
    assert set(seen) == {before}
    assert state() == before

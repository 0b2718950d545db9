"""Files that take several images at a time: each gets the answer that it has alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mobile_export import export
from mobile_export.answers.machine import load_file
from mobile_export.api import verify
from mobile_export.apps.copy import require_shown
from mobile_export.artifacts.manifest import read_manifest
from mobile_export.detection.options import NmsOptions
from mobile_export.errors import SourceError, UsageError
from mobile_export.exporters.coreml.options import CoreMLOptions
from mobile_export.pipeline import ExportReport
from mobile_export.sources.request import MAX_PIXELS, ModelRequest

from .conftest import TinyDetector, TinyNet

BATCH = 3


class Mixed(nn.Module):
    """Subtracts the mean of all images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).mean((2, 3))
        return x - x.mean(0)


class Single(Mixed):
    """Flattens all that it is given into one row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).reshape(1, -1)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return TinyNet().eval()


@pytest.fixture(scope="module")
def report(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("batch")
    return export(net, None, folder, name="tiny", precision="fp32", batch=BATCH, size=32)


def test_formats_that_have_batches_write_them_and_the_others_say_so(report: ExportReport) -> None:
    assert [(each.format, each.parity.status) for each in report.artifacts] == [
        ("onnx", "passed"),
        ("coreml", "passed"),
        ("tflite", "passed"),
    ]
    assert list(report.skipped) == ["ncnn", "tnn"]
    assert all("one image at a time" in reason for reason in report.skipped.values())


def test_a_file_gives_each_picture_the_answer_that_the_model_gives_it_alone(
    report: ExportReport, net: nn.Module, tmp_path: Path
) -> None:
    (path,) = (each.path for each in report.artifacts if each.format == "tflite")
    assert path is not None
    machine = load_file(path)
    rng = np.random.default_rng(0)
    levels = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(2)]
    given = [(Image.fromarray(each), "picture") for each in levels]
    answers = machine.answer_images(given)
    assert machine.batch == BATCH
    assert len(answers) == 2
    for level, (answer, _) in zip(levels, answers, strict=True):
        image = torch.from_numpy(level).permute(2, 0, 1)[None].double() / 255
        with torch.no_grad():
            alone = net.double()(image).numpy()
            net.float()
        assert answer.results[0].value.shape == (1, 10)
        np.testing.assert_allclose(answer.results[0].value, alone, atol=1e-5)


def test_the_manifest_says_how_many_and_verify_reads_it(
    report: ExportReport, net: nn.Module
) -> None:
    path = report.artifacts[0].path
    assert path is not None
    manifest = read_manifest(path)
    assert manifest.schema == 2
    assert manifest.input.shape == (BATCH, 3, 32, 32)
    assert manifest.expected.outputs[0].shape == (BATCH, 10)
    assert verify(path, net).parity.passed
    with pytest.raises(UsageError, match="takes 3 pictures at a time"):
        require_shown(path, manifest)


@pytest.mark.parametrize("make", [Mixed, Single])
def test_models_that_mix_images_or_take_one_are_refused(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="mixes the images of a batch, or takes one only"):
        export(make().eval(), "onnx", tmp_path, batch=2, size=32)
    assert not list(tmp_path.iterdir())


def test_axes_that_are_not_the_first_may_hold_the_images(tmp_path: Path) -> None:
    class Columns(Mixed):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).mean(2).permute(2, 0, 1)  # (width, images, channels)

    written = export(Columns().eval(), "onnx", tmp_path, batch=2, size=32)
    assert written.artifacts[0].parity.passed
    facts = json.loads((tmp_path / "Columns.onnx.manifest.json").read_text())
    assert facts["outputs"][0]["shape"] == [15, 2, 8]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"formats": "ncnn"}, "ncnn files take one image at a time"),
        ({"nms": NmsOptions()}, "`nms` is for one image of one size at a time"),
        ({"batch": 0}, "`batch`"),
        ({"batch": 1025}, "`batch`"),
        ({"input": ["x=1x3x32x32"], "size": None}, "`batch` and `input` exclude"),
        ({"formats": "coreml", "coreml": CoreMLOptions(image_input=True)}, "is for one image"),
    ],
)
def test_what_does_not_go_with_a_batch_is_refused(
    options: dict[str, object], said: str, tmp_path: Path
) -> None:
    given = {"formats": "onnx", "batch": 2, "size": 64, **options}
    with pytest.raises(UsageError, match=said):
        export(TinyDetector().eval(), given.pop("formats"), tmp_path, **given)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_batch_of_images_too_large_for_memory_is_refused() -> None:
    with pytest.raises(UsageError, match="in each of the 16 images"):
        ModelRequest("emo_1m", batch=16, size=(8192, 1024))
    assert ModelRequest("emo_1m", batch=8, size=(8192, 1024)).batch == MAX_PIXELS // 2**23

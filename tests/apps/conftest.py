"""The sample app for Android, built and run once: on files that this run exports."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import mobile_export
from mobile_export.apps.template import programs
from mobile_export.detection.options import NmsOptions
from mobile_export.exporters.row import BytesOptions
from tests.conftest import TinyNet, need

ROOT = Path(__file__).parents[2]
APP = ROOT / "android_app"
BUILD = APP / "ci" / "build.py"
MINUTES = 20

EXPORTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("emo_1m", "onnx", {}),
    ("emo_1m_ssdlite", "onnx", {}),
    ("seaformer_tiny_seg", "onnx", {"size": 128}),
    ("espcn_x2", "tflite", {"size": (90, 160)}),
    ("lite_mono_tiny", "onnx", {"size": (96, 160)}),
    ("u2netp", "onnx", {"size": 96}),
)
"""One of each task; TFLite files of the zoo take the converter 20 s each, so most are ONNX."""


class Grid(torch.nn.Module):
    """Boxes of 16 pixels on a grid, moved by the network; three classes and a background."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2 + 4, 8, 8)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        values = self.conv(x).flatten(2).transpose(1, 2)
        cell = torch.arange(64)
        centres = torch.stack([cell % 8, cell // 8], -1) * 8 + 4 + values[..., :2]
        boxes = torch.cat([centres - 8, centres + 8], -1)
        return {"boxes": boxes, "scores": values[..., 2:].softmax(-1)[..., :3]}


@dataclass(frozen=True)
class Run:
    """What the tests of the app wrote, and the models in it."""

    said: str
    screens: Path
    models: Path


def tool(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BUILD), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60 * MINUTES, check=False
    )


def need_programs(*more: str) -> None:
    """Skip where the app cannot be built; `.ci/run` installs what it takes."""
    lacking = [each.name for each in programs() if each.found is None]
    lacking += [name for name in more if shutil.which(name) is None]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)} (`mobile-export doctor` says how)")


@pytest.fixture(scope="session")
def fetched() -> None:
    """What Maven has is here, or the tests are skipped."""
    need_programs()
    done = tool("fetch")
    if done.returncode:
        pytest.skip(f"Maven has not what the app is built from: {done.stderr[-300:]}")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every task, exported here."""
    need("onnx")
    need("tflite")
    folder = tmp_path_factory.mktemp("models")
    export_models(folder)
    return folder


def export_models(folder: Path) -> None:
    """A file of every task, with weights that are the same in every run."""
    for name, format_, options in EXPORTS:
        mobile_export.export(name, format_, folder, **options)
    torch.manual_seed(0)
    mobile_export.export(TinyNet().eval(), "onnx", folder, name="tensors", size=32)
    own: dict[str, Any] = {"out_dir": folder, "labels": ("a", "b", "c")}
    mobile_export.export(
        TinyNet(3).eval(),
        "onnx",
        name="pixels",
        size=32,
        onnx=BytesOptions(image_input=True),
        **own,
    )
    mobile_export.export(TinyNet(3).eval(), "tflite", name="small", size=32, **own)
    nms = NmsOptions(score_threshold=0.3, max_detections=20)
    for format_ in ("onnx", "tflite"):
        mobile_export.export(Grid().eval(), format_, name="grid", size=64, nms=nms, **own)


@pytest.fixture(scope="session")
def run(
    fetched: None, models: Path, bad_pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The kit and the app under Robolectric, all tests in one process."""
    need_programs("gcc", "patchelf")
    out = tmp_path_factory.mktemp("android")
    done = tool(
        *("test", "--vectors", ROOT / "tests" / "vectors", "--models", models),
        *("--pictures", bad_pictures, "-o", out, "--classes", *classes()),
    )
    keep = ROOT / "build" / "screens"
    shutil.rmtree(keep, ignore_errors=True)
    if (out / "screens").is_dir():
        shutil.copytree(out / "screens", keep)
    return Run(done.stdout + done.stderr, out / "screens", models)


def classes() -> Sequence[str]:
    """JUnit classes: every file of tests."""
    tests = APP / "app" / "src" / "test" / "kotlin"
    found = sorted(tests.rglob("*Test.kt"))
    return [".".join(path.relative_to(tests).with_suffix("").parts) for path in found]


@pytest.fixture(scope="session")
def bad_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What people choose: small, huge, grey, CMYK, turned, and no pictures at all."""
    library = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("pictures")
    photo = library.open(APP / "app" / "src" / "main" / "assets" / "sample.jpg").convert("RGB")
    photo.resize((1, 1)).save(folder / "one.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.convert("L").save(folder / "grey.jpg")
    photo.save(folder / "upright.jpg", quality=95)
    exif = library.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it upright
    turned = photo.transpose(library.Transpose.ROTATE_90)
    turned.save(folder / "portrait.jpg", exif=exif, quality=95)
    library.new("L", (12_000, 9_000), 90).save(folder / "huge.jpg", quality=30)
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    (folder / "cut.jpg").write_bytes((folder / "upright.jpg").read_bytes()[:900])
    (folder / "text.jpg").write_bytes(b"hello")
    return folder

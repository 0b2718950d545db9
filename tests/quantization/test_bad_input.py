"""Calibration data of every kind on the command line: taken, or one message and no file."""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobile_export.cli import main
from mobile_export.system.pictures import MOST_PIXELS
from tests.conftest import need

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8, log=False):
        super().__init__()
        self.stem, self.head, self.log = nn.Conv2d(3, width, 3, 2, 1), nn.Linear(width, 10), log

    def forward(self, x):
        x = torch.relu(self.stem(x))
        if self.log:
            x = torch.log(x.mean((2, 3)) - 0.05)
            return self.head(x)
        return self.head(x.mean((2, 3)))

def net():
    torch.manual_seed(0)
    return Net().eval()

def other():
    torch.manual_seed(1)
    return Net().eval()

def log():
    torch.manual_seed(0)
    return Net(log=True).eval()
"""
RNG = np.random.default_rng(0)
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], in_tmp: Any) -> Run:
    """Export ``my:net`` to ONNX in integers in this process: exit code and stderr."""
    need("onnx")
    Path("my.py").write_text(MODEL)
    Path("photos").mkdir()

    def typed(*words: str, model: str = "my:net", data: str = "photos") -> tuple[int, str]:
        line = ["onnx", model, "--size", "32", "--precision", "int8", "-o", "out"]
        calibration = ["--calibration", data] if data else []
        monkeypatch.setattr(sys, "argv", ["mobile-export", *line, *calibration, *words])
        with pytest.raises(SystemExit) as stop:
            main.main()
        return int(stop.value.code or 0), capfd.readouterr().err

    return typed


def picture(name: str, mode: str = "RGB", size: tuple[int, int] = (40, 50), **how: Any) -> None:
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = RNG.integers(0, 256, size[0] * size[1] * bands, np.uint8)
    Image.frombytes(mode, size, values.tobytes()).save(Path("photos") / name, **how)


def pictures(count: int = 5) -> None:
    for index in range(count):
        picture(f"{index}.png")


def require_refused(result: tuple[int, str], said: str) -> None:
    code, err = result
    assert code == 2
    assert err.startswith("error: ")
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert not [path for path in Path("out").rglob("*") if path.is_file()]
    assert not Path("plan.json").exists()


def test_no_folder(run: Run) -> None:
    require_refused(run(data="nowhere"), "is no folder")


def test_a_folder_without_pictures(run: Run) -> None:
    Path("photos/notes.txt").write_text("none here")
    require_refused(run(), "has no picture and no array in it")


def test_an_unreadable_picture(run: Run) -> None:
    pictures()
    Path("photos/x.jpg").write_bytes(b"\xff\xd8\xff no more")
    require_refused(run(), "x.jpg of --calibration cannot be read")


def test_a_huge_picture(run: Run) -> None:
    """The size is in the header: nothing is decoded."""
    pictures()
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "PNG")
    content = bytearray(stream.getvalue())
    side = int(MOST_PIXELS**0.5) + 1
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    Path("photos/x.png").write_bytes(bytes(content))
    require_refused(run(), f"it is {side}x{side} pixels large")


def test_fewer_than_asked_for(run: Run) -> None:
    pictures()
    require_refused(run("--calibration-samples", "20"), "20 are to be calibrated on")


def test_pictures_of_one_colour(run: Run) -> None:
    for index in range(5):
        Image.new("RGB", (40, 40), (index * 40,) * 3).save(f"photos/{index}.png")
    require_refused(run(), "is of one colour")


def test_nan_while_calibrating(run: Run) -> None:
    """A logarithm of what is negative for a black picture only."""
    pictures()
    Image.new("RGB", (40, 40)).save("photos/5.png")
    code, err = run(model="my:log")
    assert code == 2
    assert "NaN" in err
    assert "Traceback" not in err
    assert not [path for path in Path("out").rglob("*") if path.is_file()]


def test_a_plan_of_another_model(run: Run) -> None:
    pictures()
    assert run("--plan", "plan.json", "--sqnr", "0", model="my:other")[0] == 0
    plan = Path("plan.json").read_bytes()
    for path in Path("out").iterdir():
        path.unlink()
    code, err = run("--plan", "plan.json", data="")
    assert code == 2
    assert "is of my:other, not of my:net" in " ".join(err.split())
    assert not any(Path("out").iterdir())
    assert Path("plan.json").read_bytes() == plan


def test_pictures_of_every_kind_are_taken(run: Run) -> None:
    """Grey, CMYK, transparent, of a palette, of 16 bits, turned by EXIF, tiny, long."""
    picture("grey.png", "L")
    picture("cmyk.jpg", "CMYK")
    picture("alpha.png", "RGBA")
    picture("grey_alpha.png", "LA")
    picture("palette.png", "P")
    Image.fromarray(RNG.integers(0, 65535, (40, 40)).astype(np.uint16)).save("photos/deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture("turned.jpg", exif=exif)
    picture("tiny.png", size=(2, 1))
    picture("long.png", size=(900, 3))
    code, err = run("--sqnr", "0")  # noise in, noise out
    assert code == 0, err
    assert len(list(Path("out").glob("*.onnx"))) == len(list(Path("out").glob("*.plan.json"))) == 1

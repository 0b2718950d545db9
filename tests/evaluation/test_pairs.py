"""PSNR of the luma, of errors that are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobile_export.answers.machine import Machine
from mobile_export.errors import UsageError
from mobile_export.evaluation.pairs import find_pairs, luma_difference
from mobile_export.graph.specs import InputSpec, OutputSpec

Image = pytest.importorskip("PIL.Image")


def doubling(more: int = 0, side: int = 8) -> Machine:
    """Nearest neighbours, and ``more`` of 255."""

    def run(sample: Any) -> Any:
        pixels = sample.pixels.numpy() + more
        return [pixels.repeat(2, axis=2).repeat(2, axis=3) / 255], None

    spec = InputSpec((1, 3, side, side), (0.0,) * 3, (1.0,) * 3)
    output = OutputSpec("upscaled", (1, 3, 2 * side, 2 * side), "upscaled")
    return Machine("net", "PyTorch", spec, (output,), None, None, run)


def pair(folder: Path, size: tuple[int, int] = (12, 10), name: str = "x") -> None:
    """Noise below 200, and it twice as large by nearest neighbours."""
    for each in ("low", "high"):
        (folder / each).mkdir(exist_ok=True)
    values = np.random.Generator(np.random.PCG64(2)).integers(0, 200, (*size[::-1], 3))
    small = Image.fromarray(values.astype(np.uint8))
    small.save(folder / "low" / f"{name}x2.png")
    twice = small.resize((2 * size[0], 2 * size[1]), Image.Resampling.NEAREST)
    twice.save(folder / "high" / f"{name}.png")


def test_luma_of_black_white_and_green() -> None:
    """BT.601: 16, 235, and 145 of pure green (144.55)."""
    colours = np.asarray([[[0, 0, 0], [255, 255, 255], [0, 255, 0]]], np.uint8)
    assert luma_difference(colours, np.zeros(3))[0] == pytest.approx([0, 219, 128.553], abs=1e-2)


@pytest.mark.parametrize("more", [1, 10])
def test_an_error_that_is_known(more: int, tmp_path: Path) -> None:
    """A grey error of ``more`` is one of more · 219 / 255 in luma."""
    pair(tmp_path)
    data, net = find_pairs(tmp_path), doubling(more)
    assert "middle 8x8" in data.admit(net)
    records = [data.record(item, data.answer(net, item), None) for item in data.items]
    (found,) = data.figures(net, data.items, records)
    assert (found.name, found.unit) == ("PSNR (luma)", "dB")
    assert found.value == pytest.approx(20 * math.log10(255 / (more * 219 / 255)), abs=1e-6)


def test_the_same_picture_has_no_figure(tmp_path: Path) -> None:
    pair(tmp_path)
    data, net = find_pairs(tmp_path), doubling()
    data.admit(net)
    records = [data.record(item, data.answer(net, item), None) for item in data.items]
    assert records == [0.0]
    assert data.figures(net, data.items, records)[0].value is None


def test_what_is_no_pair(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folders of small and large pictures"):
        find_pairs(tmp_path)
    pair(tmp_path, (4, 4))
    data, net = find_pairs(tmp_path), doubling()
    data.admit(net)
    with pytest.raises(UsageError, match="is 4x4; the model takes 8x8"):
        data.answer(net, data.items[0])
    pair(tmp_path, (9, 9))
    Image.new("RGB", (20, 18)).save(tmp_path / "high" / "x.png")
    with pytest.raises(UsageError, match="20x18, and not 2 times 9x9"):
        data.record(data.items[0], data.answer(net, data.items[0]), None)
    (tmp_path / "high" / "x.png").unlink()
    with pytest.raises(UsageError, match="has one of its name"):
        find_pairs(tmp_path)

"""Pairs of a small picture and the large one that it was made from: peak signal-to-noise ratio."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..answers.machine import read_picture
from ..errors import UsageError
from ..system.pictures import in_colours
from .intervals import percentile_interval, resamples
from .judge import Figure, Item, Judge, Kind, figure, folder_named, pictures_below, stamp_of

if TYPE_CHECKING:
    from ..answers.decode import Answer
    from ..answers.machine import Machine
    from ..answers.prepare import Prepared

__all__ = ["Pairs", "find_pairs", "luma_difference"]

_RESAMPLES = 1000
_SMALL = ("low", "lr", "LR", "small")
_LARGE = ("high", "hr", "HR", "large")
_SCALE = r"x[2348]"
_LUMA = np.asarray([65.481, 128.553, 24.966]) / 255
_DIFFERENT = 0.01
"""dB; beyond it a file and its model are said to differ."""


@dataclass
class Pairs(Judge):
    """FOLDER/low/x.png with FOLDER/high/x.png."""

    kind: ClassVar[Kind] = "pairs"
    _scales: dict[int, int] = field(default_factory=dict)

    def admit(self, machine: Machine) -> str:
        shape = next(each.shape for each in machine.outputs if each.meaning == "upscaled")
        scales = {shape[-k] / machine.input.shape[-k] for k in (1, 2)}
        scale = scales.pop()
        if scales or scale != int(scale) or scale < 1:
            raise UsageError(
                f"{machine.name} upscales by {scale:g} in one direction and not in the other.",
                hint="Evaluated are models that upscale by a whole number.",
            )
        self._scales[id(machine)] = int(scale)
        height, width = machine.input.size
        return (
            f"Of each pair the middle {width}x{height} of the small picture is upscaled by "
            f"{int(scale)}."
        )

    def answer(self, machine: Machine, item: Item) -> tuple[Answer, Prepared]:
        image = read_picture(item.picture)
        height, width = machine.input.size
        left, top = (image.width - width) // 2, (image.height - height) // 2
        if left < 0 or top < 0:
            raise UsageError(
                f"{item.picture} is {image.width}x{image.height}; the model takes {width}x{height}."
            )
        part = image.crop((left, top, left + width, top + height))
        answer, prepared = machine.answer_image(part, item.name)
        if prepared.placement.scale != (1.0, 1.0) or prepared.placement.offset != (0, 0):
            raise UsageError(f"{machine.name} resizes its pictures: {prepared.rule}.")
        return answer, prepared

    def record(self, item: Item, own: tuple[Answer, Prepared], model: Answer | None) -> Any:
        """The mean square of the error of the luma, of 8 bits, without ``scale`` pixels at each
        edge.
        """
        image, part = own[0].image, own[1].size
        if image is None:
            raise UsageError(f"{item.name} has no answer: it is not of finite numbers.")
        scale = image.shape[0] // part[1]
        small, large = read_picture(item.picture), read_picture(item.truth)
        extra = (large.width - small.width * scale, large.height - small.height * scale)
        if not all(0 <= each < scale for each in extra):
            raise UsageError(
                f"{item.truth} is {large.width}x{large.height}, and not {scale} times "
                f"{small.width}x{small.height}."
            )
        left, top = ((s - p) // 2 * scale for s, p in zip(small.size, part, strict=True))
        box = (left, top, left + part[0] * scale, top + part[1] * scale)
        error = luma_difference(image, np.asarray(in_colours(large.crop(box), "RGB")))
        return float((error[scale:-scale, scale:-scale] ** 2).mean())

    def valid(self, record: Any) -> bool:
        return type(record) in (int, float) and 0 <= record <= 255**2

    def figures(
        self, machine: Machine, items: Sequence[Item], records: Sequence[Any]
    ) -> tuple[Figure, ...]:
        values = np.asarray([_psnr(each) for each in records])
        drawn = np.asarray([values[d].mean() for d in resamples(len(items), _RESAMPLES)])
        return (figure("PSNR (luma)", "dB", float(values.mean()), percentile_interval(drawn)),)

    def difference(
        self, machine: Machine, item: Item, own: Any, model: Any
    ) -> tuple[str, float] | None:
        here, there = _psnr(own), _psnr(model)
        size = 0.0 if here == there else abs(here - there)
        return None if size <= _DIFFERENT else (f"{here:.2f} dB, the model {there:.2f} dB", size)


def _psnr(square: float) -> float:
    return 10 * math.log10(255**2 / square) if square > 0 else math.inf


def luma_difference(picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much larger Y is, of (H, W, 3) pixels of 8 bits; Y is from 16 to 235, as super-resolution
    is measured.

    Of the pixels' difference, so that equal ones are equal: a sum of products may differ in its
    last bit with where its numbers lie in memory.

    Source:
        ITU-R BT.601, as MATLAB's rgb2ycbcr has it.
    """
    found: np.ndarray = (picture.astype(np.float64) - other) @ _LUMA
    return found


def find_pairs(folder: Path) -> Pairs:
    """The pictures in ``low`` (or ``lr``) that have one of their name in ``high`` (or ``hr``).

    A small picture may be called ``x`` followed by its scale, such as ``0801x4.png``.

    Raises:
        UsageError: there are no such folders, or no pairs in them.
    """
    small, large = folder_named(folder, _SMALL), folder_named(folder, _LARGE)
    if small is None or large is None:
        raise UsageError(
            f"{folder} has no folders of small and large pictures.",
            hint=f"A model that upscales is evaluated on {folder}/low/x.png with "
            f"{folder}/high/x.png.",
        )
    by_name = {path.stem: path for path in pictures_below(large, deep=False)}
    items, without = [], 0
    for path in pictures_below(small, deep=False):
        other = by_name.get(path.stem) or by_name.get(re.sub(f"{_SCALE}$", "", path.stem))
        if other is None:
            without += 1
            continue
        items.append(Item(path.name, path, other, stamp_of(path, other)))
    if not items:
        raise UsageError(
            f"No picture in {small} has one of its name in {large}.", hint="Pairs have one name."
        )
    notes = [f"{without} pictures have no partner, and are left alone."] if without else []
    return Pairs(tuple(items), notes)

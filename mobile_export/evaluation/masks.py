"""Folders of pictures and of masks with the class of each pixel: mean intersection over union."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..answers.machine import read_picture
from ..errors import UsageError
from .intervals import percentile_interval, resamples
from .judge import Figure, Item, Judge, Kind, figure, folder_named, pictures_below, stamp_of

if TYPE_CHECKING:
    from ..answers.decode import Answer
    from ..answers.machine import Machine
    from ..answers.prepare import Prepared

__all__ = ["Masks", "find_masks"]

_RESAMPLES = 1000
_PICTURES = ("images", "image", "JPEGImages")
_MASKS = ("masks", "labels", "annotations", "SegmentationClass")
_IGNORED = 255
_DIFFERENT = 1e-3
"""Share of the pixels; beyond it a file and its model are said to differ."""


@dataclass
class Masks(Judge):
    """FOLDER/images/x.jpg with FOLDER/masks/x.png.

    Attributes:
        reduce_zero: mask 0 is no class, and k is class k - 1, as in ADE20K's annotations
            ("reduce_zero_label" of mmsegmentation).
    """

    kind: ClassVar[Kind] = "masks"
    beside_model: ClassVar[bool] = True
    reduce_zero: bool = False
    _classes: int | None = field(default=None)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"reduce_zero": self.reduce_zero}

    def admit(self, machine: Machine) -> str:
        counts = [
            each.shape[1]
            for each in machine.outputs
            if each.meaning in ("logits", "probabilities") and len(each.shape) == 4
        ]
        known = machine.labels and len(machine.labels)
        count = counts[0] if counts else known or None
        self._classes = max(filter(None, (count, self._classes)), default=None)
        shift = "less 1 (0 is no class)" if self.reduce_zero else f"({_IGNORED} is none)"
        return f"A mask's values are the indices of the model's classes {shift}."

    def answer(self, machine: Machine, item: Item) -> tuple[Answer, Prepared]:
        size = read_picture(item.truth, None, upright=False).size
        return machine.answer_image(read_picture(item.picture, size), item.name)

    def record(self, item: Item, own: tuple[Answer, Prepared], model: Answer | None) -> Any:
        """``[class, pixels that are right, answered, true]`` of each class, and the share of the
        input's pixels that differ from the model's.
        """
        answer, prepared = own
        truth = self._truth(item, prepared.size)
        if answer.labels is None:
            raise UsageError(f"{item.name} has no answer: it is not of finite numbers.")
        rows, columns = prepared.placement.cells(prepared.size)
        height, width = answer.labels.shape
        high, wide = prepared.sample.image.shape[-2:]
        rows, columns = rows * height // high, columns * width // wide
        inside = (truth >= 0) & ((rows >= 0) & (rows < height))[:, None]
        inside &= ((columns >= 0) & (columns < width))[None]
        said = answer.labels[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]
        real, found = truth[inside], said[inside]
        most = int(max(real.max(initial=0), found.max(initial=0))) + 1
        right = np.bincount(real[real == found], minlength=most)
        answered, true = np.bincount(found, minlength=most), np.bincount(real, minlength=most)
        counts = [
            [int(k), int(right[k]), int(answered[k]), int(true[k])]
            for k in np.flatnonzero(answered + true)
        ]
        return {"counts": counts, "unlike": _unlike(answer, model)}

    def _truth(self, item: Item, size: tuple[int, int]) -> np.ndarray:
        """(H, W) class of each pixel; below 0 where there is none."""
        image = read_picture(item.truth, size, upright=False)
        if image.mode not in ("1", "L", "P", "I", "I;16"):
            raise UsageError(
                f"{item.truth} is no mask: it has colours ({image.mode}), not one number a pixel."
            )
        values = np.asarray(image).astype(np.int64)
        values = np.where(values == _IGNORED, -1, values - self.reduce_zero)
        if self._classes is not None and values.max(initial=-1) >= self._classes:
            raise UsageError(
                f"{item.truth} has the class {values.max()}; the model's are 0 to "
                f"{self._classes - 1}. ADE20K's masks need `reduce_zero=True`."
            )
        return values

    def valid(self, record: Any) -> bool:
        if not isinstance(record, dict) or set(record) != {"counts", "unlike"}:
            return False
        rows = record["counts"]
        numbers = isinstance(rows, list) and all(
            isinstance(row, list)
            and len(row) == 4
            and all(type(each) is int and 0 <= each < 2**31 for each in row)
            and row[0] < 2**16
            for row in rows
        )
        return numbers and type(record["unlike"]) in (int, float, type(None))

    def figures(
        self, machine: Machine, items: Sequence[Item], records: Sequence[Any]
    ) -> tuple[Figure, ...]:
        present = sorted({row[0] for record in records for row in record["counts"]})
        order = {index: at for at, index in enumerate(present)}
        counts = np.zeros((len(records), len(present), 3))
        for at, record in enumerate(records):
            for index, *three in record["counts"]:
                counts[at, order[index]] = three
        flat = counts.reshape(len(records), -1)
        weights = np.stack(
            [np.bincount(d, minlength=len(items)) for d in resamples(len(items), _RESAMPLES)]
        )
        drawn = [_merits((row @ flat).reshape(-1, 3)) for row in weights]
        whole, many = _merits(counts.sum(0)), np.asarray(drawn)
        return tuple(
            figure(name, "%", whole[k], percentile_interval(many[:, k]))
            for k, name in enumerate(("mIoU", "pixel accuracy"))
        )

    def difference(
        self, machine: Machine, item: Item, own: Any, model: Any
    ) -> tuple[str, float] | None:
        share = own["unlike"]
        if share is None or share <= _DIFFERENT:
            return None
        return f"{share:.2%} of the pixels have another class", float(share)


def _merits(counts: np.ndarray) -> tuple[float, float]:
    """Mean intersection over union of the classes that are answered or true, and the share of
    pixels that are right, in percent.

    Args:
        counts: (C, 3) pixels of each class: right, answered, true.
    """
    right, answered, true = counts.T
    union = answered + true - right
    there = union > 0
    if not there.any() or not true.sum():
        return float("nan"), float("nan")
    mean = float((right[there] / union[there]).mean())
    return 100 * mean, 100 * float(right.sum() / true.sum())


def _unlike(answer: Answer, model: Answer | None) -> float | None:
    if model is None or model.labels is None or answer.labels is None:
        return None
    if model.labels.shape != answer.labels.shape:
        return 1.0
    return float((model.labels != answer.labels).mean())


def find_masks(folder: Path, *, reduce_zero: bool) -> Masks:
    """The pictures in ``images`` that have a mask in ``masks``, at any depth.

    Raises:
        UsageError: there are no such folders, or no pairs in them.
    """
    pictures, masks = folder_named(folder, _PICTURES), folder_named(folder, _MASKS)
    if pictures is None or masks is None:
        raise UsageError(
            f"{folder} has no folders of pictures and masks.",
            hint=f"A segmenter is evaluated on {folder}/images/x.jpg with {folder}/masks/x.png.",
        )
    items, without = [], 0
    for path in pictures_below(pictures, deep=True):
        mask = masks / path.relative_to(pictures).with_suffix(".png")
        if not mask.exists():
            without += 1
            continue
        name = path.relative_to(pictures).as_posix()
        items.append(Item(name, path, mask, stamp_of(path, mask)))
    if not items:
        raise UsageError(
            f"No picture in {pictures} has a mask of its name in {masks}.",
            hint="A mask is a PNG with the index of the class of each pixel.",
        )
    notes = [f"{without} pictures have no mask, and are left alone."] if without else []
    return Masks(tuple(items), notes, reduce_zero=reduce_zero)

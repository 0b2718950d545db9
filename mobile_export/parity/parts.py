"""Parts of an output that are small beside the rest of it, judged on their own.

A detector often returns boxes in pixels and scores in one tensor: an error of a thousandth of its
largest value is half a pixel of a box, and more than any score. So the places along an axis whose
values are all `APART` times smaller than the rest are a part. It is held to little, a tenth of its
own size and of what changes in it, or `parity.faithful.FACTOR` times what rounding makes of it in
PyTorch: enough for scores that are zero, exchanged or of another image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["APART", "Part", "parts_of"]

APART = 16.0
"""Times that the largest value of a part is below that of what is larger."""

_LEAST = 1e-6
"""Share of an output's size below which float32 holds nothing of it beside the rest."""

_ENOUGH = 16
"""Values of one sample without which a part is single values, which are small by chance."""


@dataclass(frozen=True)
class Part:
    """Places of one axis of an output.

    Attributes:
        axis: behind the first, which is that of the images.
        places: along it, ascending.
        length: of the axis.
    """

    axis: int
    places: tuple[int, ...]
    length: int

    def of(self, array: np.ndarray) -> np.ndarray:
        """The part of one array of the output."""
        return array.take(self.places, axis=self.axis)

    def named(self, name: str) -> str:
        """``name[:, 4:84]``, or how many places it is of."""
        first, last = self.places[0], self.places[-1] + 1
        if last - first == len(self.places):
            return f"{name}[{':, ' * self.axis}{first}:{last}]"
        return f"{name} ({len(self.places)} of {self.length} places of axis {self.axis})"


def parts_of(exact: Sequence[np.ndarray]) -> tuple[Part, ...]:
    """The small parts of one output, by the first axis that has any.

    Args:
        exact: the reference, one array of one shape per sample.
    """
    first = exact[0]
    if first.ndim < 2 or not np.issubdtype(first.dtype, np.floating) or not first.size:
        return ()
    size = np.zeros(first.shape)
    for array in exact:
        np.maximum(size, np.abs(np.where(np.isfinite(array), array, 0.0)), out=size)
    for axis in range(1, first.ndim):
        others = tuple(each for each in range(first.ndim) if each != axis)
        groups = _groups(size.max(others))
        each = first.size // first.shape[axis]
        parts = [
            Part(axis, tuple(group), first.shape[axis])
            for group in groups
            if len(group) * each >= _ENOUGH
        ]
        if parts:
            return tuple(parts)
    return ()


def _groups(sizes: np.ndarray) -> list[list[int]]:
    """Places by their size, each within `APART` of the largest of its group, but for the largest
    group and what is next to nothing."""
    groups: list[list[int]] = []
    left = np.flatnonzero(sizes > _LEAST * sizes.max())
    while left.size:
        near = sizes[left] * APART > sizes[left].max()
        groups.append([int(place) for place in left[near]])
        left = left[~near]
    return groups[1:]

"""What the editors of all formats share: kinds of damage, a place in a file, arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = [
    "ACTIVATION",
    "BIAS",
    "CLIPPED",
    "DIFFERENCE",
    "EPSILON",
    "ONE",
    "PADDING",
    "PERMUTED",
    "RESIZE",
    "REVERSED",
    "SCALED",
    "Editor",
    "Site",
    "changed_weights",
    "moved",
    "stored",
]

PERMUTED = "weights permuted"
SCALED = "weights x 1.02"
ONE = "one weight doubled"
BIAS = "bias dropped"
PADDING = "padding off by one"
RESIZE = "resize mode"
ACTIVATION = "activation replaced"
EPSILON = "epsilon x 10"
REVERSED = "filters reversed"
CLIPPED = "activation clipped at 6"
DIFFERENCE = "sum becomes a difference"

_FOLDED_EPSILON = np.sqrt((1 + 1e-5) / (1 + 1e-4))
"""What ten times an epsilon of 1e-5 makes of weights that a batch norm of variance 1 is folded
into."""


@dataclass(frozen=True)
class Site:
    """One possible damage.

    Attributes:
        kind: as the constants of this module.
        where: name of the layer in the file, and what is done to it.
        edit: does it, to the model as its editor has read it.
    """

    kind: str
    where: str
    edit: Callable[[Any], None]


class Editor(Protocol):
    """Reads one file, lists what can be damaged in it, and writes it with one damage."""

    def sites(self) -> Iterator[Site]:
        """Every damage that this file has a place for."""

    def write(self, site: Site, path: Path) -> None:
        """The file with one damage, and what belongs to it, at ``path``."""


def changed_weights(axis: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """By kind, what is done to the weights of a convolution; filters lie along ``axis``."""
    return {
        PERMUTED: lambda weights: np.roll(weights, 1, axis=axis),
        REVERSED: lambda weights: np.flip(weights, _but(axis, weights.ndim)),
        ONE: _one_doubled,
        SCALED: lambda weights: weights * np.asarray(1.02, weights.dtype),
        EPSILON: lambda weights: (weights * _FOLDED_EPSILON).astype(weights.dtype),
    }


def _one_doubled(weights: np.ndarray) -> np.ndarray:
    """The weight of median magnitude, twice as large."""
    made = weights.copy()
    flat = made.reshape(-1)
    flat[np.argsort(np.abs(flat))[flat.size // 2]] *= 2
    return made


def _but(axis: int, count: int) -> tuple[int, ...]:
    """All axes but one."""
    return tuple(other for other in range(count) if other != axis)


def stored(
    place: tuple[int, int, str], filters: int, change: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Any], None]:
    """An edit of an array that lies in a file of weights, the model's ``weights``.

    Args:
        place: offset and size in bytes, and NumPy's type.
        filters: rows that ``change`` is given the array in.
    """
    offset, size, kind = place

    def edit(model: Any) -> None:
        piece = model.weights[offset : offset + size]
        old = piece.view(kind).reshape(filters, -1)
        piece[:] = np.ascontiguousarray(change(old)).astype(kind).reshape(-1).view(np.uint8)

    return edit


def moved(before: int, after: int) -> tuple[int, int] | None:
    """One row of padding taken from the end and put before the start, or the other way; the size of
    the result stays. None where there is no padding."""
    if after > 0:
        return before + 1, after - 1
    return (before - 1, after + 1) if before > 0 else None

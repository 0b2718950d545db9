"""How much an output differs between the samples, and how well a file tells the samples apart.

An error that is small beside an output can be large beside what the image does to it: a file that
ignores the image then looks right. So the part of an output that changes with the sample is
compared on its own: the output minus its mean over the samples. A file that ignores the image has
an error of 1 there, whatever the size of the output.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["relative_spread", "spread", "spread_error"]

_ROUNDING = 1e-12
"""Relative change below which a float64 output is constant: it is rounding."""


def spread(exact: Sequence[np.ndarray]) -> float:
    """How far an output moves: largest |value - mean over the samples| of any element.

    0 when nothing but float64 rounding changes. Elements that are infinite for some sample are left
    out. Of integers (labels) it is the largest share that differs from those of the first sample.

    Args:
        exact: the reference, one array of one shape per sample.
    """
    if not _floating(exact):
        return max(_share(array, exact[0]) for array in exact)
    chosen = _always_finite(exact)
    moved = _largest_from_mean([array[chosen] for array in exact])
    return moved if moved > _ROUNDING * _size(exact) else 0.0


def relative_spread(exact: Sequence[np.ndarray]) -> float:
    """`spread` over the largest finite magnitude (of labels, `spread` itself)."""
    moved = spread(exact)
    return moved / _size(exact) if moved > 0 and _floating(exact) else moved


def spread_error(got: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float | None:
    """Largest error of what changes with the sample, divided by `spread`; None where that is 0.

    Both sides are taken minus their mean over the samples, so that an offset that is the same for
    every sample, which says nothing about the image, does not count: the error relative to the
    output's size bounds it. Of labels it is the largest share that is wrong. Infinity for a wrong
    shape, NaN, and an infinity where the reference is finite.

    Args:
        got, exact: one array per sample.
    """
    moved = spread(exact)
    if moved == 0:
        return None
    if any(a.shape != b.shape for a, b in zip(got, exact, strict=True)):
        return float("inf")
    if not _floating(exact):
        return max(_share(a, b) for a, b in zip(got, exact, strict=True)) / moved
    chosen = _always_finite(exact)
    errors = [
        np.asarray(a, dtype=np.float64)[chosen] - b[chosen] for a, b in zip(got, exact, strict=True)
    ]
    if not all(np.isfinite(error).all() for error in errors):
        return float("inf")
    return _largest_from_mean(errors) / moved


def _floating(exact: Sequence[np.ndarray]) -> bool:
    return all(np.issubdtype(array.dtype, np.floating) for array in exact)


def _share(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean(a != b)) if a.size else 0.0


def _always_finite(exact: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(np.logical_and.reduce([np.isfinite(array) for array in exact]))


def _size(exact: Sequence[np.ndarray]) -> float:
    """Largest finite magnitude."""
    return max(float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) for array in exact)


def _largest_from_mean(values: Sequence[np.ndarray]) -> float:
    """Largest |value - mean over the samples|, of one array per sample."""
    mean = values[0].astype(np.float64)
    for value in values[1:]:
        mean += value
    mean /= len(values)
    return max(float(np.abs(value - mean).max(initial=0.0)) for value in values)

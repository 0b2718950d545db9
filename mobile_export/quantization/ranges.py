"""From a distribution to a scale and a zero point: how a range is chosen.

``min-max`` takes all that was seen. ``percentile`` leaves out one value of 10,000 on either side.
``least-squares`` takes the range with the least squared error: what rounding costs inside and what
clipping costs outside (Sung et al. 2015; Banner et al. 2019), measured on the histogram.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .histogram import Histogram

__all__ = ["METHODS", "Grid", "Steps", "fit", "fit_weight"]

PERCENTILE = 99.99
"""Of the values, per side, that the range of ``percentile`` reaches."""


@dataclass(frozen=True)
class Grid:
    """The integers that a tensor is stored in.

    Attributes:
        low, high: the least and the largest.
        symmetric: zero is stored as 0.
    """

    low: int
    high: int
    symmetric: bool


@dataclass(frozen=True)
class Steps:
    """A scale, which float32 holds exactly, and a zero point."""

    scale: float
    zero_point: int


_SMALLEST = 2.0**-100
"""Smallest scale: float32 holds it and its products with other scales."""


def _steps(low: float, high: float, grid: Grid) -> Steps:
    """The scale and the zero point that cover ``low`` to ``high``, and zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    if grid.symmetric:
        scale = max(high / grid.high, low / grid.low)
    else:
        scale = (high - low) / (grid.high - grid.low)
    scale = float(np.float32(max(scale, _SMALLEST)))
    if grid.symmetric:
        return Steps(scale, 0)
    zero = round(grid.low - low / scale)
    return Steps(scale, min(max(zero, grid.low), grid.high))


def _min_max(found: Histogram, grid: Grid) -> Steps:
    return _steps(found.low, found.high, grid)


def _percentile(found: Histogram, grid: Grid) -> Steps:
    total = np.cumsum(found.counts)
    if not total[-1]:
        return _min_max(found, grid)
    outside = total[-1] * (1.0 - PERCENTILE / 100.0)
    centres = found.centres
    low = centres[np.searchsorted(total, outside, side="right")]
    high = centres[np.searchsorted(total, total[-1] - outside)]
    return _steps(float(low), float(high), grid)


_FRACTIONS = np.linspace(1.0, 0.1, 46)
_ROUNDS = 3


def _least_squares(found: Histogram, grid: Grid) -> Steps:
    """Either end of the range is moved in turn, to the best of `_FRACTIONS` of what was seen."""
    used = np.flatnonzero(found.counts)
    if not used.size:
        return _min_max(found, grid)
    values, counts = found.centres[used], found.counts[used]

    def error(steps: Steps) -> float:
        q = np.rint(values / steps.scale) + steps.zero_point
        near = (q.clip(grid.low, grid.high) - steps.zero_point) * steps.scale
        return float(np.dot(counts, np.square(values - near)))

    ends = [min(found.low, 0.0), max(found.high, 0.0)]
    best = _steps(ends[0], ends[1], grid)
    least = error(best)
    for _ in range(_ROUNDS):
        before = least
        for side in (1, 0):
            whole = (min(found.low, 0.0), max(found.high, 0.0))[side]
            for fraction in _FRACTIONS:
                tried = [*ends]
                tried[side] = whole * fraction
                steps = _steps(tried[0], tried[1], grid)
                now = error(steps)
                if now < least:
                    least, best, ends = now, steps, tried
        if least == before:
            break
    return best


METHODS: dict[str, Callable[[Histogram, Grid], Steps]] = {
    "least-squares": _least_squares,
    "min-max": _min_max,
    "percentile": _percentile,
}
"""The ways to choose a range, by name; the default first."""


def fit(found: Histogram, grid: Grid, method: str) -> Steps:
    """The scale and the zero point of a tensor whose values were seen."""
    if not math.isfinite(found.low):
        raise ValueError("no value was seen")
    return METHODS[method](found, grid)


def fit_weight(weight: np.ndarray, grid: Grid, method: str) -> np.ndarray:
    """One scale for each row of a matrix of weights, (channels, weights of one), float32.

    Symmetric. ``least-squares`` searches for each channel; the other methods take the largest
    magnitude: a percentile of 27 weights is none. A channel of zeros has the largest scale of all.
    """
    largest = np.abs(weight).max(axis=1)
    whole = np.where(largest > 0, largest, largest.max(initial=0.0)) / grid.high
    whole = np.maximum(whole, _SMALLEST)
    if method != "least-squares":
        return whole.astype(np.float32)
    best, least = whole, np.full(len(whole), np.inf)
    for fraction in np.linspace(1.0, 0.5, 26):
        scale = whole * fraction
        q = np.rint(weight / scale[:, None]).clip(grid.low, grid.high)
        error = np.square(weight - q * scale[:, None]).sum(axis=1)
        better = error < least
        best, least = np.where(better, scale, best), np.where(better, error, least)
    return best.astype(np.float32)

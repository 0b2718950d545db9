"""95 % intervals of figures that were measured on a sample of pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

__all__ = ["is_of_too_few", "percentile_interval", "resamples", "wilson"]

_Z = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The score interval of a proportion, in [0, 1].

    Source:
        E. B. Wilson, JASA 22 (1927) 209; recommended also for proportions near 0 and 1 by Brown,
        Cai and DasGupta, Statistical Science 16 (2001) 101.
    """
    share, square = hits / total, _Z**2
    centre = (share + square / (2 * total)) / (1 + square / total)
    spread = share * (1 - share) / total + square / (4 * total**2)
    half = _Z / (1 + square / total) * math.sqrt(spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def resamples(total: int, count: int) -> Iterator[np.ndarray]:
    """``count`` draws of ``total`` pictures with replacement, as indices; the same every time."""
    generator = np.random.Generator(np.random.PCG64(0))
    for _ in range(count):
        yield generator.integers(0, total, total)


def percentile_interval(values: np.ndarray) -> tuple[float, float] | None:
    """The percentile bootstrap interval, of a figure's values on `resamples`; None of no number.

    Source:
        B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    finite = values[np.isfinite(values)]
    if not finite.size or finite.size < values.size:
        return None
    low, high = np.quantile(finite, (0.025, 0.975))
    return float(low), float(high)


def is_of_too_few(value: float, drawn: np.ndarray) -> bool:
    """Whether a figure depends on how many pictures there are: on `resamples` it is, on average,
    more than a quarter of its standard error away from ``value``.

    Source:
        B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), section 10.3.
    """
    error = float(drawn.std(ddof=1)) if drawn.size > 1 else 0.0
    return bool(abs(float(drawn.mean()) - value) > 0.25 * error > 0)

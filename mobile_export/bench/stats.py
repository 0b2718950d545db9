"""Statistics of latencies: they are skewed, have outliers, and are not independent of each other.

The figure is the median. Its interval is distribution-free: the order statistics between which the
true median lies with 95 % probability, by the binomial distribution of how many samples fall below
it (Conover, Practical Nonparametric Statistics, 3.2). Consecutive runs resemble each other, which
makes that interval too narrow, so it is widened by the integrated autocorrelation time of the
series "below the median or not" (the variance of an empirical distribution function of a
stationary series; Geyer's initial positive sequence estimates the sum).

Two measurements are compared by the ratio of their medians. Its interval is a percentile bootstrap
that draws whole rounds with replacement, and its p-value a permutation test that exchanges the two
within rounds (interleaved), or blocks between them (measured separately).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Comparison",
    "Summary",
    "compare",
    "is_settled",
    "median_interval",
    "summarise",
]

CONFIDENCE = 0.95
_Z = 1.959963984540054
_FEWEST_FOR_INTERVAL = 6  # the range of five samples covers the median with 93.75 % only
_FEWEST_DEPENDENT = 60  # of fewer, how dependent they are is too rough an estimate
_DEPENDENT = 1.5
_FEWEST_ROUNDS = 6
_OUTLIER_MADS = 5.0
_RESAMPLES = 1000
_SETTLED = 0.02
_WINDOWS = 3


@dataclass(frozen=True)
class Summary:
    """What a table shows of the samples of one measurement, in their unit.

    Attributes:
        low, high: 95 % interval of the median; None with too few samples (`median_interval`).
        outliers: samples more than 5 scaled median absolute deviations above the median; they are
            counted, never removed.
        dependence: integrated autocorrelation time; 1 for independent samples.
    """

    count: int
    median: float
    low: float | None
    high: float | None
    p90: float
    p99: float
    mean: float
    minimum: float
    maximum: float
    outliers: int = 0
    dependence: float = 1.0

    @property
    def half_width(self) -> float:
        """Of the interval, relative to the median; infinity without an interval."""
        if self.low is None or self.high is None or self.median <= 0:
            return math.inf
        return (self.high - self.low) / 2 / self.median


@dataclass(frozen=True)
class Comparison:
    """The medians of two measurements.

    Attributes:
        ratio: median of the first divided by that of the second: above 1, the first is slower.
        low, high: 95 % interval of the ratio; None with fewer than 6 rounds or blocks.
        p_value: of the hypothesis that the two do not differ; None likewise.
        paired: they were interleaved.
    """

    ratio: float
    low: float | None
    high: float | None
    p_value: float | None
    paired: bool

    @property
    def significant(self) -> bool:
        """The interval excludes 1 and the p-value is below 5 %."""
        if self.low is None or self.high is None or self.p_value is None:
            return False
        return self.p_value < 1 - CONFIDENCE and not self.low <= 1 <= self.high


def summarise(samples: Sequence[int]) -> Summary:
    """The summary of at least one sample, in the order of execution."""
    values = np.asarray(samples, dtype=np.float64)
    median = float(np.median(values))
    dependence = dependence_of(values)
    interval = median_interval(values, dependence)
    p90, p99 = (float(q) for q in np.quantile(values, [0.90, 0.99]))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    return Summary(
        count=len(values),
        median=median,
        low=None if interval is None else interval[0],
        high=None if interval is None else interval[1],
        p90=p90,
        p99=p99,
        mean=float(values.mean()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        outliers=int((values > median + _OUTLIER_MADS * spread).sum()) if spread > 0 else 0,
        dependence=dependence,
    )


def _at_most(dependence: float, count: int) -> float:
    """An estimated autocorrelation time plus one standard error of what exceeds independence.

    The error is that of Madras and Sokal (1988), with a window of twice the time.
    """
    return dependence + (dependence - 1) * math.sqrt(2 * (4 * dependence + 1) / count)


def median_interval(values: np.ndarray, dependence: float = 1.0) -> tuple[float, float] | None:
    """95 % interval of the median of the distribution that ``values`` were drawn from.

    Args:
        dependence: integrated autocorrelation time, 1 for independent values.
    Returns:
        None when there are too few values for any interval of that confidence: fewer than 6, or
        fewer than 60 that depend on each other.
    """
    effective = len(values) / _at_most(dependence, len(values))
    if effective < _FEWEST_FOR_INTERVAL:
        return None
    if dependence > _DEPENDENT and len(values) < _FEWEST_DEPENDENT:
        return None
    ordered = np.sort(values)
    below = _rank(len(values))
    if dependence > 1:
        # Student's t for as many values as are independent, by Cornish and Fisher's expansion
        t = _Z * (1 + (_Z**2 + 1) / (4 * (effective - 1)))
        half = t * len(values) / math.sqrt(effective) / 2
        below = max(0, min(below, math.floor(len(values) / 2 - half)))
    return float(ordered[below]), float(ordered[len(values) - 1 - below])


def _rank(count: int) -> int:
    """Largest k with P(Binomial(count, 1/2) <= k) <= 2.5 %: the order statistics k and count-1-k,
    counted from 0, enclose the median with at least 95 %."""
    tail = (1 - CONFIDENCE) / 2
    total, k = 0.0, -1
    while total <= tail:
        k += 1
        log_choices = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        total += math.exp(log_choices - count * math.log(2))
    return k - 1


def dependence_of(values: np.ndarray) -> float:
    """Integrated autocorrelation time of "below the median or not", at least 1.

    Geyer's initial positive sequence: pairs of neighbouring autocorrelations are summed until a
    pair is no longer positive.
    """
    count = len(values)
    signs = np.sign(values - np.median(values))
    signs = signs - signs.mean()
    variance = float(np.dot(signs, signs)) / count
    if count < 2 * _FEWEST_FOR_INTERVAL or variance == 0:
        return 1.0
    size = 1 << (2 * count - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(signs, size)) ** 2
    rho = np.fft.irfft(spectrum, size)[: count // 2] / (count * variance)
    total = -1.0
    for k in range(0, len(rho) - 1, 2):
        pair = float(rho[k] + rho[k + 1])
        if pair <= 0:
            break
        total += 2 * pair
    return max(1.0, total)


def is_settled(windows: Sequence[Sequence[int]]) -> bool:
    """Whether a warm-up is over.

    The medians of the last three windows of runs differ by no more than 2 %, or by no more than
    three times their standard error where the runs scatter more than that (1.2533 scaled median
    absolute deviations over the square root of the window's length).
    """
    if len(windows) < _WINDOWS:
        return False
    last = [np.asarray(window, dtype=np.float64) for window in windows[-_WINDOWS:]]
    medians = [float(np.median(window)) for window in last]
    errors = [
        1.2533 * 1.4826 * float(np.median(np.abs(w - m))) / math.sqrt(len(w))
        for w, m in zip(last, medians, strict=True)
    ]
    return max(medians) - min(medians) <= max(_SETTLED * min(medians), 3 * max(errors))


def compare(
    first: Sequence[Sequence[int]], second: Sequence[Sequence[int]], *, paired: bool, seed: int = 0
) -> Comparison:
    """The ratio of the medians of two measurements.

    Args:
        first, second: their blocks of runs. With ``paired``, block i of one ran next to block i of
            the other.
    """
    if paired:
        rounds = min(len(first), len(second))
        first, second = first[:rounds], second[:rounds]
    a, b = _Blocks(first), _Blocks(second)
    ratio = a.median() / b.median()
    if min(len(first), len(second)) < _FEWEST_ROUNDS:
        return Comparison(ratio, None, None, None, paired)
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn_a = rng.multinomial(len(first), [1 / len(first)] * len(first), _RESAMPLES)
    drawn_b = (
        drawn_a
        if paired
        else rng.multinomial(len(second), [1 / len(second)] * len(second), _RESAMPLES)
    )
    ratios = a.medians(drawn_a) / b.medians(drawn_b)
    low, high = (float(q) for q in np.quantile(ratios, [0.025, 0.975]))
    return Comparison(ratio, low, high, _p_value(first, second, paired, rng), paired)


def _p_value(
    first: Sequence[Sequence[int]],
    second: Sequence[Sequence[int]],
    paired: bool,
    rng: np.random.Generator,
) -> float:
    """Share of the exchanges that give a ratio at least as far from 1 as the one observed."""
    both = _Blocks([*first, *second])
    count = len(first)
    if paired:
        swapped = rng.integers(0, 2, (_RESAMPLES, count)).astype(bool)
        in_first = np.concatenate([~swapped, swapped], axis=1)
    else:
        order = np.argsort(rng.random((_RESAMPLES, len(first) + len(second))), axis=1)
        in_first = order < count
    observed = np.zeros((1, in_first.shape[1]), dtype=bool)
    observed[:, :count] = True
    in_first = np.concatenate([observed, in_first])
    distance = np.abs(np.log(both.medians(in_first) / both.medians(~in_first)))
    return float(np.mean(distance >= distance[0] - 1e-12))


class _Blocks:
    """Samples in blocks, sorted once, whose median under block weights is then cheap."""

    def __init__(self, blocks: Sequence[Sequence[int]]) -> None:
        values = np.concatenate([np.asarray(block, dtype=np.float64) for block in blocks])
        owners = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
        order = np.argsort(values, kind="stable")
        self._values, self._owners = values[order], owners[order]

    def median(self) -> float:
        """Of all samples."""
        return float(np.median(self._values))

    def medians(self, weights: np.ndarray) -> np.ndarray:
        """Median per row of ``weights``, (draws, blocks): how often each block counts."""
        found = np.empty(len(weights))
        for start in range(0, len(weights), 250):  # bounds the memory
            part = weights[start : start + 250]
            total = np.cumsum(part[:, self._owners], axis=1)
            half = total[:, -1:] / 2
            low = self._values[(total < half).sum(axis=1)]
            high = self._values[(total <= half).sum(axis=1)]
            found[start : start + 250] = (low + high) / 2
        return found

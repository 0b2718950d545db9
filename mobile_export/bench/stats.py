"""Statistics of latencies: they are skewed, have outliers, and resemble their neighbours.

A measurement has three levels: starts of the process, turns of one start, runs of one turn. Runs of
one turn resemble each other, turns of one start do (a clock that stays for a second), and two
processes of one program may differ by a percent. Only the starts are nearly independent. So the
figure is the mean over the starts of the median of each start's runs, and its 95 % interval is
Student's over those medians, whatever happens below them. Fewer than `FEWEST_STARTS` starts have no
interval: nothing can be told.

How many starts are enough is decided once, after the first `FEWEST_STARTS` (Stein's two-stage
sample, 1945): a rule that looks again after each start would stop where the spread happens to look
small. ``benchmarks/bench_statistics.py`` prints how often the intervals cover.

Two measurements are compared by the ratio of their figures; the interval is Student's over the
logarithms, of the pairs of starts where they took turns in one run, else Welch's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

__all__ = [
    "FEWEST_STARTS",
    "Answer",
    "Comparison",
    "Slowdown",
    "Summary",
    "compare",
    "is_settled",
    "mean_interval",
    "slowdown",
    "starts_needed",
    "summarise",
]

FEWEST_STARTS = 6
"""Of two clocks that change every second, six starts agree by chance in 3 % of cases."""

_CONFIDENCE = 0.95
_MARGIN = 1.06
"""Of the interval of a figure: starts that follow each other at once are not quite independent."""
_OUTLIER_MADS = 5.0
_SETTLED = 0.02
_WINDOWS = 3
_FEWEST_TURNS = 12
_SLOWED_BY = 0.03
_SLOWED_Z = 3.3
"""Of `slowdown`: exceeded by the largest of all its statistics in 1 % of stationary series."""

Answer = Literal["slower", "not slower", "cannot tell"]


@dataclass(frozen=True)
class Summary:
    """What a table shows of the samples of one measurement, in their unit.

    Attributes:
        median: mean over the starts of the median of each start's runs.
        low, high: its 95 % interval; None with fewer than `FEWEST_STARTS` starts.
        starts: of the process.
        outliers: samples more than 5 scaled median absolute deviations above the median; they are
            counted, never removed.
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
    starts: int = 1

    @property
    def half_width(self) -> float:
        """Of the interval, relative to the median; infinity without an interval."""
        if self.low is None or self.high is None or self.median <= 0:
            return math.inf
        return (self.high - self.low) / 2 / self.median


@dataclass(frozen=True)
class Comparison:
    """The figures of two measurements.

    Attributes:
        ratio: of the first divided by that of the second: above 1, the first is slower.
        low, high: 95 % interval of the ratio; None with fewer than `FEWEST_STARTS` starts.
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
        """The interval excludes 1."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high

    def answer(self, threshold: float) -> Answer:
        """Whether the first is slower by more than ``threshold`` (0.05 is 5 %).

        The interval decides: all of it above means slower, all of it below means not slower.
        """
        if self.low is None or self.high is None:
            return "cannot tell"
        if self.low > 1 + threshold:
            return "slower"
        return "not slower" if self.high <= 1 + threshold else "cannot tell"


def summarise(starts: Sequence[Sequence[int]]) -> Summary:
    """The summary of the samples of every start, in the order of execution; at least one sample."""
    medians = [float(np.median(start)) for start in starts if len(start)]
    values = np.concatenate([np.asarray(start, dtype=np.float64) for start in starts])
    middle = float(np.median(values))
    interval = mean_interval(medians)
    p90, p99 = (float(q) for q in np.quantile(values, [0.90, 0.99]))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    return Summary(
        count=len(values),
        median=float(np.mean(medians)),
        low=None if interval is None else interval[0],
        high=None if interval is None else interval[1],
        p90=p90,
        p99=p99,
        mean=float(values.mean()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        outliers=int((values > middle + _OUTLIER_MADS * spread).sum()) if spread > 0 else 0,
        starts=len(medians),
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % interval of the mean, 6 % wider; None for fewer than `FEWEST_STARTS` values.

    It is never narrower than the one that `starts_needed` counted on.
    """
    count = len(values)
    if count < FEWEST_STARTS:
        return None
    mean = float(np.mean(values))
    first = float(np.std(values[:FEWEST_STARTS], ddof=1)) * _t(FEWEST_STARTS - 1)
    half = _MARGIN * max(first, float(np.std(values, ddof=1)) * _t(count - 1)) / math.sqrt(count)
    return mean - half, mean + half


def starts_needed(values: Sequence[float], interval: float) -> int:
    """Starts after which the half-width of `mean_interval` should be ``interval``, relative.

    Args:
        values: of the first `FEWEST_STARTS` starts.
    """
    half = _MARGIN * float(np.std(values, ddof=1)) * _t(len(values) - 1)
    spread = half / float(np.mean(values))
    return max(len(values), math.ceil((spread / interval) ** 2))


@cache
def _t(freedom: float) -> float:
    """The two-sided 95 % quantile of Student's distribution."""
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if _two_sided(middle, freedom) > 1 - _CONFIDENCE else (low, middle)
        )
    return high


def _two_sided(t: float, freedom: float) -> float:
    """P(|T| > t): the regularised incomplete beta function of x at (freedom / 2, 1 / 2)."""
    x = freedom / (freedom + t * t)
    return _beta(x, freedom / 2, 0.5)


def _beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    front = math.exp(
        a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    )
    value = 1.0
    for m in range(200, 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        value = 1 + odd / (1 + even / value)
    return front / a / value


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


@dataclass(frozen=True)
class Slowdown:
    """A series that became slower: by how much (0.1 is 10 %), and from which share of it on."""

    by: float
    since: float


def slowdown(turns: Sequence[Sequence[float]]) -> Slowdown | None:
    """Whether the runs became slower while they were measured, in a step or gradually.

    The logarithms of the turns' means (outliers pulled in) are fitted by every step and by four
    ramps. The best fit counts when its height is 3 % or more and 3.3 standard errors or more, which
    the best fit of a stationary series is in 1 % of cases; the errors are widened by how far
    neighbouring turns resemble each other, as a first-order autoregression.

    Args:
        turns: the runs of each, in the order of execution.
    """
    turns = [turn for turn in turns if len(turn)]
    if len(turns) < _FEWEST_TURNS:
        return None
    values = np.concatenate([np.asarray(turn, dtype=np.float64) for turn in turns])
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    far = max(_OUTLIER_MADS * spread, middle / 2)  # of two speeds, neither is an outlier
    means = [float(np.clip(turn, middle - far, middle + far).mean()) for turn in turns]
    series = np.log(np.maximum(means, 1e-300))
    series = series - series.mean()
    shapes, since = _shapes(len(series))
    power = (shapes**2).sum(axis=1)
    height = shapes @ series / power
    best = int(np.where(height > 0, height**2 * power, 0).argmax())
    rest = series - height[best] * shapes[best]
    total = float(rest @ rest)
    by = math.expm1(float(height[best] * np.ptp(shapes[best])))
    if by < _SLOWED_BY:
        return None
    if total > 0:
        count = len(series)
        rho = float(rest[1:] @ rest[:-1]) / total
        rho = min(0.9, max(0.0, rho + (1 + 3 * rho) / count))  # less its bias in short series
        variance = total / (count - 3) * (1 + rho) / (1 - rho) / float(power[best])
        if height[best] < _SLOWED_Z * math.sqrt(variance):
            return None
    return Slowdown(by, since[best])


@cache
def _shapes(count: int) -> tuple[np.ndarray, list[float]]:
    """Steps and ramps over ``count`` turns, each with a mean of 0, and where each begins."""
    place = np.arange(count) / (count - 1)
    edge = max(3, round(0.05 * count))
    steps = [(np.arange(count) >= k).astype(float) for k in range(edge, count - edge + 1)]
    begins = (0.0, 0.25, 0.5, 0.75)
    ramps = [np.clip(place - begin, 0, None) / (1 - begin) for begin in begins]
    rows = np.array([*steps, *ramps])
    since = [*(k / count for k in range(edge, count - edge + 1)), *begins]
    return rows - rows.mean(axis=1, keepdims=True), since


def compare(first: Sequence[float], second: Sequence[float], *, paired: bool) -> Comparison:
    """The ratio of two measurements.

    Args:
        first, second: the medians of their starts. With ``paired``, start i of one took turns with
            start i of the other.
    """
    if paired:
        count = min(len(first), len(second))
        first, second = first[:count], second[:count]
    ratio = float(np.mean(first) / np.mean(second))
    if min(len(first), len(second)) < FEWEST_STARTS:
        return Comparison(ratio, None, None, None, paired)
    a, b = np.log(first), np.log(second)
    if paired:
        centre, error = float(np.mean(a - b)), float(np.std(a - b, ddof=1)) / math.sqrt(len(a))
        freedom = len(a) - 1.0
    else:
        parts = [float(np.var(x, ddof=1)) / len(x) for x in (a, b)]
        centre, error = float(a.mean() - b.mean()), math.sqrt(sum(parts))
        freedom = _welch(parts, (len(a), len(b)))
    half = _t(round(freedom, 3)) * error
    p_value = _two_sided(abs(centre) / error, freedom) if error > 0 else float(centre == 0)
    return Comparison(ratio, math.exp(centre - half), math.exp(centre + half), p_value, paired)


def _welch(variances: Sequence[float], counts: Sequence[int]) -> float:
    """Degrees of freedom of a difference of two means, by Welch and Satterthwaite."""
    total = sum(variances)
    if total == 0:
        return min(counts) - 1.0
    parts = zip(variances, counts, strict=True)
    return float(total**2 / sum(v**2 / (n - 1) for v, n in parts))

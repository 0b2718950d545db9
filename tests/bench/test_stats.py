"""Statistics against series whose truth is known, and against tables of other people."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bench_statistics import SERIES, covered, false_alarms
from mobile_export.bench.stats import (
    FEWEST_STARTS,
    Slowdown,
    compare,
    is_settled,
    mean_interval,
    slowdown,
    starts_needed,
    summarise,
)

Draw = Callable[[np.random.Generator, int], np.ndarray]


@pytest.mark.parametrize("series", SERIES, ids=lambda series: series.name)
def test_intervals_cover(series: object) -> None:
    """95 % is meant; of 150 draws 89 % is 3.4 standard errors below it. The whole simulation is
    ``benchmarks/bench_statistics.py``."""
    assert covered(series, draws=150, seed=0).coverage >= 0.89  # type: ignore[arg-type]


@pytest.mark.parametrize("paired", [True, False])
def test_equal_models_differ_seldom(paired: bool) -> None:
    """Under drift and processes that differ by 1 %; at most 5 % are meant, 300 draws."""
    assert false_alarms(paired=paired, threshold=0.0, draws=300, seed=0) <= 0.09


@pytest.mark.parametrize(
    ("count", "quantile"),
    # Student's distribution, two-sided 5 %: any table.
    [(6, 2.571), (7, 2.447), (11, 2.228), (21, 2.086), (31, 2.042)],
)
def test_the_quantiles_of_student(count: int, quantile: float) -> None:
    values = np.arange(float(count))
    values[:6] = 10.0, 10.1, 9.9, 10.0, 10.1, 9.9  # the first six spread less than all
    interval = mean_interval(list(values))
    assert interval is not None
    half = 1.06 * quantile * values.std(ddof=1) / math.sqrt(count)
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-3)


def test_stein_counts_the_starts() -> None:
    """(1.06 * 2.571 s / (0.02 m))^2."""
    values = [97.0, 103.0, 97.0, 103.0, 97.0, 103.0]
    spread = np.std(values, ddof=1)
    expected = math.ceil((1.06 * 2.5706 * spread / 2.0) ** 2)
    assert starts_needed(values, 0.02) == expected
    assert starts_needed([100.0, 100.1] * 3, 0.02) == FEWEST_STARTS


def test_five_starts_have_no_interval() -> None:
    assert mean_interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert summarise([[1, 2, 3]] * 5).half_width == math.inf


@given(st.lists(st.lists(st.integers(1, 10**12), min_size=1, max_size=40), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_a_summary_is_ordered(starts: list[list[int]]) -> None:
    s = summarise(starts)
    assert s.minimum <= s.p90 <= s.p99 <= s.maximum
    assert s.minimum <= s.median * (1 + 1e-9)
    assert s.median == pytest.approx(np.mean([np.median(start) for start in starts]))
    assert s.starts == len(starts)
    if s.low is not None and s.high is not None:
        assert s.low <= s.median <= s.high


def test_outliers_are_counted_and_kept() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    samples = [int(v) for v in rng.normal(1e6, 1e4, 100)] + [5_000_000] * 3
    s = summarise([samples])
    assert s.outliers == 3
    assert s.maximum == 5_000_000
    assert s.count == 103


def test_a_warm_up_is_over_when_windows_agree() -> None:
    falling = [[200] * 5, [150] * 5, [120] * 5]
    assert not is_settled(falling)
    assert not is_settled([*falling, [101] * 5, [100] * 5])
    assert is_settled([*falling, [101] * 5, [100] * 5, [101] * 5])
    assert not is_settled([[100] * 5] * 2)


def turns(
    shape: Callable[[np.ndarray], np.ndarray], seed: int, runs: int = 20
) -> list[list[float]]:
    """54 turns of runs that scatter by 10 %, slowed down by ``shape`` of the share of the run."""
    rng = np.random.Generator(np.random.PCG64(seed))
    scale = shape(np.arange(54) / 54)[:, None]
    found: list[list[float]] = (scale * rng.normal(1.0, 0.1, (54, 20))).tolist()
    return found


def test_noise_is_seldom_taken_for_a_slowdown() -> None:
    """At most 2 %, by 1000 series."""
    alarms = [slowdown(turns(np.ones_like, seed)) is not None for seed in range(1000)]
    assert np.mean(alarms) <= 0.02


@pytest.mark.parametrize("at", [0.2, 0.35, 0.5, 0.7, 0.85, 0.9])
def test_a_step_down_by_a_tenth_is_seen(at: float) -> None:
    found = [slowdown(turns(lambda t: np.where(t >= at, 1 / 0.9, 1.0), s)) for s in range(100)]
    seen = [one for one in found if one is not None]
    assert len(seen) >= 90
    assert np.median([one.by for one in seen]) == pytest.approx(1 / 0.9 - 1, abs=0.03)
    assert np.median([one.since for one in seen]) == pytest.approx(at, abs=0.06)


@pytest.mark.parametrize("begin", [0.0, 0.2, 0.5, 0.7])
def test_a_clock_that_falls_slowly_is_seen(begin: float) -> None:
    def falling(t: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 - 0.1 * np.clip((t - begin) / (1 - begin), 0, None)))

    found = [slowdown(turns(falling, seed)) for seed in range(100)]
    assert sum(one is not None for one in found) >= 90


def test_what_becomes_faster_is_no_slowdown() -> None:
    assert slowdown(turns(lambda t: np.where(t >= 0.5, 0.8, 1.0), 0)) is None
    assert slowdown([[1.0]] * 40) is None
    assert slowdown([[1.0]] * 5 + [[2.0]] * 5) is None  # too few turns to say
    assert slowdown([[1.0]] * 20 + [[2.0]] * 20) == Slowdown(pytest.approx(1.0), 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("paired", [True, False])
def test_a_slower_model_is_seen(paired: bool) -> None:
    rng = np.random.Generator(np.random.PCG64(6))
    fast, slow = rng.normal(100, 1, 6), rng.normal(110, 1, 6)
    result = compare(list(slow), list(fast), paired=paired)
    assert result.significant
    assert result.ratio == pytest.approx(1.1, abs=0.02)
    assert result.p_value is not None
    assert result.p_value < 0.01
    assert result.answer(0.05) == "slower"
    assert result.answer(0.20) == "not slower"
    assert result.answer(0.10) == "cannot tell"


def test_welch_by_a_published_example() -> None:
    """R's ``t.test(extra ~ group, data = sleep)`` prints t = -1.8608, df = 17.776, p = 0.07939;
    of exponentials, because logarithms are compared."""
    first = np.exp([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    second = np.exp([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    result = compare(list(first), list(second), paired=False)
    assert result.p_value == pytest.approx(0.07939, abs=1e-5)
    assert result.low is not None
    assert result.high is not None
    interval = (math.log(result.low), math.log(result.high))
    assert interval == pytest.approx((-3.3654832, 0.2054832), abs=1e-5)
    paired = compare(list(first), list(second), paired=True)
    assert paired.p_value == pytest.approx(0.002833, abs=1e-6)  # t.test(..., paired = TRUE)


def test_few_starts_prove_nothing() -> None:
    result = compare([200.0] * 5, [100.0] * 5, paired=True)
    assert result.ratio == 2
    assert (result.low, result.p_value, result.significant) == (None, None, False)
    assert result.answer(0.05) == "cannot tell"

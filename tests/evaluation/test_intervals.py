"""Intervals against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest

from mobile_export.evaluation.intervals import (
    is_of_too_few,
    percentile_interval,
    resamples,
    wilson,
)

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (3, 7), (50, 50), (711, 1000)])
def test_wilson_is_scipys(hits: int, total: int) -> None:
    wanted = stats.binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson(hits, total) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_the_bootstrap_of_a_mean_is_that_of_the_normal_distribution() -> None:
    """Of 400 values, where both are about the same: mean ± 1.96 standard errors."""
    values = np.random.Generator(np.random.PCG64(5)).exponential(size=400)
    drawn = np.asarray([values[each].mean() for each in resamples(400, 1000)])
    error = values.std(ddof=1) / 20
    interval = percentile_interval(drawn)
    assert interval is not None
    assert interval == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.25 * error
    )


def test_draws_are_the_same_every_time() -> None:
    one, other = (np.stack(list(resamples(9, 3))) for _ in range(2))
    assert (one == other).all()


def test_no_interval_where_a_draw_has_no_figure() -> None:
    assert percentile_interval(np.asarray([1.0, np.nan])) is None


def test_a_mean_does_not_depend_on_how_many_there_are_and_a_maximum_does() -> None:
    values = np.random.Generator(np.random.PCG64(7)).random(60)
    draws = [values[each] for each in resamples(60, 1000)]
    assert not is_of_too_few(values.mean(), np.asarray([each.mean() for each in draws]))
    assert is_of_too_few(values.max(), np.asarray([each.max() for each in draws]))
    assert not is_of_too_few(1.0, np.ones(9))
    assert not is_of_too_few(float("nan"), np.full(9, np.nan))

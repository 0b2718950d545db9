"""Histograms of tensors, and the ranges that are chosen from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mobile_export.quantization.histogram import BINS, Histogram
from mobile_export.quantization.ranges import METHODS, Grid, fit, fit_weight

INT8 = Grid(-128, 127, symmetric=False)
INT16 = Grid(-(2**15), 2**15 - 1, symmetric=True)
RNG = np.random.default_rng(0)


def seen(*batches: np.ndarray) -> Histogram:
    found = Histogram()
    for batch in batches:
        found.add(batch)
    return found


def test_counts_are_numpys_and_do_not_depend_on_the_order() -> None:
    batches = [RNG.normal(0, 10.0**power, 1000).astype(np.float32) for power in (-2, 1, 0)]
    one, other = seen(*batches), seen(*batches[::-1])
    assert one.width == other.width
    assert (one.counts == other.counts).all()
    edges = (np.arange(2 * BINS + 1) - BINS) * one.width
    assert (one.counts == np.histogram(np.concatenate(batches), edges)[0]).all()
    assert one.low == np.concatenate(batches).min()


def test_two_histograms_merged_are_one_of_all_values() -> None:
    a, b = RNG.normal(0, 3, 500), RNG.normal(5, 0.1, 500)
    zeros = np.zeros(7)
    both = seen(zeros).merged(seen(a)).merged(seen(b))
    assert (both.counts == seen(a, b, zeros).counts).all()
    everything = np.concatenate([a, b, zeros]).astype(np.float32)
    assert (both.low, both.high) == (everything.min(), everything.max())


def test_memory_is_bounded_and_extremes_are_of_all_values() -> None:
    values = np.zeros(2**18, np.float32)
    values[12345] = 77.0
    found = seen(values)
    assert found.counts.sum() <= 2**16 + 1
    assert found.high == 77.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        seen(np.array([1.0, bad]))


@pytest.mark.parametrize("grid", [INT8, INT16])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [np.zeros(9), np.full(9, 5.0), np.full(9, -5.0)])
def test_constants_are_stored_to_half_a_step_and_zero_exactly(
    method: str, grid: Grid, values: np.ndarray
) -> None:
    steps = fit(seen(values), grid, method)
    assert grid.low <= steps.zero_point <= grid.high
    assert np.float32(steps.scale) == steps.scale
    q = np.clip(np.rint(values / steps.scale) + steps.zero_point, grid.low, grid.high)
    assert np.abs((q - steps.zero_point) * steps.scale - values).max() <= 0.51 * steps.scale


def squared_error(values: np.ndarray, scale: float, zero_point: int, grid: Grid) -> float:
    q = np.clip(np.rint(values / scale) + zero_point, grid.low, grid.high)
    return float(np.square((q - zero_point) * scale - values).mean())


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_least_squares_is_the_best_and_nearly_the_best_there_is(shift: float) -> None:
    """Against a search over all ranges on the values themselves, for a distribution with tails."""
    values = (RNG.standard_t(3, 20_000) + shift).astype(np.float32)
    found = seen(values)
    errors = {}
    for name in METHODS:
        steps = fit(found, INT8, name)
        errors[name] = squared_error(values, steps.scale, steps.zero_point, INT8)
    assert errors["least-squares"] < errors["min-max"]
    assert errors["least-squares"] <= errors["percentile"]
    lows, highs = values.min() * np.linspace(0.05, 1, 60), values.max() * np.linspace(0.05, 1, 60)
    best = min(
        squared_error(values, s, round(-128 - low / s), INT8)
        for low in lows
        for high in highs
        for s in [(high - low) / 255]
    )
    assert errors["least-squares"] < 1.05 * best


def test_scales_of_weights() -> None:
    weight = np.concatenate([RNG.standard_t(3, (4, 300)), np.zeros((1, 300))])
    grid = Grid(-127, 127, symmetric=True)
    whole = np.abs(weight).max(1) / 127
    plain = fit_weight(weight, grid, "min-max")
    assert plain[:4] == pytest.approx(whole[:4], rel=1e-6)
    assert plain[4] == plain[:4].max()  # a channel of zeros
    fine = fit_weight(weight, grid, "least-squares")
    for row, a, b in zip(weight[:4], plain, fine, strict=False):
        assert squared_error(row, b, 0, grid) <= squared_error(row, a, 0, grid)

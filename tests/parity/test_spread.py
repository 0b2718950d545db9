"""The spread of outputs, and errors relative to it, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mobile_export.parity.spread import relative_spread, spread, spread_error

EXACT = [np.array([[100.0, 7.0]]), np.array([[104.0, 7.0]]), np.array([[99.0, 7.0]])]
"""The first element has the mean 101, so that 104 is farthest from it."""


def test_spread_by_hand() -> None:
    assert spread(EXACT) == 3.0
    assert relative_spread(EXACT) == 3.0 / 104.0


def test_an_input_that_is_ignored_is_one_whatever_the_size_and_the_offset() -> None:
    for offset in (0.0, 1e6):
        exact = [array + offset for array in EXACT]
        for kept in exact:
            assert spread_error([kept] * 3, exact) == pytest.approx(1.0, rel=1e-9)


def test_an_offset_of_all_samples_does_not_count() -> None:
    assert spread_error([array + 0.5 for array in EXACT], EXACT) == pytest.approx(0.0, abs=1e-12)


def test_an_error_of_one_sample_by_hand() -> None:
    got = [EXACT[0], EXACT[1] + 0.9, EXACT[2]]  # 0.9 - its mean 0.3, of a spread of 3
    assert spread_error(got, EXACT) == pytest.approx(0.2)


def test_outputs_that_do_not_change() -> None:
    exact = [np.full((1, 3), 0.1 + 0.2), np.full((1, 3), 0.3), np.full((1, 3), 0.3)]
    assert exact[0][0, 0] != exact[1][0, 0]  # rounding of float64
    assert (spread(exact), relative_spread(exact)) == (0.0, 0.0)
    assert spread_error(exact, exact) is None
    zeros = [np.zeros((1, 3))] * 2
    assert (relative_spread(zeros), spread_error(zeros, zeros)) == (0.0, None)


def test_labels_by_hand() -> None:
    exact = [np.array([1, 2, 3, 4]), np.array([1, 2, 0, 0]), np.array([1, 2, 3, 0])]
    assert (spread(exact), relative_spread(exact)) == (0.5, 0.5)
    assert spread_error([exact[0]] * 3, exact) == 1.0
    assert spread_error([exact[0], exact[1], np.array([1, 2, 3, 9])], exact) == 0.5


def test_infinities_and_shapes() -> None:
    masked = [np.array([-math.inf, 1.0]), np.array([-math.inf, 3.0])]
    assert spread(masked) == 1.0
    assert spread_error(masked, masked) == 0.0
    for bad in (math.nan, math.inf):
        assert spread_error([masked[0], np.array([-math.inf, bad])], masked) == math.inf
    assert spread_error([np.zeros(3)] * 2, masked) == math.inf

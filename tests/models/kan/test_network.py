"""KAN convolutions against the official code (IvanDrokin/torch-conv-kan@7a0e83c), its README."""

from __future__ import annotations

import torch

from mobile_export.models.kan.network import INTERVALS, ORDER, Splines
from tests.models.official import Official

OFFICIAL = Official("kan")


def test_state_dict_is_the_official_one() -> None:
    OFFICIAL.check_state_dict("kan_conv")


def test_outputs_are_the_official_ones() -> None:
    OFFICIAL.check_outputs("kan_conv")


def test_splines_sum_to_one_between_the_knots_that_count() -> None:
    """What makes B-splines a basis: inside [-1, 1] they are a partition of one."""
    x = torch.linspace(-0.99, 0.99, 50).reshape(1, 1, 5, 10)
    values = Splines()(x)
    assert values.shape == (1, INTERVALS + ORDER, 5, 10)
    torch.testing.assert_close(values.sum(1), torch.ones(1, 5, 10))
    assert (values >= 0).all()

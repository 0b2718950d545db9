"""SVT against the official code (badripatro/svt@fcbc9b3), with pytorch_wavelets 1.3.0.

Its filters, which checkpoints hold, are not among the weights here, and its code was run in float64
with a first stage of 16 x 16 pixels, where it has 56 x 56.
"""

from __future__ import annotations

import pytest
import torch

from mobile_export.models import table
from mobile_export.models.svt.wavelets import Wavelets
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("svt")


def test_state_dict_is_the_official_one() -> None:
    OFFICIAL.check_state_dict("svt_s")


def test_outputs_are_the_official_ones() -> None:
    OFFICIAL.check_outputs("svt_s")


def test_parameters_are_the_printed_ones() -> None:
    """FLOPs are printed without the wavelets and the products of attention."""
    published = table.get("svt_s").published
    counted = cost_of("svt_s")
    assert counted.parameters / 1e6 == pytest.approx(published.params_m, rel=0.01)
    assert counted.macs / 1e6 > published.macs_m


def test_the_transform_can_be_undone() -> None:
    """What makes it a wavelet transform: the map is the sum of its parts."""
    torch.manual_seed(0)
    x = torch.rand(2, 3, 20, 24, dtype=torch.float64)
    wavelets = Wavelets().double()
    low, reals, imaginaries = wavelets(x)
    assert low.shape == x.shape
    assert {part.shape for part in (*reals, *imaginaries)} == {(2, 3, 10, 12)}
    assert len(reals) == len(imaginaries) == 6
    torch.testing.assert_close(wavelets.back(low, reals, imaginaries), x, rtol=0, atol=1e-6)

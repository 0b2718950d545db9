"""CCNN against the official code (david-knigge/ccnn@a543e38), whose kernels were cropped there."""

from __future__ import annotations

import torch

from mobile_export.models.ccnn.network import KERNEL, ContinuousConv
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("ccnn")


def test_state_dict_is_the_official_one() -> None:
    OFFICIAL.check_state_dict("ccnn_4_140")


def test_outputs_are_the_official_ones() -> None:
    OFFICIAL.check_outputs("ccnn_4_140", constants="mask_threshold")


def test_kernels_are_no_part_of_what_an_image_costs() -> None:
    """They are made of weights alone: a file stores them."""
    taps = 32 * 32 * KERNEL**2 * (3 + 4 * 140)
    assert taps < cost_of("ccnn_4_140").macs < 1.3 * taps


def test_a_narrow_mask_cuts_the_kernel_off() -> None:
    """Where a Gaussian of width 0.1 falls to 0.1, at 0.215, is between 3 and 4 pixels of 1/16."""
    conv = ContinuousConv(3, 5)
    with torch.no_grad():
        conv.mask_width_param.fill_(0.1)
        rows = conv.mask()[0].ne(0).any(1).nonzero().flatten()
    middle = KERNEL // 2
    assert rows.tolist() == list(range(middle - 3, middle + 4))

"""2-D SSM against the official code (ethanbar11/ssm_2d@fbdd3e3, models/vit.py with its own command
for CIFAR-100, the module that it lacks being models/mega/two_d_ssm.py)."""

from __future__ import annotations

import pytest
import torch

from mobile_export.models.ssm_2d.network import StateSpace
from tests.models.official import Official

OFFICIAL = Official("ssm_2d")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["vit_ssm_2d"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_states_pixel_by_pixel() -> None:
    """§3.1: along a row from the pixel on the left, along a column from the one above."""
    torch.manual_seed(0)
    module = StateSpace(8).double()
    a_1, a_2, a_3, a_4 = (module.A[f"A_{index}"].sigmoid() for index in range(1, 5))
    zero = torch.zeros_like(a_1)
    along = {(0, 0): module.B_1.sigmoid()}
    down = {(0, 0): module.B_2.sigmoid()}

    def met(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first + second) / (2 if first.any() and second.any() else 1)

    for row in range(3):
        for column in range(4):
            left, above = (row, column - 1), (row - 1, column)
            if (row, column) != (0, 0):
                along[row, column] = met(a_1 * along.get(left, zero), a_2 * down.get(left, zero))
                down[row, column] = met(a_3 * along.get(above, zero), a_4 * down.get(above, zero))
    found = module.states(3, 4)
    for row, column in along:
        for got, expected in zip(found, (along, down), strict=True):
            torch.testing.assert_close(got[row, column], expected[row, column], rtol=0, atol=1e-14)

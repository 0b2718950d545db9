"""AMT against the official code (MCG-NKU/AMT@70f988f, networks/AMT-S.py)."""

from __future__ import annotations

import pytest
import torch

from mobile_export.models import table
from mobile_export.models.amt.network import look_up
from tests.models.official import Official

OFFICIAL = Official("amt")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["amt_s"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_parameters_are_the_papers() -> None:
    with torch.device("meta"):
        module = table.get("amt_s").build()
    counted = sum(each.numel() for each in module.parameters())
    assert counted / 1e6 == pytest.approx(table.get("amt_s").published.params_m, rel=0.01)


def test_looking_up_is_bilinear_sampling() -> None:
    """`torch.nn.functional.grid_sample` at 7x7 places, also outside of the map."""
    torch.manual_seed(0)
    maps = torch.randn(1, 5, 6, 9, dtype=torch.float64)
    places = torch.rand(1, 5, 2, dtype=torch.float64) * 16 - 4
    steps = torch.arange(-3.0, 4.0, dtype=torch.float64)
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    # the official grid adds the first axis' step to the column, the second's to the row
    where = places[0, :, None, None] + torch.stack([down, across], -1)
    grid = 2 * where / torch.tensor([8.0, 5.0], dtype=torch.float64) - 1
    expected = torch.nn.functional.grid_sample(maps[0][:, None], grid, align_corners=True)
    torch.testing.assert_close(look_up(maps, places), expected.flatten(1)[None], rtol=0, atol=1e-12)

"""AANet against the official code (haofeixu/aanet@8d0d747, nets/aanet.py), whose deformable
convolutions are torchvision's operator."""

from __future__ import annotations

import pytest
import torch

from mobile_export.models import table
from mobile_export.models.aanet.network import compare
from tests.models.official import Official

OFFICIAL = Official("aanet")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["aanet"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_parameters_are_the_official_zoos() -> None:
    published = table.get("aanet").published.params_m
    assert OFFICIAL.golden["aanet"]["params"] / 1e6 == pytest.approx(published, rel=0.01)


def test_comparing_at_more_disparities_than_pixels() -> None:
    left, right = torch.full((1, 4, 2, 3), 2.0), torch.full((1, 4, 2, 3), 5.0)
    found = compare(left, right, 5)
    rows = [[10, 10, 10], [0, 10, 10], [0, 0, 10], [0, 0, 0], [0, 0, 0]]
    expected = torch.tensor(rows, dtype=torch.float32)[None, :, None].expand(1, 5, 2, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)

"""PVT against the official code (whai362/PVT@57e2dfa, classification/pvt.py)."""

from __future__ import annotations

import pytest
import torch

from mobile_export.models import table
from tests.models.costs import cost_of
from tests.models.official import Official, build

OFFICIAL = Official("pvt")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["pvt_tiny"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    """At another size than that of training, so positions are interpolated."""
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize("name", sorted(OFFICIAL.shapes))
def test_counts_are_the_papers(name: str) -> None:
    published, counted = table.get(name).published, cost_of(name)
    assert published.params_m is not None
    assert published.macs_m is not None
    assert counted.parameters / 1e6 == pytest.approx(published.params_m, rel=0.01)
    assert counted.macs / 1e6 == pytest.approx(published.macs_m, rel=0.03)


def test_maps_are_of_four_strides() -> None:
    module = build("pvt_tiny").eval()
    with torch.no_grad():
        maps = module.feature_maps(torch.zeros(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (64, 16, 24),
        (128, 8, 12),
        (320, 4, 6),
        (512, 2, 3),
    ]

"""LightViT against the official code (hunto/image_classification_sota, lib/models/lightvit.py)."""

from __future__ import annotations

import pytest

from mobile_export.models import table
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("lightvit")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["lightvit_tiny"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize("name", sorted(OFFICIAL.shapes))
def test_counts_are_the_papers(name: str) -> None:
    published, counted = table.get(name).published, cost_of(name)
    assert published.params_m is not None
    assert published.macs_m is not None
    assert counted.parameters / 1e6 == pytest.approx(published.params_m, rel=0.01)
    pairs = sum(
        depth * 2 * tokens * dim * (49 - 1)
        for depth, tokens, dim in ((2, 28**2, 64), (6, 14**2, 128), (6, 7**2, 256))
    )
    counted_there = (counted.macs - counted.norm_macs - pairs) / 1e9
    assert round(counted_there, 1) == published.macs_m / 1e3, (
        "its counter takes one product for each pixel of a window instead of 49"
    )

"""RedNet against the official code (d-li14/involution@21c3158, backbones/rednet.py)."""

from __future__ import annotations

import pytest

from mobile_export.models import table
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("rednet")

SIDES = (56, 28, 14, 7)
DEPTHS = (1, 2, 4, 1)
PRODUCTS = 112**2 * 32 * 3**2 + sum(
    depth * side**2 * 64 * 2**index * 7**2
    for index, (side, depth) in enumerate(zip(SIDES, DEPTHS, strict=True))
)
"""Of kernels and pixels in all involutions, which no convolution or matrix product makes: the
papers count them, `mobile_export.models.cost` does not."""


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["rednet26"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize("name", sorted(OFFICIAL.shapes))
def test_counts_are_the_papers(name: str) -> None:
    published, counted = table.get(name).published, cost_of(name)
    assert published.params_m is not None
    assert published.macs_m is not None
    assert counted.parameters / 1e6 == pytest.approx(published.params_m, rel=0.01)
    assert (counted.macs + PRODUCTS) / 1e6 == pytest.approx(published.macs_m, rel=0.03)

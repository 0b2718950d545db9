"""CoDeNet against the official code (Zhen-Dong/CoDeNet@e956985, shufflenetv2_dcn.py), whose
deformable convolution is torchvision's operator; boxes as its `ctdet_decode` makes them."""

from __future__ import annotations

import pytest

from mobile_export.models import table
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("codenet")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(sorted(OFFICIAL.golden)))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_counts_are_the_papers() -> None:
    published, counted = table.get("codenet_1x").published, cost_of("codenet_1x")
    assert counted.parameters / 1e6 == pytest.approx(published.params_m, rel=0.01)
    assert counted.macs / 1e6 == pytest.approx(published.macs_m, rel=0.03)

"""SMPConv against the official code (sangnekim/SMPConv@de4e59a, smp_imagenet/models/SMPConv.py)."""

from __future__ import annotations

import pytest

from mobile_export.models import table
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("smpconv")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["smpconv_tiny"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize("name", sorted(OFFICIAL.shapes))
def test_counts_are_the_papers(name: str) -> None:
    published, counted = table.get(name).published, cost_of(name)
    assert published.params_m is not None
    assert published.macs_m is not None
    assert counted.parameters / 1e6 == pytest.approx(published.params_m, abs=0.5), "printed as 27 M"
    assert counted.macs / 1e6 == pytest.approx(published.macs_m, rel=0.03)

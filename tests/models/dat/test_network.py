"""DAT-light against the official code (zhengchen1999/DAT@1645c64, basicsr/archs/dat_arch.py).

The mean of the colours, which that stores in float32, was in float64 when the outputs were made.
"""

from __future__ import annotations

import pytest

from mobile_export.models import table
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("dat")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["dat_light_x2"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_counts_are_the_papers() -> None:
    """The README's, of scale 4 and a result of 720x1280."""
    published, counted = table.get("dat_light_x4").published, cost_of("dat_light_x4")
    assert published.params_m is not None
    assert published.macs_m is not None
    assert counted.parameters / 1e6 == pytest.approx(published.params_m, rel=0.01)
    assert counted.macs / 1e6 == pytest.approx(published.macs_m, rel=0.03)

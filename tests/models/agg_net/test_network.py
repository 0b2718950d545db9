"""AGG-Net against the official code (htx0601/AGG-Net@bc5158c).

Its newer line for the gate does not run: its older one ("V1") computed the golden outputs, of
64x96 pixels.
"""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("agg_net")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", sorted(OFFICIAL.golden))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)

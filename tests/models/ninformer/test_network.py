"""NiNformer against the official code (Abdullah-88/NiNformer@0ec85d4, train.py)."""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("ninformer")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["ninformer"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)

"""MedViT against the official code (Omid-Nejati/MedViT@1abcaf6, MedViT.py)."""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("medvit")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["medvit_small"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)

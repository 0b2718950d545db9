"""GLNet against the official code (rayleizhu/GLMix@3c93dbf, models/glnet.py)."""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("glnet")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", sorted(OFFICIAL.golden))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)

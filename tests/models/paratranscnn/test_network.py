"""ParaTransCNN against the official code (HongkunSun/ParaTransCNN@2702b8b)."""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("paratranscnn")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked([]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)

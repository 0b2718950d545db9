"""HiFormer-S against the official code (amirhossein-kz/HiFormer@6726d28).

Without the tensors of its fusion of class tokens, on which the official output does not hang.
"""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("hiformer")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["hiformer_s"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)

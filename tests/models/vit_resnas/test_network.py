"""ViT-ResNAS against the official code (yilunliao/vit-search@303e7c3, nets/vit_sr_supernet.py).

The official script names the network; its head for patches is of training alone.
"""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("vit_resnas")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["vit_resnas_tiny"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)

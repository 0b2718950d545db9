"""ESPCN against the public code that defines it (leftthomas/ESPCN@b1dd698)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobile_export.errors import WeightsError
from mobile_export.sources.weights import load_weights
from tests.models.costs import cost_of
from tests.models.official import Official, build

OFFICIAL = Official("espcn")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["espcn_x2", "espcn_x3", "espcn_x4"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_parameters_of_the_three_convolutions(scale: int) -> None:
    """§3.2: 5x5 to 64 channels, 3x3 to 32, 3x3 to scale² channels, with biases."""
    expected = (25 + 1) * 64 + (9 * 64 + 1) * 32 + (9 * 32 + 1) * scale**2
    assert cost_of(f"espcn_x{scale}").parameters == expected


def test_the_checkpoint_of_another_family_is_named(tmp_path: Path) -> None:
    path = tmp_path / "carn.pth"
    torch.save(Official("carn_m").zeros("carn_m_x2"), path)
    with pytest.raises(WeightsError) as caught:
        load_weights(build("espcn_x2"), path)
    assert "fits carn_m_x2 and carn_m_x3 and carn_m_x4." in str(caught.value.hint)

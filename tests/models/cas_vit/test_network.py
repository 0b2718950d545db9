"""CAS-ViT against the official code (Tianfang-Zhang/CAS-ViT@041d2d6) and its tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobile_export.errors import WeightsError
from mobile_export.models import table
from mobile_export.sources.weights import load_weights
from tests.models.costs import cost_of
from tests.models.official import Official, build

OFFICIAL = Official("cas_vit")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["cas_vit_xs", "cas_vit_xs?heads=1"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize("name", ["cas_vit_xs", "cas_vit_s", "cas_vit_m", "cas_vit_t"])
def test_parameters_are_the_papers(name: str) -> None:
    assert cost_of(name).parameters / 1e6 == pytest.approx(
        table.get(name).published.params_m, rel=0.03
    )


@pytest.mark.parametrize("name", ["cas_vit_xs", "cas_vit_s", "cas_vit_m", "cas_vit_t"])
def test_macs_are_the_papers(name: str) -> None:
    assert cost_of(name).macs / 1e6 == pytest.approx(table.get(name).published.macs_m, rel=0.03)


@pytest.mark.parametrize("size", [(1, 1), (33, 70)])
def test_any_input_size(size: tuple[int, int]) -> None:
    module = table.get("cas_vit_xs").build().eval()
    with torch.no_grad():
        output = module(torch.randn(1, 3, *size))
    assert torch.isfinite(output).all()
    assert output.shape == (1, 1000)


def test_a_checkpoint_of_one_head_is_named(tmp_path: Path) -> None:
    path = tmp_path / "xs.pth"
    torch.save(OFFICIAL.zeros("cas_vit_xs?heads=1"), path)
    with pytest.raises(WeightsError) as caught:
        load_weights(build("cas_vit_xs"), path)
    assert "fits cas_vit_xs?heads=1." in str(caught.value.hint)

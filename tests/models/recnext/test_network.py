"""RecNeXt against the official code (suous/RecNeXt@a0277f4) and its README."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobile_export.errors import WeightsError
from mobile_export.models import table
from mobile_export.models.recnext import ROWS
from mobile_export.sources.weights import load_weights
from tests.models.costs import cost_of
from tests.models.official import Official, build

OFFICIAL = Official("recnext")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["recnext_m0", "recnext_a0", "recnext_t"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def folded_parameters(module: torch.nn.Module) -> int:
    """With norms folded into convolutions, parallel depthwise branches and both heads into one."""
    count = 0
    for name, child in module.named_modules():
        if name.endswith(("head_dist.linear", ".sk.conv")):
            continue
        if isinstance(child, torch.nn.Linear):
            count += child.weight.numel() + child.out_features
        elif isinstance(child, torch.nn.Conv2d):
            recursive = ".token_mixer.down" in name or ".convs." in name
            bare = recursive and child.bias is None and not name.endswith(".conv")
            count += child.weight.numel() + (0 if bare else child.out_channels)
    return count


@pytest.mark.parametrize("entry", ROWS, ids=lambda entry: entry.name)
def test_folded_parameters_are_the_readmes(entry: table.ModelEntry) -> None:
    with torch.device("meta"):
        params = folded_parameters(entry.build())
    assert params / 1e6 == pytest.approx(entry.published.params_m, rel=0.03)


@pytest.mark.parametrize("entry", ROWS, ids=lambda entry: entry.name)
def test_macs_are_the_readmes(entry: table.ModelEntry) -> None:
    """To the one digit of a gigaflop that the README prints."""
    assert entry.published.macs_m is not None
    assert abs(cost_of(entry.name).macs / 1e6 - entry.published.macs_m) <= 60


@pytest.mark.parametrize("name", ["recnext_m0", "recnext_a0", "recnext_t"])
@pytest.mark.parametrize("size", [(1, 1), (33, 70)])
def test_any_input_size(name: str, size: tuple[int, int]) -> None:
    module = table.get(name).build().eval()
    with torch.no_grad():
        output = module(torch.randn(1, 3, *size))
    assert torch.isfinite(output).all()
    assert output.shape == (1, 1000)


def test_a_checkpoint_of_another_series_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a1.pth"
    torch.save({"model": OFFICIAL.zeros("recnext_a1")}, path)
    with pytest.raises(WeightsError) as caught:
        load_weights(build("recnext_m1"), path)
    assert "fits recnext_a1." in str(caught.value.hint)

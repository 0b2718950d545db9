"""LightViT against the official code (hunto/image_classification_sota, lib/models/lightvit.py)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from mobile_export.models import table
from mobile_export.models.lightvit.network import Attention
from tests.models.costs import cost_of
from tests.models.fill import fill_tensor
from tests.models.official import Official

OFFICIAL = Official("lightvit")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["lightvit_tiny"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize("name", sorted(OFFICIAL.shapes))
def test_counts_are_the_papers(name: str) -> None:
    published, counted = table.get(name).published, cost_of(name)
    assert published.params_m is not None
    assert published.macs_m is not None
    assert counted.parameters / 1e6 == pytest.approx(published.params_m, rel=0.01)
    pairs = sum(
        depth * 2 * tokens * dim * (49 - 1)
        for depth, tokens, dim in ((2, 28**2, 64), (6, 14**2, 128), (6, 7**2, 256))
    )
    counted_there = (counted.macs - counted.norm_macs - pairs) / 1e9
    assert round(counted_there, 1) == published.macs_m / 1e3, (
        "its counter takes one product for each pixel of a window instead of 49"
    )


def test_a_map_of_no_whole_windows_is_padded_as_in_the_official_detector() -> None:
    """hunto/LightViT, detection/lightvit.py, class Attention, in float64."""
    golden = json.loads((Path(__file__).parent / "padded.json").read_text())
    height, width = golden["size"]
    tokens = [1, 8 + height * width, 64]
    module = Attention(64, 2).eval()
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(fill_tensor(key, list(tensor.shape))))
    x = torch.from_numpy(fill_tensor("x.input", tokens)).double() * math.sqrt(math.prod(tokens))
    with torch.no_grad():
        found = module.double()(x, (height, width))
    expected = torch.tensor(golden["values"], dtype=torch.float64)
    torch.testing.assert_close(
        found.flatten()[golden["indices"]], expected, rtol=0, atol=1e-9 * golden["max_abs"]
    )
    assert float(found.abs().mean()) == pytest.approx(golden["mean_abs"], rel=1e-9)

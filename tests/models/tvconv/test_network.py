"""TVConv's face recogniser against the official code (JierunChen/TVConv@609d4bf)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mobile_export.models import table
from mobile_export.models.cost import measure
from mobile_export.models.tvconv.network import TVConv
from tests.conftest import load_source
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("tvconv")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["tvconv_mobilenetv2_x0_1"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_tvconv_is_counted_without_the_network_that_makes_its_weights() -> None:
    entry = table.get("tvconv_mobilenetv2_x0_1")
    with_maps = measure(entry.build(), entry.input_shape()).macs
    assert cost_of(entry.name).macs < with_maps / 100


@pytest.mark.parametrize("stride", [1, 2])
def test_tvconv_by_hand(stride: int) -> None:
    """Every pixel's own weights, by loops; the weights do not depend on the image."""
    torch.manual_seed(0)
    module = TVConv(2, (3, 4), stride).double()
    x = torch.randn(2, 2, 3 * stride, 4 * stride, dtype=torch.float64)
    with torch.no_grad():
        weight = module.weight_layers(module.posi_map).reshape(2, 3, 3, 3, 4)
        got = module(x)
    padded = F.pad(x, (1, 1, 1, 1))
    for row in range(3):
        for column in range(4):
            top, left = row * stride, column * stride
            patch = padded[:, :, top : top + 3, left : left + 3]
            expected = (patch * weight[:, :, :, row, column]).sum((2, 3))
            torch.testing.assert_close(got[:, :, row, column], expected)


def test_sizes_make_weights_of_tvconv() -> None:
    source = load_source("tvconv_mobilenetv2_x0_1", size=(32, 48))
    with torch.no_grad():
        assert source.module(torch.zeros(1, 3, 32, 48)).shape == (1, 512)
    assert source.input.channel_order == "BGR"
    assert source.labels is None

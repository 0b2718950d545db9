"""MAXIM against the official code (google-research/maxim@3c82651, of JAX, run in float64 with
three scales of supervision), and its layers by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobile_export.models import table
from mobile_export.models.maxim.network import AlongPixels, AlongTiles, cut, join
from tests.models.official import Official

OFFICIAL = Official("maxim", Path(__file__).parent)


@pytest.mark.parametrize("spec", OFFICIAL.marked([]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_parameters_are_the_papers() -> None:
    with torch.device("meta"):
        module = table.get("maxim_2s").build()
    counted = sum(each.numel() for each in module.parameters())
    assert counted == OFFICIAL.golden["maxim_2s"]["params"]
    assert counted / 1e6 == pytest.approx(table.get("maxim_2s").published.params_m, rel=0.01)


def test_tiles_are_cut_and_joined_row_by_row() -> None:
    x = torch.arange(2 * 6 * 8.0).reshape(2, 6, 8, 1)
    tiles = cut(x, 3, 4)
    torch.testing.assert_close(tiles[1, 1].reshape(3, 4), x[1, :3, 4:, 0])
    torch.testing.assert_close(join(tiles, 6, 8, 3, 4), x)


def test_layers_along_tiles_and_pixels() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 5, 7, 3)
    for layer, rule in ((AlongTiles(5, 5), "ot,btpc->bopc"), (AlongPixels(7, 7), "op,btpc->btoc")):
        axis = [1, -1, 1, 1] if layer.in_features == 5 else [1, 1, -1, 1]
        expected = torch.einsum(rule, layer.weight, x) + layer.bias.reshape(axis)
        torch.testing.assert_close(layer(x), expected)

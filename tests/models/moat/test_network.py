"""tiny-MOAT: counts of the official TensorFlow code, and parts against the definitions.

Parameters are those that its own test expects (deeplab2, model/pixel_encoder/moat_test.py).
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobile_export.models import table
from mobile_export.models.moat.network import Attention, Conv3x3
from tests.models.costs import cost_of


@pytest.mark.parametrize(
    ("name", "parameters"), [("tiny_moat_0", 3_355_348), ("tiny_moat_1", 5_122_895)]
)
def test_counts_are_the_official_ones(name: str, parameters: int) -> None:
    counted, published = cost_of(name), table.get(name).published
    assert counted.parameters == parameters
    assert published.macs_m is not None
    assert counted.macs / 1e6 == pytest.approx(published.macs_m, abs=50), "printed as 0.8 G, 1.2 G"


def test_a_convolution_of_stride_2_pads_as_tensorflow_does() -> None:
    """Of an even side, "same" padding is 1 in all, and TensorFlow puts it at the end."""
    conv = Conv3x3(1, 1, 2)
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = [[x[0, 0, r : r + 3, c : c + 3].sum().item() for c in (0, 2)] for r in (0, 2)]
    assert conv(x)[0, 0].tolist() == expected


def test_positions_are_looked_up_by_offset() -> None:
    """Entry (key row - query row + H - 1, likewise of columns) of the table, pair by pair."""
    attention = Attention(32, 4)
    found = attention.positions(4, 4)
    embedding = attention.relative_position_embedding
    for query in range(16):
        for key in range(16):
            down, across = key // 4 - query // 4 + 3, key % 4 - query % 4 + 3
            assert found[0, query, key] == embedding[0, down, across]


def test_the_table_is_interpolated_for_other_sizes() -> None:
    """As tf.image.resize, bilinear, does: half-pixel centres, so that a linear table stays so."""
    attention = Attention(32, 4)
    with torch.no_grad():
        attention.relative_position_embedding.copy_(
            torch.arange(7.0)[None, :, None].expand(1, 7, 7)
        )
    found = attention.positions(8, 8)[0]
    offsets = torch.arange(-7, 8)
    expected = ((offsets + 7 + 0.5) * 7 / 15 - 0.5).clamp(0, 6)
    rows = torch.arange(64) // 8
    torch.testing.assert_close(found, expected[rows[None] - rows[:, None] + 7])

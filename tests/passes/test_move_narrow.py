"""The narrow input of a layer is moved instead of its wide output, in one permute."""

from __future__ import annotations

import torch
from torch import nn

from mobile_export.models.emo.network import InvertedResidualMobileBlock
from mobile_export.passes.move_narrow import move_narrow
from tests.passes.graphs import apply, ops


class Merge(nn.Module):
    """A 1x1 convolution of four windows, which are then one image."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.gelu(self.conv(x))
        y = y.reshape(2, 2, -1, 3, 3).permute(2, 3, 0, 4, 1)
        return y.reshape(1, -1, 6, 6).exp()


def test_windows_are_merged_before_they_widen() -> None:
    result = apply(move_narrow, Merge(9), (4, 6, 3, 3))
    assert len(result.changes) == 1
    calls = [str(n.target) for n in result.program.exported.graph.nodes]
    assert calls.index("aten.permute.default") < calls.index("aten.conv2d.default")
    assert ops(result.program) == {"reshape": 2, "permute": 1, "conv2d": 1, "gelu": 1, "exp": 1}


def test_what_narrows_stays() -> None:
    assert apply(move_narrow, Merge(3), (4, 6, 3, 3)).changes == ()


def test_an_attention_block_keeps_its_number_of_permutes() -> None:
    block = InvertedResidualMobileBlock(
        8, 8, expansion=3, kernel=3, norm=None, activation="gelu", head_dim=4, window=3
    )
    before = ops(apply(move_narrow, block, (1, 8, 6, 6)).program)
    assert before["conv2d"] == 4
    assert before["permute"] <= 4

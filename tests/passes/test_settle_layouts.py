"""Reshapes behind attention read a copy, and torch.onnx takes what it fails on without that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobile_export import api
from mobile_export.passes.settle_layouts import settle_layouts
from tests.passes.graphs import apply, ops


class Heads(nn.Module):
    """Attention over pixels of a channels-last tensor, as CoAtNet has it after the passes."""

    def __init__(self, between: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3)
        self.qkv = nn.Conv2d(3, 24, 1)
        self.out = nn.Conv2d(8, 4, 1)
        self.between = between
        self.bias = nn.Parameter(torch.randn(1, 2, 64, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        q, k, v = (y.mT for y in self.qkv(x).reshape(1, 2, 12, 64).chunk(3, 2))
        y = F.scaled_dot_product_attention(q, k, v, self.bias).mT
        y = y.relu() if self.between else y
        return self.out(y.reshape(1, 8, 8, 8))


class Windows(nn.Module):
    """Attention of an image encoder of the SAM kind: queries of three axes, a bias from them."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.rows = nn.Parameter(torch.randn(7, 4))
        self.columns = nn.Parameter(torch.randn(7, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 2, 3, 1)
        n = x.shape[1]
        qkv = self.qkv(x).reshape(1, n * n, 3, 2, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, 2, n * n, -1).unbind(0)
        near = torch.arange(n)[:, None] - torch.arange(n)[None] + n - 1
        grid = q.reshape(2, n, n, -1)
        rows = torch.einsum("bhwc,hkc->bhwk", grid, self.rows[near])
        columns = torch.einsum("bhwc,wkc->bhwk", grid, self.columns[near])
        bias = (rows[..., None] + columns[:, :, :, None]).reshape(2, n * n, n * n)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return y.view(1, 2, n * n, -1).transpose(1, 2).reshape(1, n, n, -1)


@pytest.mark.parametrize("between", [False, True])
def test_a_reshape_behind_attention_reads_a_copy(between: bool) -> None:
    result = apply(settle_layouts, Heads(between).eval(), (1, 3, 8, 8))
    assert ops(result.program)["clone"] == 1


def test_other_reshapes_read_none() -> None:
    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.permute(0, 2, 3, 1).relu().reshape(1, -1)

    assert apply(settle_layouts, Plain(), (1, 3, 8, 8)).changes == ()


@pytest.mark.parametrize("net", [Heads, Windows])
def test_torch_onnx_takes_it(net: type[nn.Module], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    size = 8 if net is Heads else 4
    channels = 3 if net is Heads else 8
    report = api.export(net().eval(), ("onnx",), tmp_path, name="net", size=size, channels=channels)
    assert report.artifacts[0].parity.passed

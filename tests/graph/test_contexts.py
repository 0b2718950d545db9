"""Blocks under grad mode and autocast, and operators with graphs of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobile_export.api import prepare
from mobile_export.errors import TraceError


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cuda", enabled=False):
            y = self.conv(x)
        with torch.enable_grad():
            z = y.relu()
            with torch.no_grad():
                z = z * 2
        return z + 1, z


def test_blocks_that_change_no_value_are_put_in_line() -> None:
    module = Blocks().eval()
    program = prepare(module, torch.zeros(1, 3, 8, 8))
    assert all(node.op != "get_attr" for node in program.exported.graph.nodes)
    x = torch.randn(1, 3, 8, 8)
    for got, expected in zip(program.module()(x), module(x), strict=True):
        torch.testing.assert_close(got, expected)


class Autocast(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.matmul(x, x).float()


def test_an_autocast_that_rounds_is_refused() -> None:
    with pytest.raises(TraceError, match=r"autocast.*bfloat16"):
        prepare(Autocast(), torch.zeros(1, 3, 8, 8))


class Cond(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.cond(x.mean() > 0, torch.sin, torch.cos, (x,))
        return result


def test_operators_that_choose_are_refused() -> None:
    with pytest.raises(TraceError, match=r"cond.*\n.*torch.where"):
        prepare(Cond(), torch.zeros(1, 3, 8, 8))

"""Attention works on the stack of matrices as its operands come, where that saves reshapes."""

from __future__ import annotations

import torch
from torch import nn

from mobile_export.passes.move_less import move_less
from tests.passes.graphs import apply, ops


class Attention(nn.Module):
    """Attention of matrices whose stack of (2, 3) is reshaped to (6,) first, and back behind it."""

    def __init__(self, *, bias: bool = False, dim: int = -1, shared: bool = False) -> None:
        super().__init__()
        self.dim, self.shared = dim, shared
        self.bias = nn.Parameter(torch.randn(6, 4, 4)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        x = x.permute(1, 0, 2, 3).exp()
        q, k, v = (f(x).reshape(6, 4, 5) for f in (torch.tanh, torch.sin, torch.cos))
        scores = q @ k.transpose(-2, -1)
        if self.bias is not None:
            scores = scores + self.bias
        mixed = (scores.softmax(self.dim) @ v).reshape(2, 3, 4, 5).sin()
        return (mixed, scores) if self.shared else mixed


def test_the_stack_stays_as_it_comes() -> None:
    result = apply(move_less, Attention(), (3, 2, 4, 5))
    assert any("on a stack of [2, 3]" in change.what for change in result.changes)
    left = ops(result.program)
    assert left["matmul"] == 2
    assert left["reshape"] == 0


def test_what_depends_on_the_stack_keeps_it() -> None:
    for net in (Attention(bias=True), Attention(dim=0), Attention(shared=True)):
        result = apply(move_less, net, (3, 2, 4, 5))
        assert not any("on a stack" in change.what for change in result.changes)

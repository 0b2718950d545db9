"""Which calls are elementwise, compared with the installed PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobile_export.graph.ops import DO_MORE, UNTAGGED, is_elementwise
from tests.passes.graphs import program_of

aten = torch.ops.aten

ELEMENTWISE: list[Callable[[torch.Tensor], torch.Tensor]] = [
    torch.relu, torch.sigmoid, torch.tanh, torch.exp, torch.abs, torch.neg, torch.erf, torch.sin,
    F.gelu, F.silu, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid, F.mish, F.elu, F.softplus,
    F.leaky_relu, F.selu, torch.square, torch.floor,
    functools.partial(torch.clamp, min=-0.5, max=0.5),
    functools.partial(torch.pow, exponent=2),
]  # fmt: skip
OTHERS: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda x: x.softmax(1), lambda x: x.clone(), lambda x: x + x, lambda x: x * 2,
    lambda x: x.cumsum(1), lambda x: x.transpose(1, 2), lambda x: x.mean(1),
    lambda x: torch.maximum(x, x.relu()), lambda x: F.layer_norm(x, (5,)),
]  # fmt: skip


class Net(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def last_call(function: Callable[[torch.Tensor], torch.Tensor]) -> torch.fx.Node:
    graph = program_of(Net(function).eval(), (1, 4, 5)).exported.graph
    return [node for node in graph.nodes if node.op == "call_function"][-1]


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_elementwise_calls_commute_with_permutes(
    function: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    assert is_elementwise(last_call(function))
    x = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(function(x.permute(2, 0, 1)), function(x).permute(2, 0, 1))


@pytest.mark.parametrize("function", OTHERS)
def test_other_calls(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert not is_elementwise(last_call(function))


def test_the_lists_of_exceptions_are_needed_with_the_installed_pytorch() -> None:
    """An op that PyTorch tags, or tags no more, leaves its list."""
    assert all(torch.Tag.pointwise not in op.tags for op in UNTAGGED)
    assert all(torch.Tag.pointwise in op.tags for op in DO_MORE)

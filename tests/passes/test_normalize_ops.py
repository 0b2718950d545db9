"""One functional spelling, without changing what is computed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobile_export.passes.normalize_ops import normalize_ops

from .graphs import apply, ops, program_of, reasons

IMAGE = (1, 4, 6, 6)


class Net(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def _view_written(x: torch.Tensor) -> torch.Tensor:
    y = x.exp()
    y[:, 1:3].mul_(2)
    return y


def _view_read(x: torch.Tensor) -> torch.Tensor:
    y = x.exp()
    part = y[:, :2]
    y.add_(1)
    return part * 3


def _used_before(x: torch.Tensor) -> torch.Tensor:
    y = x.exp()
    z = y.sin()
    y += z
    return y * z


def _assigned(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros(1, 4, 6, 6)
    y[:, :2] = x[:, 2:]
    return y


def _input_written(x: torch.Tensor) -> torch.Tensor:
    x = x + 0
    return F.relu_(x) + x


CASES: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], set[str]]] = {
    "in place": (lambda x: F.silu(x.exp(), inplace=True).add_(1), {"exp", "silu", "add"}),
    "in place, used before": (_used_before, {"exp", "sin", "add", "mul"}),
    "in place on a result": (_input_written, {"add", "relu"}),
    "dropout": (lambda x: F.dropout(x.exp(), 0.5, training=False), {"exp"}),
    "copies": (lambda x: x.exp().contiguous().clone().detach().float(), {"exp"}),
    "flatten": (lambda x: x.flatten(1).unflatten(1, (2, -1)).unsqueeze(0), {"reshape"}),
    "view": (lambda x: x.view(4, 6, -1).view_as(x).squeeze(0), {"reshape"}),
    "transpose": (lambda x: x.transpose(-1, 1).mT.movedim(0, 2), {"permute"}),
    "expand": (lambda x: x[:, :1].expand_as(x), {"slice", "expand"}),
    "pool to 1": (lambda x: F.adaptive_avg_pool2d(x, 1), {"mean"}),
    "pool to a divisor": (lambda x: F.adaptive_avg_pool2d(x, (3, 2)), {"avg_pool2d"}),
    "pool to itself": (lambda x: F.adaptive_avg_pool2d(x.exp(), 6), {"exp"}),
    "same padding": (lambda x: F.conv2d(x, torch.ones(4, 4, 3, 3), padding="same"), set()),
    "write through a view": (_view_written, set()),
    "view of what is written": (_view_read, set()),
    "assignment": (_assigned, set()),
}


@pytest.mark.parametrize("name", CASES)
def test_it_normalizes(name: str) -> None:
    function, expected = CASES[name]
    result = apply(normalize_ops, Net(function), IMAGE, normalize=False)
    found = set(ops(result.program))
    assert not any(op.endswith("_") for op in found)
    if expected:
        assert found == expected


class Layers(nn.Module):
    """What decomposes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.bn = nn.BatchNorm2d(4)
        self.ln = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln(self.up(self.bn(self.conv(x))))
        return (self.linear(y[0, 0]) @ torch.ones(5, 5)).softmax(-1)


def test_decomposed_layers_are_whole_again() -> None:
    from dataclasses import replace

    module = Layers().eval()
    program = program_of(module, IMAGE)
    decomposed = replace(program, exported=program.exported.run_decompositions())
    found = set(ops(normalize_ops(decomposed).program))
    assert {"conv2d", "conv_transpose2d", "batch_norm", "layer_norm", "linear"} <= found
    assert "softmax" in found


def test_random_dropout_is_refused() -> None:
    module = Net(lambda x: F.dropout(x, 0.5, training=True))
    result = normalize_ops(program_of(module, IMAGE))
    assert "random" in reasons(result)


@pytest.mark.parametrize("mask", [None, (5, 5), (3, 5, 5), (1, 2, 1, 5, 5)])
def test_attention_of_more_than_four_axes(mask: tuple[int, ...] | None) -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            heads = x.reshape(1, 2, 3, 5, 4)
            bias = None if mask is None else torch.linspace(-1, 1, 150)[: math.prod(mask)]
            given = None if bias is None else bias.reshape(mask)
            return F.scaled_dot_product_attention(heads, heads * 2, heads, attn_mask=given)

    program = apply(normalize_ops, Attention(), (1, 6, 5, 4)).program
    ranks = {
        node.meta["val"].ndim
        for node in program.exported.graph.nodes
        if "attention" in str(node.target)
    }
    assert ranks == {4}

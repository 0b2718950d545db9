"""Cleaning, and fusing activations into the layers before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobile_export.lowering import ir
from mobile_export.lowering.reference import run_graph
from mobile_export.lowering.simplify import fuse_activations, simplify, unfold_as_convolutions
from tests.lowering.graphs import EXACT, Calls, check, kinds, relative_error

IMAGE = (1, 6, 8, 8)


def value(name: str, *shape: int) -> ir.Value:
    return ir.Value(name, shape)


def test_reshapes_become_one_and_vanish_where_nothing_changes() -> None:
    x, a, b, c = value("x", 4, 6), value("a", 24), value("b", 2, 12), value("c", 4, 6)
    y = value("y", 4, 6)
    layers = (
        ir.Reshape(inputs=(x,), output=a),
        ir.Reshape(inputs=(a,), output=b),
        ir.Reshape(inputs=(b,), output=c),
        ir.Unary(inputs=(c,), output=y, op="exp"),
    )
    graph = simplify(ir.LayerGraph((x,), (y, b, c), layers))
    assert [(layer.kind, layer.inputs) for layer in graph.layers] == [
        ("Reshape", (x,)),
        ("Unary", (x,)),
    ]
    assert graph.outputs == (y, b, x)


def test_what_nothing_uses_is_gone() -> None:
    x, a, y = value("x", 3), value("a", 3), value("y", 3)
    layers = (
        ir.Unary(inputs=(x,), output=a, op="exp"),
        ir.Unary(inputs=(x,), output=y, op="abs"),
    )
    graph = simplify(ir.LayerGraph((x,), (y,), layers))
    assert [layer.name for layer in graph.layers] == ["y"]


def test_activations_are_fused_only_where_nobody_else_looks() -> None:
    def forward(x: torch.Tensor, first: nn.Module, second: nn.Module) -> torch.Tensor:
        shared = first(x)
        other = F.silu(second(shared.relu()))
        return shared + second(other).relu()

    module = Calls(forward, nn.Conv2d(6, 6, 3, 1, 1), nn.Conv2d(6, 6, 1))
    graph = check(module, IMAGE)
    fused = fuse_activations(graph, {"relu"})
    assert kinds(graph)["Activation"] - kinds(fused)["Activation"] == 1
    last = next(layer for layer in fused.layers if getattr(layer, "activation", None))
    assert isinstance(last, ir.Convolution)
    assert last.activation == ir.Nonlinearity("relu")
    x = np.random.default_rng(0).normal(size=IMAGE)
    assert relative_error(run_graph(fused, x), run_graph(graph, x)) <= EXACT


def test_an_output_is_not_fused_away() -> None:
    module = Calls(lambda x, f: (f(x), f(x).relu()), nn.Conv2d(6, 6, 1))
    graph = check(module, IMAGE)
    assert len(fuse_activations(graph, {"relu"}).outputs) == 2


def test_every_kind_has_a_reference() -> None:
    from mobile_export.lowering.reference import _RULES

    assert set(_RULES) == set(ir.LAYERS)


@pytest.mark.parametrize(
    ("convolution", "kernel", "padding"),
    [
        (nn.Conv2d(6, 4, 3, padding=24, dilation=24), (1, 1), ((0, 0), (0, 0))),
        (nn.Conv2d(6, 4, 3, padding=8, dilation=8), (1, 1), ((0, 0), (0, 0))),
        (nn.Conv2d(6, 4, 3, padding=7, dilation=7), (3, 3), ((7, 7), (7, 7))),
        (nn.Conv2d(6, 6, 5, padding=12, dilation=6, groups=6), (3, 3), ((6, 6), (6, 6))),
        (nn.Conv2d(6, 4, 3, padding=9, dilation=9, stride=2), (1, 1), ((0, 0), (0, 0))),
        (nn.Conv2d(6, 4, (3, 3), padding=(1, 20), dilation=(1, 15)), (3, 1), ((1, 1), (5, 5))),
        (nn.Conv2d(6, 4, 3, padding=20), (3, 3), ((20, 20), (20, 20))),
    ],
)
def test_taps_that_see_only_padding_are_gone(
    convolution: nn.Module, kernel: tuple[int, int], padding: tuple[tuple[int, int], ...]
) -> None:
    """`check` compares with eager float64, whatever is expected of the kernel here."""
    graph = check(convolution, IMAGE)
    (layer,) = (layer for layer in graph.layers if isinstance(layer, ir.Convolution))
    assert (layer.kernel, layer.padding) == (kernel, padding)


@pytest.mark.parametrize(
    "unfold",
    [
        lambda x: F.unfold(x, 3, padding=1, stride=2),
        lambda x: F.unfold(x, (2, 3), dilation=(1, 2)),
        lambda x: F.unfold(x, 3, padding=20, dilation=20),
        lambda x: x.unfold(2, 4, 2),
    ],
)
def test_windows_as_convolutions(unfold: Callable[[torch.Tensor], torch.Tensor]) -> None:
    graph = check(Calls(unfold), IMAGE)
    assert kinds(graph)["Unfold"] == 1
    assert not kinds(graph)["Convolution"]
    written = unfold_as_convolutions(graph)
    assert not kinds(written)["Unfold"]
    x = np.random.default_rng(0).normal(size=IMAGE)
    np.testing.assert_array_equal(run_graph(written, x), run_graph(graph, x))

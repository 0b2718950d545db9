"""Cleaning, and fusing activations into the layers before."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mobile_export.exporters.layers import ir
from mobile_export.exporters.layers.reference import run_graph
from mobile_export.exporters.layers.simplify import fuse_activations, simplify

from .graphs import EXACT, Calls, check, kinds, relative_error

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
    from mobile_export.exporters.layers.reference import _RULES

    assert set(_RULES) == set(ir.LAYERS)

"""Layers that multiply integers: a rounding in front of a layer, and weights on a grid, as one.

A program with a plan in it rounds what a layer reads (`ir.Round`), and the weights of the layer are
integers times a scale for each output channel. A runtime whose convolutions take integers does both
inside the layer: `multiply_integers` puts the two together, exactly, so that the proof of the layer
graph covers it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..graph.quantized import is_quantization
from . import ir

if TYPE_CHECKING:
    from torch.fx import Graph, Node

__all__ = ["integer_weights", "integers_at", "multiply_integers", "weight_steps"]

_Multiplying: TypeAlias = ir.Convolution | ir.Linear
_MOVING = (ir.Reshape, ir.Permute, ir.Slice, ir.Tile, ir.PixelShuffle, ir.PixelUnshuffle)
"""Layers that compute nothing: values on a grid stay there."""

_NEAR = 1e-6
"""How far, in steps, a weight may be from a multiple: what float64 loses, and nothing else."""


def weight_steps(graph: Graph, known: Mapping[Node, Any]) -> dict[str, np.ndarray]:
    """The scales of the weights that are stored as integers, by the name of the layer's node.

    Args:
        known: the stored tensors of the graph, as arrays, among others.
    """
    found: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        weight: Any = node.args[1] if node.op == "call_function" and len(node.args) > 1 else None
        if hasattr(weight, "op") and is_quantization(weight):
            scale: Any = weight.args[1]
            value = known[scale] if hasattr(scale, "op") else scale
            found[node.name] = np.atleast_1d(np.asarray(value, np.float64))
    return found


def multiply_integers(graph: ir.LayerGraph, scales: Mapping[str, np.ndarray]) -> ir.LayerGraph:
    """With every rounding inside the layers that read it, where all of them can multiply integers.

    Zeros around such a layer become its own padding. A rounding that something else reads stays.

    Args:
        scales: of stored weights (`weight_steps`).
    """
    users = graph.users()
    inside: dict[ir.Layer, ir.Layer] = {}
    source: dict[ir.Value, ir.Value] = {}
    for layer in graph.layers:
        if not isinstance(layer, ir.Round):
            continue
        readers = _readers(layer.output, users, graph.outputs)
        made = [_multiplying(reader, layer, scales) for reader in readers or ()]
        if readers and all(made):
            source[layer.output] = layer.input
            inside |= {old: new for old, new in zip(readers, made, strict=True) if new is not None}
    layers = [
        dataclasses.replace(
            inside.get(layer, layer), inputs=tuple(source.get(v, v) for v in layer.inputs)
        )
        for layer in graph.layers
        if layer.output not in source
    ]
    return _padding_inside(dataclasses.replace(graph, layers=tuple(layers)))


def _readers(
    value: ir.Value, users: Mapping[ir.Value, Sequence[ir.Layer]], outputs: Sequence[ir.Value]
) -> list[_Multiplying] | None:
    """The layers that read a value, moved or padded with zeros; None where one computes otherwise,
    or it is an output."""
    found: list[_Multiplying] = []
    if value in outputs:
        return None
    for user in users[value]:
        if isinstance(user, ir.Convolution | ir.Linear):
            found.append(user)
            continue
        zeros = isinstance(user, ir.Pad) and user.mode == "constant" and user.value == 0
        behind = (
            _readers(user.output, users, outputs) if zeros or isinstance(user, _MOVING) else None
        )
        if behind is None:
            return None
        found += behind
    return found


def _multiplying(
    layer: _Multiplying, rounding: ir.Round, scales: Mapping[str, np.ndarray]
) -> ir.Layer | None:
    """The layer with its steps; None where its weights are not on the grid, channel by channel."""
    steps = scales.get(layer.output.node)
    if steps is None or layer.steps is not None:
        return None
    given = np.broadcast_to(steps, layer.weight.shape[:1]) if steps.size == 1 else steps
    if given.shape != layer.weight.shape[:1]:
        return None
    counted = layer.weight / given.reshape(-1, *[1] * (layer.weight.ndim - 1))
    if np.abs(counted - np.round(counted)).max(initial=0) > _NEAR:
        return None
    made = ir.IntegerSteps(rounding.step, rounding.limit, np.ascontiguousarray(given))
    return dataclasses.replace(layer, steps=made)


def _padding_inside(graph: ir.LayerGraph) -> ir.LayerGraph:
    """Zeros in front of a convolution of integers as its own padding, so that integers of one layer
    can be handed to the next."""
    users = graph.users()
    made: dict[ir.Value, ir.Pad] = {
        layer.output: layer
        for layer in graph.layers
        if isinstance(layer, ir.Pad) and _only_zeros_around(layer, users[layer.output])
    }
    made = {value: pad for value, pad in made.items() if value not in graph.outputs}
    layers: list[ir.Layer] = []
    for layer in graph.layers:
        pad = made.get(layer.inputs[0]) if layer.inputs else None
        if isinstance(layer, ir.Convolution) and pad is not None:
            padding = tuple(
                (own[0] + more[0], own[1] + more[1])
                for own, more in zip(layer.padding, pad.padding[1:], strict=True)
            )
            layer = dataclasses.replace(layer, inputs=pad.inputs, padding=padding)
        if layer.output not in made:
            layers.append(layer)
    return dataclasses.replace(graph, layers=tuple(layers))


def _only_zeros_around(pad: ir.Pad, users: Sequence[ir.Layer]) -> bool:
    zeros = pad.mode == "constant" and pad.value == 0 and not any(pad.padding[0])
    return zeros and all(
        isinstance(user, ir.Convolution)
        and user.steps is not None
        and len(user.kernel) == len(pad.padding) - 1
        for user in users
    )


def integer_weights(layer: _Multiplying) -> np.ndarray:
    """The integers of a layer with steps, int8, in the layout of its weights."""
    assert layer.steps is not None
    scale = layer.steps.weights.reshape(-1, *[1] * (layer.weight.ndim - 1))
    integers: np.ndarray = np.round(layer.weight / scale).astype(np.int8)
    return integers


def integers_at(graph: ir.LayerGraph) -> set[str]:
    """Names of the nodes of the program whose layers multiply integers."""
    return {
        layer.output.node
        for layer in graph.layers
        if isinstance(layer, ir.Convolution | ir.Linear) and layer.steps is not None
    }

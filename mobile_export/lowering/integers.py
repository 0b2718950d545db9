"""Layers that multiply integers: a rounding in front of a layer, and weights on a grid, as one.

A program with a plan in it rounds what a layer reads (`ir.Round`), and the weights of the layer are
integers times a scale for each output channel. A runtime whose convolutions take integers does both
inside the layer: `multiply_integers` puts the two together, exactly, so that the proof of the layer
graph covers it. Where such convolutions give integers, too, roundings of what they give are put
into them.
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

__all__ = [
    "integer_biases",
    "integer_weights",
    "integers_at",
    "multiply_integers",
    "weight_steps",
]

_Multiplying: TypeAlias = ir.Convolution | ir.Linear
_MOVING = (ir.Reshape, ir.Permute, ir.Slice, ir.Tile, ir.PixelShuffle, ir.PixelUnshuffle)
"""Layers that compute nothing: values on a grid stay there."""

_RELU = ir.Nonlinearity("relu")

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


def multiply_integers(
    graph: ir.LayerGraph, scales: Mapping[str, np.ndarray], *, giving: bool = False
) -> ir.LayerGraph:
    """With every rounding inside the layers that read it, where all of them can multiply integers.

    Zeros around such a layer become its own padding. A rounding that something else reads stays.

    Args:
        scales: of stored weights (`weight_steps`).
        giving: a rounding behind such a layer, or behind the activation of one, is put into that
            layer; what reads it multiplies its integers.
    """
    users = graph.users()
    given = _behind_layers(graph, scales) if giving else set()
    inside: dict[ir.Layer, ir.Layer] = {}
    source: dict[ir.Value, ir.Value] = {}
    for layer in graph.layers:
        if not isinstance(layer, ir.Round):
            continue
        if layer.output in given:
            some = _some_readers(layer.output, users)
            inside |= {old: new for old in some if (new := _multiplying(old, layer, scales))}
            continue
        readers = _readers(layer.output, users, graph.outputs)
        multiplying = [_multiplying(reader, layer, scales) for reader in readers or ()]
        if readers and all(multiplying):
            source[layer.output] = layer.input
            pairs = zip(readers, multiplying, strict=True)
            inside |= {old: new for old, new in pairs if new is not None}
    layers = [
        dataclasses.replace(
            inside.get(layer, layer), inputs=tuple(source.get(v, v) for v in layer.inputs)
        )
        for layer in graph.layers
        if layer.output not in source
    ]
    made = _padding_inside(dataclasses.replace(graph, layers=tuple(layers)))
    return _giving_integers(made) if giving else made


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
        moves = isinstance(user, _MOVING) or _pads_with_zeros(user)
        behind = _readers(user.output, users, outputs) if moves else None
        if behind is None:
            return None
        found += behind
    return found


def _some_readers(
    value: ir.Value, users: Mapping[ir.Value, Sequence[ir.Layer]]
) -> list[_Multiplying]:
    """The convolutions and linear layers among what reads a value, moved or padded with zeros."""
    found: list[_Multiplying] = []
    for user in users[value]:
        if isinstance(user, ir.Convolution | ir.Linear):
            found.append(user)
        elif isinstance(user, _MOVING) or _pads_with_zeros(user):
            found += _some_readers(user.output, users)
    return found


def _pads_with_zeros(layer: ir.Layer) -> bool:
    return isinstance(layer, ir.Pad) and layer.mode == "constant" and layer.value == 0


def _behind_layers(graph: ir.LayerGraph, scales: Mapping[str, np.ndarray]) -> set[ir.Value]:
    """What rounds the result of a layer with weights on a grid, or of the activation behind it."""
    makers = {layer.output: layer for layer in graph.layers}
    found = set()
    for layer in graph.layers:
        before = makers.get(layer.input) if isinstance(layer, ir.Round) else None
        if isinstance(before, ir.Activation):
            before = makers.get(before.input)
        if isinstance(before, ir.Convolution | ir.Linear) and before.output.node in scales:
            found.add(layer.output)
    return found


def _giving_integers(graph: ir.LayerGraph) -> ir.LayerGraph:
    """With roundings behind layers that multiply integers inside of those, and the activation
    between the two, where nobody else reads what is between. The layer makes what was rounded."""
    users = graph.users()
    makers = {layer.output: layer for layer in graph.layers}
    made: dict[ir.Value, ir.Layer] = {}
    same: dict[ir.Value, ir.Value] = {}  # of what was rounded: where it is now
    gone: set[ir.Value] = set()
    for layer in graph.layers:
        if not isinstance(layer, ir.Round):
            continue
        before = makers.get(layer.input)
        between = before if isinstance(before, ir.Activation) else None
        if between is not None:
            before = makers.get(between.input)
        if not isinstance(before, ir.Convolution | ir.Linear) or before.steps is None:
            continue
        function = None if between is None else between.function
        if isinstance(before, ir.Linear) and function not in (None, _RELU):
            continue  # of a 1x1 convolution that became one; no inner product has more inside
        inner = (before.output, layer.input)
        if any(len(users[each]) > 1 or each in graph.outputs for each in inner):
            continue
        made[layer.input] = dataclasses.replace(
            before,
            output=layer.input,
            activation=function,
            steps=dataclasses.replace(before.steps, result=layer.step),
        )
        same[layer.output] = layer.input
        gone |= {layer.output} if between is None else {layer.output, before.output}
    layers = [
        dataclasses.replace(each, inputs=tuple(same.get(value, value) for value in each.inputs))
        for old in graph.layers
        if (each := made.get(old.output, old)).output not in gone
    ]
    outputs = tuple(same.get(value, value) for value in graph.outputs)
    return dataclasses.replace(graph, layers=tuple(layers), outputs=outputs)


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
    node = layer.output.node
    made = ir.IntegerSteps(rounding.step, rounding.limits, np.ascontiguousarray(given), node)
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
    zeros = _pads_with_zeros(pad) and not any(pad.padding[0])
    return zeros and all(
        isinstance(user, ir.Convolution)
        and user.steps is not None
        and len(user.kernel) == len(pad.padding) - 1
        for user in users
    )


def integer_biases(layer: _Multiplying) -> np.ndarray:
    """The bias of a layer with steps in multiples of the float32 product of its scales, int32."""
    assert layer.steps is not None
    assert layer.bias is not None
    scale = (layer.steps.source * layer.steps.weights).astype(np.float32).astype(np.float64)
    integers: np.ndarray = np.round(layer.bias / scale).astype(np.int32)
    return integers


def integer_weights(layer: _Multiplying) -> np.ndarray:
    """The integers of a layer with steps, int8, in the layout of its weights."""
    assert layer.steps is not None
    scale = layer.steps.weights.reshape(-1, *[1] * (layer.weight.ndim - 1))
    integers: np.ndarray = np.round(layer.weight / scale).astype(np.int8)
    return integers


def integers_at(graph: ir.LayerGraph, *, giving: bool = False) -> set[str]:
    """Names of the nodes of the program whose layers multiply integers.

    Args:
        giving: only those that give integers, too.
    """
    return {
        layer.steps.node
        for layer in graph.layers
        if isinstance(layer, ir.Convolution | ir.Linear)
        and layer.steps is not None
        and (layer.steps.result is not None or not giving)
    }

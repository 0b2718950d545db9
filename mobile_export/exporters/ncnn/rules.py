"""How a layer of the layer graph becomes layers of ncnn: the registry of rules, and their tools.

`emit` gives the ncnn layers of one layer of the graph: usually one, whose output blob has the name
of the layer's value. An array of rank 1 to 4 is a blob of the same rank: (w), (h, w), (c, h, w),
(c, d, h, w). Parameter ids are those of each layer's ``load_param`` in ncnn's source. The rules
themselves are in `compute` and `movement`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import LoweringError
from ...lowering import ir
from .files import NcnnLayer, Param, Weight

__all__ = ["chain", "emit", "layer_name", "one_layer", "reshape_to", "rule", "unsupported"]

Rule = Callable[[Any], list[NcnnLayer]]
Step = tuple[str, dict[int, Param]]
_RULES: dict[type[ir.Layer], Rule] = {}


def emit(layer: ir.Layer) -> list[NcnnLayer]:
    """The ncnn layers that compute ``layer``.

    Raises:
        LoweringError: ncnn has no layer that does.
    """
    found = _RULES.get(type(layer))
    if found is None:
        raise unsupported(layer, layer.kind)
    return found(layer)


def rule(kind: type[ir.Layer]) -> Callable[[Rule], Rule]:
    """Decorator: this function emits layers of ``kind``."""

    def register(function: Rule) -> Rule:
        _RULES[kind] = function
        return function

    return register


def layer_name(value: ir.Value) -> str:
    """``blocks.3.attn/softmax_2``: the module and the value, for people and ``verify --layers``."""
    return f"{value.module}/{value.name}" if value.module else value.name


def unsupported(layer: ir.Layer, what: str) -> LoweringError:
    """The error that ncnn has no layer for ``what``."""
    where = f" of module {layer.output.module}" if layer.output.module else ""
    return LoweringError(
        f"ncnn has no layer for {what}: {layer.output.node or layer.name}{where}.",
        hint="`mobile-export all MODEL` says which formats have one.",
    )


def one_layer(
    layer: ir.Layer,
    kind: str,
    params: dict[int, Param] | None = None,
    weights: tuple[Weight, ...] = (),
) -> NcnnLayer:
    """One ncnn layer with the inputs and the output of ``layer``."""
    inputs = tuple(value.name for value in layer.inputs)
    return NcnnLayer(kind, layer_name(layer.output), inputs, (layer.name,), params or {}, weights)


def chain(layer: ir.Layer, *steps: Step) -> list[NcnnLayer]:
    """ncnn layers of one input each, from the input of ``layer`` to its output."""
    blobs = [layer.input.name]
    blobs += [f"{layer.name}:step{index}" for index in range(1, len(steps))] + [layer.name]
    return [
        NcnnLayer(kind, layer_name(layer.output), (blobs[i],), (blobs[i + 1],), params)
        for i, (kind, params) in enumerate(steps)
    ]


def reshape_to(shape: ir.Shape) -> Step:
    """A ``Reshape`` (or the extent of a ``MemoryData``) in row-major order."""
    ids = {1: (0,), 2: (1, 0), 3: (2, 1, 0), 4: (2, 11, 1, 0)}[len(shape)]
    return "Reshape", dict(zip(ids, shape, strict=True))

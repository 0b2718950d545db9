"""Padding in front of a max pool as a concatenation with what it pads with.

A pad of zeros and a max pool that pads with -inf are two things where a value can be below zero.
onnxruntime up to 1.31 writes the one as the other (a Pad and the MaxPool behind it, from the level
BASIC on: 2.4e-3 on hgnetv2_b0), and phones carry old versions. Nobody merges a concatenation:

    pool(pad(x, (0, 1, 0, 1)))  is  pool(cat(cat(x, column of zeros), row of zeros)).

Where x is not below the value that it is padded with (behind a ReLU), and no window lies in the
padding alone, both are the same, and the pad stays. So does one of -inf. Other users of the pad
keep it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, as_list, is_call, source_of

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["guard_padding"]

aten = torch.ops.aten
_POOLS: dict[Any, int] = {
    aten.max_pool1d.default: 1,
    aten.max_pool2d.default: 2,
    aten.max_pool2d_with_indices.default: 2,
    aten.max_pool3d.default: 3,
}
_NOT_NEGATIVE = (aten.relu.default, aten.relu6.default, aten.sigmoid.default, aten.softmax.int)


def guard_padding(program: Program) -> PassResult:
    """No max pool reads a pad that an optimiser could take for the pool's own."""
    graph = GraphEditor(program)
    for node in graph.find(*_POOLS):
        pad = source_of(node)
        value = _padded_with(pad)
        if value is None or value == -math.inf or _harmless(node, pad, value):
            continue
        joined = _concatenated(graph, source_of(pad), _amounts(pad), value, node)
        if joined is not None:
            node.replace_input_with(pad, joined)
            graph.changed(node, f"padded with {value:g} by a concatenation")
    return graph.result()


def _padded_with(node: Node) -> float | None:
    """The one value that ``node`` pads with, or None where it is no such pad."""
    if is_call(node, aten.constant_pad_nd.default):
        return float(argument(node, "value"))
    if is_call(node, aten.pad.default) and argument(node, "mode") == "constant":
        return float(argument(node, "value") or 0.0)
    return None


def _amounts(pad: Node) -> list[int]:
    return list(argument(pad, "pad"))


def _harmless(pool: Node, pad: Node, value: float) -> bool:
    """Whether padding with -inf would give the same."""
    axes = _POOLS[pool.target]
    kernel = as_list(argument(pool, "kernel_size"), axes)
    amounts = _amounts(pad)
    widest = [max(amounts[2 * axis : 2 * axis + 2], default=0) for axis in range(axes)]
    own = as_list(argument(pool, "padding"), axes)
    inside = set(as_list(argument(pool, "dilation"), axes)) == {1} and all(
        outer + inner < size
        for outer, inner, size in zip(widest, reversed(own), reversed(kernel), strict=True)
    )
    return value <= 0 and inside and is_call(source_of(pad), *_NOT_NEGATIVE)


def _concatenated(
    graph: GraphEditor, x: Node, amounts: list[int], value: float, like: Node
) -> Node | None:
    """``x`` with stored tensors of ``value`` on its sides; None where a side is cut."""
    if min(amounts) < 0:
        return None
    for index in range(0, len(amounts), 2):
        axis = len(shape_of(x)) - 1 - index // 2
        sides: list[list[Node]] = []
        for amount in amounts[index : index + 2]:
            shape = [amount if n == axis else size for n, size in enumerate(shape_of(x))]
            side = torch.full(shape, value, dtype=x.meta["val"].dtype)
            name = f"{like.name}.padding"
            sides.append([graph.add_constant(side, name)] if amount else [])
        parts = [*sides[0], x, *sides[1]]
        if len(parts) > 1:
            x = graph.call(aten.cat.default, parts, axis, like=like)
    return x

"""Padding."""

from __future__ import annotations

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, source_of

__all__ = ["constant_pad", "pad"]

aten = torch.ops.aten


# aten::pad(Tensor self, SymInt[] pad, str mode="constant", float? value=None) -> Tensor
def pad(graph: GraphEditor, node: Node) -> Node | None:
    """Negative amounts as slices; a circular pad as the end in front and the beginning behind."""
    amounts = list(argument(node, "pad"))
    if min(amounts) < 0:
        return _cropped(graph, node, amounts)
    return _circular(graph, node, amounts) if argument(node, "mode") == "circular" else None


# aten::constant_pad_nd(Tensor self, SymInt[] pad, Scalar value=0) -> Tensor
def constant_pad(graph: GraphEditor, node: Node) -> Node | None:
    """Negative amounts as slices."""
    amounts = list(argument(node, "pad"))
    return _cropped(graph, node, amounts) if min(amounts) < 0 else None


def _cropped(graph: GraphEditor, node: Node, amounts: list[int]) -> Node:
    """Padded first, since what is cut off may be all that there was; but what a circular pad
    repeats is cut first (ATen's ``_pad_circular_symint``)."""
    x, kwargs = source_of(node), dict(node.kwargs)
    added = [max(amount, 0) for amount in amounts]
    circular = node.target is aten.pad.default and argument(node, "mode") == "circular"
    if circular:
        x = _cut(graph, node, x, amounts)
    if any(added):
        x = graph.call(node.target, x, added, *node.args[2:], like=node, kwargs=kwargs)
    return x if circular else _cut(graph, node, x, amounts)


def _cut(graph: GraphEditor, node: Node, x: Node, amounts: list[int]) -> Node:
    """``x`` without what negative amounts take off."""
    for index in range(0, len(amounts), 2):
        axis = len(shape_of(x)) - 1 - index // 2
        before, after = (max(-amount, 0) for amount in amounts[index : index + 2])
        if before or after:
            end = shape_of(x)[axis] - after
            x = graph.call(aten.slice.Tensor, x, axis, before, end, like=node)
    return x


def _circular(graph: GraphEditor, node: Node, amounts: list[int]) -> Node:
    x = source_of(node)
    for index in range(0, len(amounts), 2):
        axis = len(shape_of(x)) - 1 - index // 2
        before, after = amounts[index : index + 2]
        size = shape_of(x)[axis]
        parts = [x]
        if before:
            parts.insert(0, graph.call(aten.slice.Tensor, x, axis, size - before, size, like=node))
        if after:
            parts.append(graph.call(aten.slice.Tensor, x, axis, 0, after, like=node))
        if len(parts) > 1:
            x = graph.call(aten.cat.default, parts, axis, like=node)
    return x

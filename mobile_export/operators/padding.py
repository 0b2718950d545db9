"""Padding."""

from __future__ import annotations

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, source_of

__all__ = ["circular_pad"]

aten = torch.ops.aten


# aten::pad(Tensor self, SymInt[] pad, str mode="constant", float? value=None) -> Tensor
def circular_pad(graph: GraphEditor, node: Node) -> Node | None:
    """The end in front of the tensor and its beginning behind it, axis by axis."""
    amounts = list(argument(node, "pad"))
    if argument(node, "mode") != "circular" or min(amounts) < 0:
        return None
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

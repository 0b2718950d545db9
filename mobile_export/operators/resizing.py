"""Resizing with antialiasing."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, source_of

__all__ = ["antialiased"]

aten = torch.ops.aten


# aten::_upsample_bicubic2d_aa(Tensor self, SymInt[2] output_size, bool align_corners,
#     float? scales_h=None, float? scales_w=None) -> Tensor
# aten::_upsample_bicubic2d_aa.vec(Tensor input, SymInt[]? output_size, bool align_corners,
#     float[]? scale_factors) -> Tensor
def antialiased(graph: GraphEditor, node: Node) -> Node | None:
    """Each row is a stored matrix times the row, and so is each column then.

    The matrices are what PyTorch itself makes of unit vectors, in float64.
    """
    given, wanted = shape_of(source_of(node))[2:], shape_of(node)[2:]
    x = source_of(node)
    for axis in (1, 0):
        if axis == 0:
            x = graph.call(aten.permute.default, x, [0, 1, 3, 2], like=node)
        matrix = _matrix(node, axis, given[axis], wanted[axis])
        name = f"{node.name}.{('rows', 'columns')[axis]}"
        x = graph.call(aten.linear.default, x, graph.add_constant(matrix, name), like=node)
    return graph.call(aten.permute.default, x, [0, 1, 3, 2], like=node)


def _matrix(node: Node, axis: int, given: int, wanted: int) -> torch.Tensor:
    """(wanted, given): what the call computes along ``axis``."""
    plain_forms: dict[Any, Any] = {
        aten._upsample_bicubic2d_aa.vec: aten._upsample_bicubic2d_aa.default,
        aten._upsample_bilinear2d_aa.vec: aten._upsample_bilinear2d_aa.default,
    }
    plain = plain_forms.get(node.target, node.target)
    if plain is node.target:
        scale = argument(node, ("scales_h", "scales_w")[axis])
    else:
        factors = argument(node, "scale_factors")
        scale = None if factors is None else factors[axis]
    units = torch.eye(given, dtype=torch.float64).reshape(given, 1, 1, given)
    resized = plain(units, [1, wanted], argument(node, "align_corners"), None, scale)
    matrix: torch.Tensor = resized.reshape(given, wanted).T.contiguous()
    return matrix

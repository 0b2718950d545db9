"""Resizing as products with stored matrices, or as a choice of rows and columns."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, argument_names, operator_name, source_of

__all__ = ["fractional", "resized"]

aten = torch.ops.aten


# aten::_upsample_bicubic2d_aa(Tensor self, SymInt[2] output_size, bool align_corners,
#     float? scales_h=None, float? scales_w=None) -> Tensor
# aten::_upsample_bicubic2d_aa.vec(Tensor input, SymInt[]? output_size, bool align_corners,
#     float[]? scale_factors) -> Tensor
# aten::upsample_nearest1d(Tensor self, SymInt[1] output_size, float? scales=None) -> Tensor
def resized(graph: GraphEditor, node: Node) -> Node | None:
    """Each row is a stored matrix times the row, and so is each other axis.

    The matrices are what PyTorch itself makes of unit vectors, in float64. Where all of their rows
    are unit vectors (nearest neighbour), rows are chosen instead.
    """
    given, wanted = shape_of(source_of(node))[2:], shape_of(node)[2:]
    x, rank = source_of(node), len(shape_of(node))
    for axis in reversed(range(len(given))):
        matrix = _matrix(node, axis, given[axis], wanted[axis])
        if torch.equal(matrix, torch.eye(given[axis], dtype=matrix.dtype)):
            continue
        if bool(((matrix == 0) | (matrix == 1)).all()):
            rows = graph.add_constant(matrix.argmax(1), f"{node.name}.index")
            x = graph.call(aten.index_select.default, x, axis + 2, rows, like=node)
            continue
        order = list(range(rank))
        order[axis + 2], order[-1] = order[-1], order[axis + 2]
        stored = graph.add_constant(matrix, f"{node.name}.axis{axis}")
        if axis + 3 < rank:
            x = graph.call(aten.permute.default, x, order, like=node)
        x = graph.call(aten.linear.default, x, stored, like=node)
        if axis + 3 < rank:
            x = graph.call(aten.permute.default, x, order, like=node)
    return x


def fractional(graph: GraphEditor, node: Node) -> Node | None:
    """`resized` where a scale was given that is not the ratio of the sizes.

    PyTorch then takes positions by the scale, and most runtimes by the sizes.
    """
    given, wanted = shape_of(source_of(node))[2:], shape_of(node)[2:]
    scales = _scales(node, len(given))
    aligned = "align_corners" in argument_names(node) and argument(node, "align_corners")
    exact = all(s is None or s * a == b for s, a, b in zip(scales, given, wanted, strict=True))
    return None if exact or aligned else resized(graph, node)


def _scales(node: Node, axes: int) -> list[float | None]:
    """The scale of each axis as it was given."""
    names = argument_names(node)
    if "scale_factors" in names:
        return list(argument(node, "scale_factors") or [None] * axes)
    return [argument(node, name) for name in names if name.startswith("scales")]


def _matrix(node: Node, axis: int, given: int, wanted: int) -> torch.Tensor:
    """(wanted, given): what the call computes along ``axis``."""
    axes = len(shape_of(node)) - 2
    target: Any = node.target
    plain = getattr(aten, operator_name(target)).default
    ones = [1] * (axes - 1)
    units = torch.eye(given, dtype=torch.float64).reshape(given, 1, *ones, given)
    aligned = [argument(node, "align_corners")] if "align_corners" in argument_names(node) else []
    scales = [*[None] * (axes - 1), _scales(node, axes)[axis]]
    result: torch.Tensor = plain(units, [*ones, wanted], *aligned, *scales)
    return result.reshape(given, wanted).T.contiguous()

"""Functions of single elements, and of all elements along axes."""

from __future__ import annotations

import math

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, source_of

__all__ = ["logsumexp", "power"]

aten = torch.ops.aten
_RANK = 4  # litert-torch 0.10: "failed to legalize" of a power of five axes


# aten::logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor
def logsumexp(graph: GraphEditor, node: Node) -> Node | None:
    """log(sum(exp(x - m))) + m with m the largest, which keeps the exponentials at most 1."""
    x = source_of(node)
    axes = [axis % max(len(shape_of(x)), 1) for axis in argument(node, "dim")]
    if not axes:
        return None
    largest = graph.call(aten.amax.default, x, axes, True, like=node)
    shifted = graph.call(aten.sub.Tensor, x, largest, like=node)
    powers = graph.call(aten.exp.default, shifted, like=node)
    total = graph.call(aten.sum.dim_IntList, powers, axes, True, like=node)
    logarithm = graph.call(aten.log.default, total, like=node)
    y = graph.call(aten.add.Tensor, logarithm, largest, like=node)
    if argument(node, "keepdim"):
        return y
    return graph.call(aten.reshape.default, y, list(shape_of(node)), like=node)


# aten::pow.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor
def power(graph: GraphEditor, node: Node) -> Node | None:
    """Of five axes or more: a product for a square, else the power of a matrix."""
    x, shape = source_of(node), shape_of(node)
    if len(shape) <= _RANK:
        return None
    if argument(node, "exponent") == 2:
        return graph.call(aten.mul.Tensor, x, x, like=node)
    flat = graph.call(aten.reshape.default, x, [math.prod(shape[:-1]), shape[-1]], like=node)
    y = graph.call(node.target, flat, argument(node, "exponent"), like=node)
    return graph.call(aten.reshape.default, y, list(shape), like=node)

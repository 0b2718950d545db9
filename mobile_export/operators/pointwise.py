"""Functions of single elements, and of all elements along axes."""

from __future__ import annotations

import math

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, source_of

__all__ = [
    "bends_early",
    "changes_width",
    "extreme",
    "has_one_slope",
    "names_no_axis",
    "in_float32",
    "in_float64",
    "log_softmax",
    "logsumexp",
    "power",
    "prelu",
    "softmax",
    "softplus",
]

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


def has_one_slope(node: Node) -> bool:
    """Whether the weight of a PReLU has no axis."""
    weight = node.args[1]
    return isinstance(weight, Node) and shape_of(weight) == ()


# aten::prelu(Tensor self, Tensor weight) -> Tensor
def prelu(graph: GraphEditor, node: Node) -> Node:
    """With one slope for all, which coremltools asks an axis of: max(x, 0) + slope · min(x, 0)."""
    above = graph.call(aten.clamp_min.default, source_of(node), 0, like=node)
    below = graph.call(aten.clamp_max.default, source_of(node), 0, like=node)
    slope = graph.call(aten.reshape.default, node.args[1], [1], like=node)
    scaled = graph.call(aten.mul.Tensor, below, slope, like=node)
    return graph.call(aten.add.Tensor, above, scaled, like=node)


def in_float64(node: Node) -> bool:
    """Whether a softmax asks for float64."""
    return argument(node, "dtype") is torch.float64


# aten::log_softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor
def log_softmax(graph: GraphEditor, node: Node) -> Node:
    """x - m - log(sum(exp(x - m))) with m the largest: the logarithm is of a number from 1 up.

    coremltools 9.0 writes log(softmax(x)), which in float16 is minus infinity 18 below the largest.
    """
    x, rank = source_of(node), max(len(shape_of(node)), 1)
    axes = [argument(node, "dim") % rank]
    largest = graph.call(aten.amax.default, x, axes, True, like=node)
    shifted = graph.call(aten.sub.Tensor, x, largest, like=node)
    powers = graph.call(aten.exp.default, shifted, like=node)
    total = graph.call(aten.sum.dim_IntList, powers, axes, True, like=node)
    return graph.call(
        aten.sub.Tensor, shifted, graph.call(aten.log.default, total, like=node), like=node
    )


# aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor
def softmax(graph: GraphEditor, node: Node) -> Node:
    """In the type of its operand where it asks for float64, which files do not have."""
    return graph.call(node.target, source_of(node), argument(node, "dim"), like=node)


_OTHER_FLOATS = (torch.float64, torch.float16, torch.bfloat16)


def changes_width(node: Node) -> bool:
    """Whether float32 is asked to become another floating-point type."""
    asked, given = (value.meta["val"].dtype for value in (node, source_of(node)))
    return asked in _OTHER_FLOATS and given == torch.float32


# aten::to.dtype(Tensor self, ScalarType dtype, bool non_blocking=False, bool copy=False, …)
def in_float32(graph: GraphEditor, node: Node) -> Node:
    """float32 that becomes float64, which files do not have, or 16 bits, whose arithmetic runtimes
    have for few operators: it stays. In which precision a file computes is its own."""
    return source_of(node)


def bends_early(node: Node) -> bool:
    """Whether a softplus ends where it is not yet the identity in float32."""
    threshold = argument(node, "threshold")
    return bool(threshold < 20)


# aten::softplus(Tensor self, Scalar beta=1, Scalar threshold=20) -> Tensor
def softplus(graph: GraphEditor, node: Node) -> Node:
    """With a low threshold, which coremltools ignores: x above it, chosen."""
    x, beta, threshold = source_of(node), argument(node, "beta"), argument(node, "threshold")
    scaled = graph.call(aten.mul.Tensor, x, beta, like=node)
    low = graph.call(aten.clamp_max.default, scaled, threshold, like=node)
    power = graph.call(aten.exp.default, low, like=node)
    soft = graph.call(aten.log1p.default, power, like=node)
    soft = graph.call(aten.div.Tensor, soft, beta, like=node)
    above = graph.call(aten.gt.Scalar, scaled, threshold, like=node)
    return graph.call(aten.where.self, above, x, soft, like=node)


def names_no_axis(node: Node) -> bool:
    """Whether the largest or smallest is that of all axes without their being named."""
    return not argument(node, "dim")


# aten::amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor
def extreme(graph: GraphEditor, node: Node) -> Node | None:
    """Along all axes by name, which torch.onnx asks for."""
    x = source_of(node)
    if not shape_of(x):
        return None
    axes = list(range(len(shape_of(x))))
    return graph.call(node.target, x, axes, argument(node, "keepdim"), like=node)

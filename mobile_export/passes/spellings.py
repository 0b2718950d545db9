"""The longer rules of `normalize_ops`: products with stored matrices, einsum, selections."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, is_call, source_of

__all__ = ["einsum_as_product", "product_as_linear", "selections_as_split", "shuffle_as_permute"]

aten = torch.ops.aten


def shuffle_as_permute(graph: GraphEditor, node: Node) -> Node:
    """``channel_shuffle``: (N, g · C, …) -> (N, C · g, …)."""
    batch, channels, *pixels = shape_of(node)
    groups: Any = argument(node, "groups")
    split = [batch, groups, channels // groups, math.prod(pixels)]
    apart = graph.call(aten.reshape.default, source_of(node), split, like=node)
    turned = graph.call(aten.permute.default, apart, [0, 2, 1, 3], like=node)
    return graph.call(aten.reshape.default, turned, [batch, channels, *pixels], like=node)


def product_as_linear(graph: GraphEditor, node: Node) -> Node | None:
    """``x @ W`` with a stored matrix W is a linear layer with weight Wᵀ."""
    x, weight = node.args
    stored = graph.constant(weight)
    if stored is None or stored.ndim != 2 or graph.is_constant(x):
        return None
    if weight.meta["val"].dtype != torch.float32:  # type: ignore[union-attr]
        return None
    turned = graph.derived(weight, stored.T.contiguous(), f"{node.name}.weight")
    return graph.call(aten.linear.default, x, turned, like=node)


def einsum_as_product(graph: GraphEditor, node: Node) -> Node | None:
    """Of two operands: both permuted to (shared axes, own axes, summed axes), and one product.

    None for one or more than two operands, a diagonal (``ii``), an ellipsis, or an axis of one
    operand only that is summed.
    """
    equation, operands = node.args[:2]
    assert isinstance(equation, str)
    terms, _, result = equation.replace(" ", "").partition("->")
    names = terms.split(",")
    if not isinstance(operands, list | tuple) or len(operands) != 2 or "->" not in equation:
        return None
    if "." in equation or any(len(set(term)) != len(term) for term in (*names, result)):
        return None
    first, second = names
    stack = [axis for axis in result if axis in first and axis in second]
    rows = [axis for axis in result if axis not in second]
    columns = [axis for axis in result if axis not in first]
    summed = [axis for axis in first if axis in second and axis not in result]
    whole = len(stack) + len(summed)
    if len(first) != whole + len(rows) or len(second) != whole + len(columns):
        return None
    sizes: dict[str, int] = {}
    for term, operand in zip(names, operands, strict=True):
        assert isinstance(operand, Node)
        for axis, size in zip(term, shape_of(operand), strict=True):
            if sizes.setdefault(axis, size) != size:
                return None  # an axis of size 1 that is repeated
    left = _arranged(graph, operands[0], first, (stack, rows, summed), node)  # type: ignore[arg-type]
    right = _arranged(graph, operands[1], second, (stack, summed, columns), node)  # type: ignore[arg-type]
    product = graph.call(aten.matmul.default, left, right, like=node)
    now = [*stack, *rows, *columns]
    apart = graph.call(aten.reshape.default, product, [sizes[a] for a in now], like=node)
    order = [now.index(axis) for axis in result]
    return graph.call(aten.permute.default, apart, order, like=node)


def _arranged(
    graph: GraphEditor, operand: Node, term: str, groups: tuple[Sequence[str], ...], like: Node
) -> Node:
    """``operand`` with the axes of ``term`` in the order of ``groups``: a stack of matrices."""
    axes = [axis for group in groups for axis in group]
    moved = graph.call(aten.permute.default, operand, [term.index(a) for a in axes], like=like)
    sizes = dict(zip(term, shape_of(operand), strict=True))
    stack = [sizes[axis] for axis in groups[0]]
    matrix = [math.prod(sizes[axis] for axis in group) for group in groups[1:]]
    return graph.call(aten.reshape.default, moved, [*stack, *matrix], like=like)


def selections_as_split(graph: GraphEditor, node: Node) -> None:
    """``x[0], x[1], x[2]`` as the pieces of ``unbind(x)``, where nothing else uses x.

    Whatever knows how to take a split apart so need not know selections.
    """
    source = source_of(node)
    axis = argument(node, "dim") % len(shape_of(source))
    count = shape_of(source)[axis]
    pieces: dict[int, Node] = {}
    for user in source.users:
        if not is_call(user, aten.select.int) or user.args[0] is not source:
            return
        if argument(user, "dim") % len(shape_of(source)) != axis:
            return
        pieces[_index(user, count)] = user
    if len(pieces) != len(source.users) or len(pieces) != count or count < 2:
        return
    split = graph.call(aten.unbind.int, source, axis, like=node)
    for index, piece in pieces.items():
        item = graph.call(operator.getitem, split, index, like=piece)
        graph.replace(piece, item, "a selection is a piece of a split")


def _index(node: Node, count: int) -> int:
    index: Any = argument(node, "index")
    return int(index) % count

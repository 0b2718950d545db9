"""Chains of reshapes and permutes above rank 5, written with rank 5 at most.

A permute of six axes has seldom six that count: without the axes of size 1, and with those joined
that stay neighbours, the windows of an image are reshape, permute of four or five, reshape. For
formats that take rank 5 (Core ML), where `move_less` costs more ops than it saves.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.chains import MOVES, trace_back, write
from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, is_call, source_of
from ..graph.rearrange import Rearrangement
from .join_axes import join_axes
from .remove_noops import simplify

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["write_whole", "limit_rank"]

aten = torch.ops.aten
_LIMIT = 5


def limit_rank(program: Program) -> PassResult:
    """No rearrangement or pointwise call is left that has more than five axes."""
    graph = GraphEditor(program)
    for node in graph.find(aten.unbind.int):
        _flatten_around(graph, node)
    for node in graph.find(aten.linear.default):
        _flatten_rows(graph, node)
    join_axes(graph, _LIMIT)
    for node in graph.find(*MOVES):
        if all(is_call(user, *MOVES) for user in node.users) or len(shape_of(node)) > _LIMIT:
            continue
        root, forward = trace_back(node)
        if _highest(node, root) <= _LIMIT:
            continue
        new = write_whole(graph, root, forward, node)
        graph.replace(node, new, f"moved with rank {_LIMIT} at most")
    if graph.edits:
        graph.sweep()
        simplify(graph)
    return graph.result()


def _flatten_around(graph: GraphEditor, node: Node) -> None:
    """``unbind`` of more than five axes with those before its axis, and those behind, as one."""
    source = source_of(node)
    shape = shape_of(source)
    if len(shape) <= _LIMIT or not all(is_call(item, operator.getitem) for item in node.users):
        return
    axis = argument(node, "dim") % len(shape)
    flat = [math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])]
    held = graph.call(aten.reshape.default, source, flat, like=node)
    parts = graph.call(aten.unbind.int, held, 1, like=node)
    for item in list(node.users):
        part = graph.call(operator.getitem, parts, item.args[1], like=item)
        whole = graph.call(aten.reshape.default, part, list(shape_of(item)), like=item)
        graph.replace(item, whole, f"taken apart with rank {_LIMIT} at most")


def _flatten_rows(graph: GraphEditor, node: Node) -> None:
    """``linear`` of more than five axes on rows of one matrix."""
    source = source_of(node)
    shape = shape_of(source)
    if len(shape) <= _LIMIT:
        return
    flat_shape = [math.prod(shape[:-1]), shape[-1]]
    rows = graph.call(aten.reshape.default, source, flat_shape, like=node)
    flat = graph.call(aten.linear.default, rows, *node.args[1:], like=node)
    whole = graph.call(aten.reshape.default, flat, list(shape_of(node)), like=node)
    graph.replace(node, whole, "on the rows of a matrix")


def write_whole(graph: GraphEditor, source: Node, rearrangement: Rearrangement, like: Node) -> Node:
    """`write` as reshape, one permute, reshape, where that takes five axes at most."""
    simple = rearrangement.simplified()
    permutes = sum(kind == "permute" for kind, _ in rearrangement.steps())
    if permutes < 2 or len(simple.order) > _LIMIT:
        return write(graph, source, rearrangement, like)
    split = graph.call(aten.reshape.default, source, list(simple.factors), like=like)
    turned = graph.call(aten.permute.default, split, list(simple.order), like=like)
    return graph.call(aten.reshape.default, turned, list(rearrangement.after), like=like)


def _highest(node: Node, root: Node) -> int:
    """The highest rank between ``root`` and ``node``."""
    highest = 0
    while node is not root:
        highest = max(highest, len(shape_of(node)))
        node = source_of(node)
    return highest

"""Pointwise calls of many axes with neighbouring axes joined.

Two neighbours can be joined where each operand either has both or is repeated along both:

    (1, 4, 14, 14, 7, 7) + (1, 4, 14, 14, 7, 1)  is  (784, 7, 7) + (784, 7, 1), reshaped.

Relative positions of attention are such sums (MViT, image encoders of the SAM kind). `limit_rank`
asks for it above the rank that its format takes; the reshapes around the call then belong to the
chains that it shortens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..system.torch_private import OpOverload

__all__ = ["join_axes"]

aten = torch.ops.aten


def join_axes(graph: GraphEditor, limit: int) -> None:
    """Write every pointwise call of more than ``limit`` axes with as few as it needs.

    One that needs more is refused.
    """
    for node in graph.nodes:
        if node.op != "call_function" or node not in graph or not _is_pointwise(node):
            continue
        shape = shape_of(node)
        if len(shape) <= limit:
            continue
        operands = [x for x in (*node.args, *node.kwargs.values()) if isinstance(x, Node)]
        groups = _groups(shape, [_full(shape_of(x), len(shape)) for x in operands])
        if len(groups) > limit:
            graph.refuse(node, f"it needs {len(groups)} axes; the format takes {limit}")
            continue
        _join(graph, node, groups)


def _is_pointwise(node: Node) -> bool:
    target = node.target
    return (
        isinstance(target, OpOverload)
        and torch.Tag.pointwise in target.tags
        and isinstance(node.meta.get("val"), torch.Tensor)
    )


def _full(shape: Sequence[int], rank: int) -> tuple[int, ...]:
    """``shape`` with axes of size 1 in front."""
    return (*[1] * (rank - len(shape)), *shape)


def _groups(shape: Sequence[int], operands: Sequence[Sequence[int]]) -> list[list[int]]:
    """Neighbouring axes along which the same operands are repeated; those of size 1 join any."""
    groups: list[list[int]] = []
    kinds: list[tuple[bool, ...] | None] = []
    for axis, size in enumerate(shape):
        kind = None if size == 1 else tuple(operand[axis] == size for operand in operands)
        if groups and (kind is None or kinds[-1] in (None, kind)):
            groups[-1].append(axis)
            kinds[-1] = kinds[-1] if kind is None else kind
        else:
            groups.append([axis])
            kinds.append(kind)
    return groups


def _join(graph: GraphEditor, node: Node, groups: Sequence[Sequence[int]]) -> None:
    shape = shape_of(node)

    def joined(x: object) -> object:
        if not isinstance(x, Node) or not shape_of(x):
            return x
        sizes = _full(shape_of(x), len(shape))
        flat = [math.prod(sizes[axis] for axis in group) for group in groups]
        return graph.call(aten.reshape.default, x, flat, like=node)

    args = [joined(x) for x in node.args]
    kwargs = {name: joined(x) for name, x in node.kwargs.items()}
    flat = graph.call(node.target, *args, like=node, kwargs=kwargs)
    whole = graph.call(aten.reshape.default, flat, list(shape), like=node)
    graph.replace(node, whole, f"{len(groups)} axes are enough")

"""Calls of many axes with neighbouring axes joined.

Two neighbours can be joined where each operand either has both or is repeated along both:

    (1, 4, 14, 14, 7, 7) + (1, 4, 14, 14, 7, 1)  is  (784, 7, 7) + (784, 7, 1), reshaped.

Relative positions of attention are such sums (MViT, image encoders of the SAM kind). A softmax and
a sum, mean or largest value along axes have their own axes, and what stands between these is one:
optical flow is upsampled by a softmax along the third of seven axes (RAFT). `limit_rank` asks for
it above the rank that its format takes; the reshapes around the call then belong to the chains that
it shortens.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, argument_names, is_call, source_of
from ..system.torch_private import OpOverload

__all__ = ["join_axes"]

aten = torch.ops.aten

_ALONG_ONE = (aten.softmax.int, aten.log_softmax.int)
_ALONG_SOME = (
    aten.sum.dim_IntList,
    aten.mean.dim,
    aten.amax.default,
    aten.amin.default,
    aten.linalg_vector_norm.default,
)


def join_axes(graph: GraphEditor, limit: int) -> None:
    """Write every call of more than ``limit`` axes with as few as it needs.

    Pointwise ones, softmaxes and reductions; one that needs more is refused.
    """
    for node in graph.nodes:
        if node.op != "call_function" or node not in graph:
            continue
        if _is_pointwise(node):
            shape = shape_of(node)
            operands = [x for x in (*node.args, *node.kwargs.values()) if isinstance(x, Node)]
            sizes = [_full(shape_of(x), len(shape)) for x in operands]
            kinds = [
                tuple(each[axis] == shape[axis] for each in sizes) for axis in range(len(shape))
            ]
            own: set[int] = set()
            join = _join
        elif is_call(node, *_ALONG_ONE, *_ALONG_SOME):
            shape = shape_of(source_of(node))
            own = _own_axes(node, len(shape))
            kinds = [(axis in own,) for axis in range(len(shape))]
            join = _join_along
        else:
            continue
        if len(shape) <= limit:
            continue
        groups = _groups(shape, kinds, own)
        if len(groups) > limit:
            graph.refuse(node, f"it needs {len(groups)} axes; the format takes {limit}")
            continue
        join(graph, node, groups)


def _own_axes(node: Node, rank: int) -> set[int]:
    """The axes that a softmax or a reduction goes along."""
    dims = argument(node, "dim")
    listed = [dims] if isinstance(dims, int) else dims or range(rank)
    return {axis % rank for axis in listed}


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


def _groups(
    shape: Sequence[int], kinds: Sequence[tuple[bool, ...]], own: Collection[int]
) -> list[list[int]]:
    """Neighbouring axes of one kind; those of size 1 join any, unless they are the call's own."""
    groups: list[list[int]] = []
    found: list[tuple[bool, ...] | None] = []
    for axis, size in enumerate(shape):
        kind = None if size == 1 and axis not in own else kinds[axis]
        if groups and (kind is None or found[-1] in (None, kind)):
            groups[-1].append(axis)
            found[-1] = found[-1] if kind is None else kind
        else:
            groups.append([axis])
            found.append(kind)
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


def _join_along(graph: GraphEditor, node: Node, groups: Sequence[Sequence[int]]) -> None:
    """A softmax or a reduction along its own axes of a source with the others joined."""
    source = source_of(node)
    shape = shape_of(source)
    own = _own_axes(node, len(shape))
    places = [place for place, group in enumerate(groups) if own & set(group)]
    joined = [math.prod(shape[axis] for axis in group) for group in groups]
    held = graph.call(aten.reshape.default, source, joined, like=node)
    args, kwargs = list(node.args), dict(node.kwargs)
    args[0], dims = held, places[0] if is_call(node, *_ALONG_ONE) else places
    names = argument_names(node)
    if "dim" in kwargs or names.index("dim") >= len(args):
        kwargs["dim"] = dims
    else:
        args[names.index("dim")] = dims
    flat = graph.call(node.target, *args, like=node, kwargs=kwargs)
    whole = graph.call(aten.reshape.default, flat, list(shape_of(node)), like=node)
    graph.replace(node, whole, f"{len(groups)} axes are enough")

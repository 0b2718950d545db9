"""Average pools in a form that every reading of Core ML's rule computes alike.

With ``ceil_mode`` the last window may reach past the padded input. PyTorch divides by what lies
inside; Core ML, where padding counts, by the whole kernel (coremltools issue 2772, pull request
2844: numbers from a Mac), while its reference says "same as PyTorch's". So:

* without padding of its own a pool excludes "padding" from the average: what reaches past the edge
  is then left out of every divisor, and nothing else changes;
* with padding the zeros are laid around the input first, and a pool without padding and without
  ``ceil_mode`` follows, its edge windows multiplied by kernel / (elements inside);
* ``divisor_override``, which Core ML's pool does not have: the same, multiplied by
  kernel / divisor.

Pools whose windows all fit stay as they are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.average_pools import AVERAGE_POOLS, PoolAxis, pool_axes
from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, source_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["settle_pools"]

aten = torch.ops.aten


def settle_pools(program: Program) -> PassResult:
    """No average pool's divisor depends on how Core ML counts what lies past the edge."""
    graph = GraphEditor(program)
    for node in graph.find(*AVERAGE_POOLS):
        axes = pool_axes(node)
        divisor = None if AVERAGE_POOLS[node.target] == 1 else argument(node, "divisor_override")
        counts = bool(argument(node, "count_include_pad"))
        past = any(axis.past > 0 for axis in axes)
        if divisor is None and not (past and counts):
            continue
        if divisor is None and not any(axis.padding for axis in axes):
            pool = _pool(graph, node, source_of(node), axes, ceil=True, counts=False)
            graph.replace(node, pool, "what lies past the edge is no part of its average")
            continue
        pool = _pool(graph, node, _padded(graph, node, axes), axes, ceil=False, counts=True)
        scale = _scale(graph, node, axes, divisor)
        scaled = graph.call(aten.mul.Tensor, pool, scale, like=node)
        graph.replace(node, scaled, "padded in front of it, and multiplied by kernel / divisor")
    return graph.result()


def _pool(
    graph: GraphEditor,
    node: Node,
    source: Node,
    axes: Sequence[PoolAxis],
    *,
    ceil: bool,
    counts: bool,
) -> Node:
    """The pool of ``node`` without padding."""
    kernel, stride = [axis.kernel for axis in axes], [axis.stride for axis in axes]
    none = [0] * len(axes)
    return graph.call(node.target, source, kernel, stride, none, ceil, counts, like=node)


def _padded(graph: GraphEditor, node: Node, axes: Sequence[PoolAxis]) -> Node:
    """The pool's input with zeros around it, as many as its windows read."""
    amounts = [amount for axis in reversed(axes) for amount in axis.pads]
    if not any(amounts):
        return source_of(node)
    return graph.call(aten.constant_pad_nd.default, source_of(node), amounts, 0.0, like=node)


def _scale(
    graph: GraphEditor, node: Node, axes: Sequence[PoolAxis], divisor: int | None
) -> Node | float:
    """What the mean over the whole kernel is multiplied by: a number, or one per window."""
    whole = math.prod(axis.kernel for axis in axes)
    if divisor is not None:
        return whole / divisor
    scale = torch.ones((1,) * (len(shape_of(node)) - len(axes)), dtype=torch.float64)
    for axis in axes:
        inside = torch.tensor(axis.inside(), dtype=torch.float64)
        scale = scale[..., None] * (axis.kernel / inside)
    return graph.add_constant(scale, f"{node.name}.divisors")

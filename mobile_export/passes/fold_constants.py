"""Compute at export time what does not depend on the image.

A call whose tensor arguments are all stored is replaced by its result: gathers of position biases,
aranges, interpolated embeddings, transposed weights, decomposed norms' 1/sqrt(var + eps). The
result is computed in float64, whatever dtypes the call asks for, as the reference is. A tensor
without elements (``x[:, :0]``) does not depend on the image either, whatever it is taken from.

Refused: random calls, and results with more than `LIMIT` elements that are `GROWTH` times larger
than what they are computed from (an ``expand`` stays an ``expand``).
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor
from ..graph.float64 import Float64Mode
from ..system.torch_private import OpOverload

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["fold_constants"]

LIMIT = 65536
GROWTH = 4


def fold_constants(program: Program) -> PassResult:
    """Replace calls on stored tensors by stored results."""
    graph = GraphEditor(program)
    known: dict[Node, Any] = {}
    for node in graph.nodes:
        value = graph.constant(node)
        if value is not None:
            known[node] = value.double() if value.is_floating_point() else value
        elif node.op == "call_function" and _is_pure(node):
            sources = node.all_input_nodes
            if all(source in known for source in sources) and _is_worth_it(graph, node, sources):
                known[node] = _compute(node, known)
            elif (result := _empty(node)) is not None:
                known[node] = result
    for node, value in known.items():
        if graph.is_constant(node) or not isinstance(value, torch.Tensor):
            continue
        if all(user in known for user in node.users):
            continue
        stored = graph.derived(node.args[0] if node.args else None, value.clone(), node.name)
        stored.meta["val"] = node.meta["val"]
        graph.replace(node, stored, "does not depend on the image: stored")
    return graph.result()


def _empty(node: Node) -> torch.Tensor | None:
    """The result of a call that has no elements."""
    result = node.meta["val"]
    if not isinstance(result, torch.Tensor) or result.numel():
        return None
    dtype = torch.float64 if result.is_floating_point() else result.dtype
    return torch.empty(result.shape, dtype=dtype)


def _is_pure(node: Node) -> bool:
    target = node.target
    if target is operator.getitem:
        return True
    return (
        isinstance(target, OpOverload)
        and target.namespace == "aten"
        and not target._schema.is_mutable
        and torch.Tag.nondeterministic_seeded not in target.tags
    )


def _is_worth_it(graph: GraphEditor, node: Node, sources: list[Node]) -> bool:
    result = node.meta["val"]
    if not isinstance(result, torch.Tensor) or result.numel() <= LIMIT:
        return True
    before = sum(s.meta["val"].numel() for s in sources if isinstance(s.meta["val"], torch.Tensor))
    if result.numel() <= GROWTH * before:
        return True
    graph.refuse(node, f"would store {result.numel()} elements made of {before}")
    return False


def _compute(node: Node, known: dict[Node, Any]) -> Any:
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
    with torch.no_grad(), Float64Mode():  # type: ignore[no-untyped-call]
        return node.target(*args, **kwargs)  # type: ignore[operator]

"""PyTorch's own decompositions of operators that a format has no rule for.

    program = expand(program, known)

Where `decompose` writes an operator in a way that suits all formats, this is the way out for the
long tail: whatever PyTorch itself defines by other operators (``core_aten_decompositions``, and
operators that are compositions in C++) is traced on fake tensors and takes the place of the call.
The proof in float64 covers the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..graph.changes import PassResult
from ..graph.editor import GraphEditor
from ..system.torch_private import OpOverload, core_decompositions, trace_call

if TYPE_CHECKING:
    from ..graph.program import Program

__all__ = ["expand"]


def expand(
    program: Program, known: Collection[Any], is_taken: Callable[[Node], bool] = lambda _: True
) -> PassResult:
    """Every call outside ``known`` as the calls by which PyTorch defines it.

    Args:
        known: operators that stay as they are. So do those that PyTorch does not define by these.
        is_taken: whether a call of one of ``known`` stays as it is.
    """
    found = [
        node
        for node in program.exported.graph.nodes
        if isinstance(node.target, OpOverload) and not (node.target in known and is_taken(node))
    ]
    if not found:
        return PassResult(program, (), ())
    names = {node.name for node in found}
    table = {op: how for op, how in core_decompositions().items() if op not in known}
    graph = GraphEditor(program)
    for node in graph.nodes:
        if node.name in names and node in graph:
            traced = _traced(node, table)
            if traced is not None and _is_known(graph, node, traced, known):
                _insert(graph, node, traced)
    return graph.result()


def _traced(node: Node, table: dict[Any, Any]) -> torch.fx.Graph | None:
    """The calls that ``node`` is made of; None where PyTorch does not define it by others."""
    sources = node.all_input_nodes
    values = [source.meta["val"] for source in sources]
    if any(not isinstance(value, torch.Tensor) for value in values):
        return None

    def call(*tensors: torch.Tensor) -> Any:
        held = dict(zip(sources, tensors, strict=True))
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), held.__getitem__)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    try:
        traced = trace_call(call, values, table)
    except (RuntimeError, TypeError, ValueError):  # PyTorch's decompositions are not complete
        return None
    calls = [each for each in traced.nodes if each.op == "call_function"]
    constants = [each for each in traced.nodes if each.op == "get_attr"]
    if constants or any(each.target is node.target for each in calls):
        return None
    if any(each.target is _WRITE and each.users for each in calls):
        return None
    return traced


def _is_known(
    graph: GraphEditor, node: Node, traced: torch.fx.Graph, known: Collection[Any]
) -> bool:
    """Whether all calls on what is not stored are known: else the message names ``node`` itself."""
    computed: set[Node] = set()
    inputs = iter(node.all_input_nodes)
    for each in traced.nodes:
        if each.op == "placeholder":
            if not graph.is_constant(next(inputs)):
                computed.add(each)
        elif each.op == "call_function" and computed.intersection(each.all_input_nodes):
            computed.add(each)
            if isinstance(each.target, OpOverload) and each.target not in (*known, _WRITE):
                return False
    return True


_WRITE = torch.ops.aten.copy_.default
"""Into an operand: a running statistic, which no output depends on."""


def _insert(graph: GraphEditor, node: Node, traced: torch.fx.Graph) -> None:
    """Replace ``node`` by the calls of ``traced``, whose inputs are those of ``node``."""
    copies: dict[Node, Node] = {}
    inputs = iter(node.all_input_nodes)
    for each in traced.nodes:
        if each.op == "placeholder":
            copies[each] = next(inputs)
        elif each.op == "call_function" and each.target is not _WRITE:
            args, kwargs = torch.fx.node.map_arg((each.args, each.kwargs), copies.__getitem__)
            copies[each] = graph.call(each.target, *args, like=node, kwargs=kwargs)
    (returned,) = traced.output_node().args
    what = f"{node.target} by PyTorch's own decomposition"
    if isinstance(returned, list | tuple):
        for item in [user for user in node.users if user.users]:
            graph.replace(item, copies[returned[item.args[1]]], what)  # type: ignore[index]
    else:
        graph.replace(node, copies[returned], what)  # type: ignore[index]

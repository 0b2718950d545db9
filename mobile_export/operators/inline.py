"""A plain PyTorch function in the place of a call.

    def hypot(x, y):
        return torch.sqrt(x * x + y * y)

    inline(graph, node, hypot, *node.args)

The function is traced once on the shapes of its operands, as ATen calls in front of autograd, so
`softmax` stays `softmax`; what it computes without an operand is folded by a later pass.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor
from ..graph.ops import operator_name
from ..system.torch_private import OpOverload, make_fx

__all__ = ["inline", "inlined"]

aten = torch.ops.aten
_COPIES = (aten.lift_fresh_copy.default, aten.detach_.default, aten.detach.default)


def inline(
    graph: GraphEditor,
    node: Node,
    function: Callable[..., Any],
    *operands: Any,
    whole: bool = True,
) -> Any:
    """The results of ``function`` as nodes in front of ``node``: one, or a list of them.

    Args:
        operands: of the function: nodes, tensors to be stored (float64 ones exactly, as float32 in
            the graph), and lists of these.
        whole: leave operators whole that are defined by others (`softmax`).
    """
    sources: list[Node] = []

    def taken(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [taken(item) for item in value]
        if isinstance(value, torch.Tensor):
            value = graph.add_constant(value, f"stored.{node.name}")
        if not isinstance(value, Node):
            return value
        sources.append(value)
        meta = value.meta["val"]
        return torch.empty(meta.shape, dtype=meta.dtype)

    examples = [taken(operand) for operand in operands]
    traced = make_fx(function, tracing_mode="fake", pre_dispatch=whole)(*examples)
    known: dict[Node, Any] = {}
    inputs = iter(sources)
    for inner in traced.graph.nodes:
        if inner.op == "placeholder":
            if not isinstance(inner.meta.get("val"), torch.Tensor):
                continue
            known[inner] = next(inputs)
        elif inner.op == "get_attr":
            value = getattr(traced, inner.target).detach()
            known[inner] = graph.add_constant(value, f"stored.{node.name}")
        elif inner.op == "output":
            return torch.fx.node.map_arg(inner.args[0], known.__getitem__)
        elif isinstance(inner.target, type):
            known[inner] = torch.fx.node.map_arg(_items(inner), known.__getitem__)
        elif inner.target is operator.getitem and isinstance(known[inner.args[0]], list | tuple):
            known[inner] = known[inner.args[0]][inner.args[1]]
        elif inner.target in _COPIES:
            known[inner] = known[inner.args[0]]
        else:
            args, kwargs = torch.fx.node.map_arg((inner.args, inner.kwargs), known.__getitem__)
            known[inner] = _called(graph, node, inner.target, args, kwargs)
            if isinstance(inner.target, OpOverload) and inner.target._schema.is_mutable:
                known[inner.args[0]] = known[inner]
    raise AssertionError("a graph without an output")


def _items(made: Node) -> Any:
    """The results in a named tuple: of C++ it is made of one sequence, of Python of each."""
    alone = len(made.args) == 1 and isinstance(made.args[0], list | tuple)
    return made.args[0] if alone else made.args


def _called(graph: GraphEditor, like: Node, target: Any, args: Any, kwargs: Any) -> Node:
    """A call; what would write in place computes a new tensor."""
    if target is aten.copy_.default:
        source: Node = args[1]
        kind, shape = (args[0].meta["val"].dtype, list(args[0].meta["val"].shape))
        if source.meta["val"].dtype != kind:
            source = graph.call(aten.to.dtype, source, kind, like=like)
        if list(source.meta["val"].shape) != shape:
            source = graph.call(aten.expand.default, source, shape, like=like)
        return source
    if isinstance(target, OpOverload) and target._schema.is_mutable:
        name = operator_name(target).removesuffix("_")
        target = getattr(getattr(aten, name), target._overloadname)
    return graph.call(target, *args, like=like, kwargs=kwargs)


def inlined(
    function: Callable[..., Any], *, whole: bool = True
) -> Callable[[GraphEditor, Node], Any]:
    """The rule that puts ``function``, of the operator's own schema, in the place of a call.

    ``function`` may return NotImplemented: then the call is left.
    """

    def rule(graph: GraphEditor, node: Node) -> Any:
        operands: list[Node] = []
        kwargs = dict(node.kwargs)
        kwargs.pop("out", None)
        torch.fx.node.map_arg((node.args, kwargs), operands.append)
        operands = list(dict.fromkeys(operands))

        def call(*tensors: torch.Tensor) -> Any:
            by_node = dict(zip(operands, tensors, strict=True))
            args, named = _lists(torch.fx.node.map_arg((node.args, kwargs), by_node.__getitem__))
            result = function(*args, **named)
            return [] if result is NotImplemented else result

        result = inline(graph, node, call, *operands, whole=whole)
        return None if isinstance(result, list) and not result else result

    rule.__doc__ = function.__doc__
    return rule


def _lists(value: Any) -> Any:
    """``value`` with lists and dictionaries that may be written to, as PyTorch's functions do."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_lists(item) for item in value]
    return tuple(_lists(item) for item in value) if isinstance(value, tuple) else value

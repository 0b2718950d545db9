"""Reading ATen calls: arguments by name, convolutions and linear layers with stored weights."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.fx import Node

from ..system.torch_private import OpOverload
from .editor import GraphEditor

__all__ = [
    "CONVS",
    "FOLDABLE",
    "TRANSPOSED",
    "argument",
    "argument_names",
    "as_list",
    "called_name",
    "is_call",
    "is_elementwise",
    "is_private",
    "operator_name",
    "source_of",
]

aten = torch.ops.aten

CONVS = {
    aten.conv1d.default: 1,
    aten.conv2d.default: 2,
    aten.conv3d.default: 3,
}
TRANSPOSED = {
    aten.conv_transpose1d.default: 1,
    aten.conv_transpose2d.input: 2,
    aten.conv_transpose3d.input: 3,
}
UNTAGGED = (aten.hardswish.default,)
"""Elementwise ops of one tensor that torch 2.14 does not tag ``pointwise``."""

DO_MORE = (aten.clone.default,)
"""Ops of one tensor that are tagged ``pointwise`` but do not only compute."""

FOLDABLE = (torch.float32, torch.float64)


def is_call(node: Any, *targets: Any) -> bool:
    """Whether ``node`` is a call of one of ``targets``."""
    return isinstance(node, Node) and node.op == "call_function" and node.target in targets


def is_elementwise(node: Any) -> bool:
    """Whether ``node`` computes each element of its first argument, its one tensor, by itself.

    So f(P(x)) = P(f(x)) for a permute or reshape P. Tagged ``pointwise`` by PyTorch and of one
    tensor; `UNTAGGED` and `DO_MORE` are the exceptions.
    """
    return isinstance(node, Node) and node.op == "call_function" and _is_of_elements(node.target)


@functools.cache
def _is_of_elements(target: Any) -> bool:
    if target in UNTAGGED:
        return True
    if not isinstance(target, OpOverload) or target in DO_MORE:
        return False
    schema = target._schema
    tensors = [i for i, a in enumerate(schema.arguments) if "Tensor" in str(a.type)]
    one = tensors == [0] and len(schema.returns) == 1 and not schema.is_mutable
    return one and torch.Tag.pointwise in target.tags


def source_of(node: Node) -> Node:
    """The first argument of a call, which must be a node."""
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def is_private(graph: GraphEditor, node: Node, root: Node) -> bool:
    """Whether each node from ``node`` back to its source ``root`` has one user."""
    while node is not root:
        if graph.only_user(node) is None:
            return False
        node = source_of(node)
    return graph.only_user(root) is not None


def argument(node: Node, name: str) -> Any:
    """The value of an argument of an ATen call by name: given, or the schema's default."""
    target = node.target
    assert isinstance(target, OpOverload)
    for position, parameter in enumerate(target._schema.arguments):
        if parameter.name == name:
            if position < len(node.args) and not parameter.kwarg_only:
                return node.args[position]
            return node.kwargs.get(name, parameter.default_value)
    raise KeyError(f"{target} has no argument {name}")


def argument_names(node: Node) -> list[str]:
    """The names of the arguments of an ATen call, in the order of its schema."""
    target = node.target
    assert isinstance(target, OpOverload)
    return [parameter.name for parameter in target._schema.arguments]


def called_name(node: Node) -> str:
    """`operator_name` of what a node calls; of anything else, nothing."""
    return operator_name(node.target) if isinstance(node.target, OpOverload) else ""


def operator_name(target: OpOverload) -> str:
    """The name of an operator without its namespace and its overload: ``conv2d``."""
    return str(target._schema.name.split("::")[1])


def as_list(value: Any, rank: int) -> list[int]:
    """A per-axis argument of a convolution or a pool: one number stands for all axes."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * rank if len(values) == 1 else values

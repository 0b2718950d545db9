"""Reading ATen calls: arguments by name, convolutions and linear layers with stored weights."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from .editor import Graph

__all__ = [
    "CONVS",
    "ELEMENTWISE",
    "FOLDABLE",
    "TRANSPOSED",
    "argument",
    "as_list",
    "is_call",
    "is_private",
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
ELEMENTWISE = (
    aten.gelu.default,
    aten.silu.default,
    aten.relu.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.hardswish.default,
    aten.hardsigmoid.default,
    aten.sigmoid.default,
    aten.tanh.default,
)
FOLDABLE = (torch.float32, torch.float64)


def is_call(node: Any, *targets: Any) -> bool:
    """Whether ``node`` is a call of one of ``targets``."""
    return isinstance(node, Node) and node.op == "call_function" and node.target in targets


def source_of(node: Node) -> Node:
    """The first argument of a call, which must be a node."""
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def is_private(graph: Graph, node: Node, root: Node) -> bool:
    """Whether each node from ``node`` back to its source ``root`` has one user."""
    while node is not root:
        if graph.only_user(node) is None:
            return False
        node = source_of(node)
    return graph.only_user(root) is not None


def argument(node: Node, name: str) -> Any:
    """The value of an argument of an ATen call by name: given, or the schema's default."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload)
    for position, parameter in enumerate(target._schema.arguments):
        if parameter.name == name:
            if position < len(node.args) and not parameter.kwarg_only:
                return node.args[position]
            return node.kwargs.get(name, parameter.default_value)
    raise KeyError(f"{target} has no argument {name}")


def as_list(value: Any, rank: int) -> list[int]:
    """A per-axis argument of a convolution or a pool: one number stands for all axes."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * rank if len(values) == 1 else values

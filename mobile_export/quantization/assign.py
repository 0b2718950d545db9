"""Which tensors of a program are integers, and which of them share a scale.

An operator with a role (`roles.ROLES`) takes and gives integers; every other one is computed in
floating point. What only moves values takes the side of its neighbours.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, where
from ..graph.layers import WeightedLayer, layer_of
from ..graph.ops import argument, called_name
from .plan import Floating
from .roles import ACTIVATIONS, ONE_SCALE, ROLES, Role, why_floating

__all__ = ["Assignment", "assign", "is_float", "module_of", "name_of", "pads_with_zeros", "sources"]


@dataclass
class Assignment:
    """What is to be integers in a program.

    Attributes:
        roles: of the operators that take and give integers.
        layers: those with stored weights.
        tensors: of activations, in the order of the graph -> the number of the group with which
            each shares a scale.
        constants: stored tensors that are operands.
        floating: operators that are computed in floating point.
    """

    roles: dict[Node, Role] = field(default_factory=dict)
    layers: dict[Node, WeightedLayer] = field(default_factory=dict)
    tensors: dict[Node, int] = field(default_factory=dict)
    constants: list[Node] = field(default_factory=list)
    floating: list[Floating] = field(default_factory=list)


def is_float(node: object) -> bool:
    """Whether a node computes one tensor of float32 with elements."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32 and value.numel() > 0


def name_of(node: Node) -> str:
    """The name of the operator that a node calls, without overload; of anything else, nothing."""
    if node.target is operator.getitem:
        return "getitem"
    return called_name(node)


def module_of(node: Node) -> str:
    """The module that a node came from, or nothing."""
    return where(node).removesuffix(f" ({node.name})") if "(" in where(node) else ""


def sources(node: Node) -> list[Node]:
    """The float tensors that an operator reads; of a part, what is split.

    A layer reads its weights, too, which are not listed.
    """
    if node.target is operator.getitem:
        node = node.args[0]  # type: ignore[assignment]
    first = node.args[0]
    if ROLES.get(name_of(node)) == "joining":
        return [each for each in first if is_float(each)]  # type: ignore[union-attr,misc]
    given = (first,) if ROLES.get(name_of(node)) in ("layer", "sharing") else node.args
    return [each for each in given if is_float(each)]  # type: ignore[misc]


def assign(graph: GraphEditor) -> Assignment:
    """What is to be integers in the program of an editing session, which is not changed."""
    found = Assignment()
    moving: list[Node] = []
    for node in graph.nodes:
        if node.op != "call_function" or not _computes_floats(node):
            continue
        role, why = _role(graph, node, found)
        if why:
            found.floating.append(Floating(node.name, name_of(node), why, module_of(node)))
        elif role == "sharing":
            moving.append(node)
        elif role is not None:
            found.roles[node] = role
    chosen = set(_tensors(graph, found))
    for node in _reached(graph, moving, chosen):
        found.roles[node] = "sharing"
    found.tensors = _grouped(graph, found, chosen)
    found.constants = [
        each for each in graph.nodes if graph.is_constant(each) and _is_operand(each, found)
    ]
    return found


def _computes_floats(node: Node) -> bool:
    return (is_float(node) and any(is_float(each) for each in node.all_input_nodes)) or (
        node.target is operator.getitem and is_float(node)
    )


def _role(graph: GraphEditor, node: Node, found: Assignment) -> tuple[Role | None, str]:
    """The role of a node, or why it is computed in floating point."""
    name = name_of(node)
    role = ROLES.get(name)
    if role is None:
        return None, why_floating(name)
    if name == "getitem":
        inner = node.args[0]
        known = isinstance(inner, Node) and ROLES.get(name_of(inner)) == "sharing"
        return (role, "") if known else (None, why_floating(name_of(inner)))  # type: ignore[arg-type]
    if role == "layer":
        layer = layer_of(graph, node)
        if not isinstance(layer, WeightedLayer):
            return None, layer or "it is no layer with stored weights"
        found.layers[node] = layer
    if name in ("add", "sub", "mul", "maximum", "minimum"):
        if not all(is_float(each) for each in node.args[:2]):
            return None, "one of its operands is a number"
        if name in ("add", "sub") and argument(node, "alpha") != 1:
            return None, "one of its operands is multiplied by a number"
    if _pads_with_a_number(node, name):
        return None, "it pads with another value than zero"
    return role, ""


def _pads_with_a_number(node: Node, name: str) -> bool:
    """Whether values come in that no scale is chosen for; reflected ones are the tensor's own."""
    if name not in ("constant_pad_nd", "pad"):
        return False
    constant = name == "constant_pad_nd" or argument(node, "mode") == "constant"
    return constant and argument(node, "value") not in (None, 0)


def pads_with_zeros(node: Node) -> bool:
    """Whether a node puts zeros around a tensor, which are zeros in integers, too."""
    name = name_of(node)
    constant = name == "constant_pad_nd" or (name == "pad" and argument(node, "mode") == "constant")
    return constant and not _pads_with_a_number(node, name)


def _fused(graph: GraphEditor, node: Node, found: Assignment) -> bool:
    """Whether a node's result is only read by an activation that is computed with it."""
    user = graph.only_user(node)
    name = name_of(node)
    return (
        user is not None
        and name_of(user) in ACTIVATIONS
        and user in found.roles
        and (found.roles[node] in ("layer", "product") or name in ("add", "sub", "mul"))
    )


def _tensors(graph: GraphEditor, found: Assignment) -> Iterator[Node]:
    for node in found.roles:
        if not _fused(graph, node, found):
            yield node
        for each in sources(node):
            if graph.is_constant(each):
                continue
            if each not in found.roles or not _fused(graph, each, found):
                yield each


def _reached(graph: GraphEditor, moving: list[Node], chosen: set[Node]) -> list[Node]:
    """What moves integers, or values that become integers behind it; ``chosen`` grows by them."""
    left = list(moving)
    reached: list[Node] = []
    while True:
        now = [
            node for node in left if node in chosen or any(each in chosen for each in sources(node))
        ]
        if not now:
            return reached
        for node in now:
            chosen.add(node)
            chosen.update(each for each in sources(node) if not graph.is_constant(each))
        reached += now
        left = [node for node in left if node not in now]


def _grouped(graph: GraphEditor, found: Assignment, chosen: set[Node]) -> dict[Node, int]:
    """The tensors in the order of the graph, each with the number of its group."""
    parent = {node: node for node in chosen}

    def root(node: Node) -> Node:
        while parent[node] is not node:
            node = parent[node]
        return node

    for node, role in found.roles.items():
        if role in ONE_SCALE:
            for each in sources(node):
                if each in parent and node in parent:
                    parent[root(each)] = root(node)
    numbers: dict[Node, int] = {}
    ordered = [node for node in graph.nodes if node in chosen]
    return {node: numbers.setdefault(root(node), len(numbers)) for node in ordered}


def _is_operand(constant: Node, found: Assignment) -> bool:
    """Whether a stored tensor is read as one by an operator that takes integers."""
    return is_float(constant) and any(
        user in found.roles and constant in sources(user) for user in constant.users
    )

"""Chains of reshapes and permutes in a graph: read as one `Rearrangement`, and written."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import Node

from .editor import GraphEditor, shape_of
from .ops import is_call, is_elementwise, source_of
from .rearrange import Rearrangement, compose

__all__ = ["MOVES", "Tail", "step_of", "tail_of", "trace_back", "write"]

aten = torch.ops.aten

MOVES = (aten.reshape.default, aten.permute.default)
"""The calls that a chain consists of."""


def step_of(node: Node) -> Rearrangement:
    """What one reshape or permute does, simplified."""
    before = shape_of(source_of(node))
    if is_call(node, aten.permute.default):
        order: list[int] = node.args[1]  # type: ignore[assignment]
        return Rearrangement.permute(before, order).simplified()
    return Rearrangement.reshape(before, shape_of(node)).simplified()


def trace_back(node: Node) -> tuple[Node, Rearrangement]:
    """The first tensor of the chain that ends in ``node``, and what leads from there to ``node``.

    A chain ends early where the cuts of two reshapes cross. ``node`` itself and the identity when
    it is no reshape or permute.
    """
    root, whole = node, Rearrangement.identity(shape_of(node)).simplified()
    while is_call(root, *MOVES):
        longer = compose(step_of(root), whole)
        if longer is None:
            break
        root, whole = source_of(root), longer
    return root, whole


@dataclass(frozen=True)
class Tail:
    """What follows a node, as long as each is the only user of the one before.

    Attributes:
        elementwise: calls between the node and the first reshape or permute.
        end: the last reshape or permute; the last of ``elementwise``, or the node, without one.
        rearrangement: what the reshapes and permutes do together.
    """

    elementwise: tuple[Node, ...]
    end: Node
    rearrangement: Rearrangement


def tail_of(graph: GraphEditor, node: Node) -> Tail:
    """Elementwise calls, then reshapes and permutes, after ``node``."""
    elementwise: list[Node] = []
    while (user := graph.only_user(node)) is not None and is_elementwise(user):
        node = user
        elementwise.append(node)
    end = node
    while (user := graph.only_user(end)) is not None and is_call(user, *MOVES):
        end = user
    while end is not node:
        root, forward = trace_back(end)
        if root is node:
            return Tail(tuple(elementwise), end, forward)
        end = source_of(end)
    return Tail(tuple(elementwise), node, Rearrangement.identity(shape_of(node)).simplified())


def write(graph: GraphEditor, source: Node, rearrangement: Rearrangement, like: Node) -> Node:
    """``source`` rearranged, by new calls before ``like`` that take its metadata."""
    node = source
    for kind, value in rearrangement.steps():
        target = aten.reshape.default if kind == "reshape" else aten.permute.default
        node = graph.call(target, node, value, like=like)
    return node

"""How large the indices are that a graph takes."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

__all__ = ["highest_index"]

_ATEN = torch.ops.aten

_KEEPING = {
    _ATEN._to_copy,
    _ATEN.alias,
    _ATEN.clone,
    _ATEN.contiguous,
    _ATEN.detach,
    _ATEN.expand,
    _ATEN.flatten,
    _ATEN.narrow,
    _ATEN.permute,
    _ATEN.reshape,
    _ATEN.select,
    _ATEN.slice,
    _ATEN.squeeze,
    _ATEN.t,
    _ATEN.to,
    _ATEN.transpose,
    _ATEN.unsqueeze,
    _ATEN.view,
}
"""Operators that give on the numbers of their first operand, or some of them."""


def highest_index(given: Node) -> int | None:
    """The largest number for which every look-up with the values of ``given`` is within its table.

    Look-ups are embeddings, gathers and indexing. None where there are none.
    """
    same = {given}
    sizes: list[int] = []
    for node in given.graph.nodes:
        if node.op != "call_function" or not same.intersection(node.all_input_nodes):
            continue
        packet = getattr(node.target, "overloadpacket", None)
        if packet in _KEEPING and node.args[0] in same:
            same.add(node)
        sizes += _table_sizes(node, packet, same)
    return min(sizes) - 1 if sizes else None


def _table_sizes(node: Node, packet: Any, same: set[Node]) -> list[int]:
    """Lengths of the axes that a call looks up in with one of ``same``."""
    args = node.args
    if packet is _ATEN.embedding and args[1] in same:
        return [_shape(args[0])[0]]
    if packet in (_ATEN.gather, _ATEN.index_select, _ATEN.take_along_dim) and args[2] in same:
        return [_shape(args[0])[args[1]]]  # type: ignore[index]
    if packet is _ATEN.one_hot and args[0] in same and len(args) > 1:
        return [int(args[1])]  # type: ignore[arg-type]
    if packet is _ATEN.index:
        shape = _shape(args[0])
        return [shape[axis] for axis, each in enumerate(args[1]) if each in same]  # type: ignore
    return []


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)

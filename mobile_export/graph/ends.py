"""Which operators an output ends with, whose results are only moved on the way to it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..system.torch_private import OpOverload
from .ops import operator_name

if TYPE_CHECKING:
    import torch

    from .program import Program

__all__ = ["ends_in"]

_MOVES = """
    _to_copy _unsafe_view alias cat chunk clone concat contiguous detach expand flatten flip narrow
    permute reshape roll select slice split split_with_sizes squeeze stack t transpose unbind
    unflatten unsqueeze view
"""
_MOVING = frozenset(_MOVES.split())


def ends_in(program: Program, names: Collection[str]) -> tuple[frozenset[str], ...]:
    """Of each output, those of ``names`` whose results are among its elements.

    An output that is a part of a concatenation has those of every part.

    Args:
        names: of ATen operators, without overloads.
    """
    found: dict[torch.fx.Node, frozenset[str]] = {}
    for node in program.exported.graph.nodes:
        if node.op != "call_function":
            continue
        name = operator_name(node.target) if isinstance(node.target, OpOverload) else None
        if name in names:
            found[node] = frozenset({str(name)})
        elif name is None or name in _MOVING:  # without a name: an item of a list
            each = [found.get(operand, frozenset()) for operand in node.all_input_nodes]
            found[node] = frozenset().union(*each)
    by_name = {node.name: ends for node, ends in found.items()}
    outputs = program.exported.graph_signature.user_outputs
    return tuple(by_name.get(str(output), frozenset()) for output in outputs)

"""Calls that write in place, and calls whose results change from run to run."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch

from .ops import argument, argument_names

__all__ = ["memory_of", "unsteady_calls", "writes_to", "written_buffers"]


def unsteady_calls(exported: torch.export.ExportedProgram) -> Iterator[torch.fx.Node]:
    """Calls that draw random numbers, and those that write to what the model stores."""
    signature = exported.graph_signature
    stored = {*signature.inputs_to_parameters, *signature.inputs_to_buffers}
    memory = memory_of(exported.graph)
    for node in exported.graph.nodes:
        if _is_random(node) or any(
            memory[x].name in stored and writes_to(node, x) for x in node.all_input_nodes
        ):
            yield node


def written_buffers(exported: torch.export.ExportedProgram) -> list[str]:
    """Names of the buffers and parameters that a program writes to, in the order of its calls."""
    signature = exported.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    memory = memory_of(exported.graph)
    found = {
        stored[memory[x].name]: None
        for node in exported.graph.nodes
        for x in node.all_input_nodes
        if memory[x].name in stored and writes_to(node, x)
    }
    return [name.removeprefix("module.") for name in found]


def _is_random(node: torch.fx.Node) -> bool:
    """Whether a call draws random numbers; dropout in eval mode does not."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    return "train" not in argument_names(node) or bool(argument(node, "train"))


def memory_of(graph: torch.fx.Graph) -> dict[torch.fx.Node, torch.fx.Node]:
    """For every node, the one whose memory its value lies in: itself, or that of which it is a
    view."""
    memory: dict[torch.fx.Node, torch.fx.Node] = {}
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        returns = () if schema is None else schema.returns
        shared = node.target is operator.getitem or any(each.alias_info for each in returns)
        first = node.args[0] if shared and node.args else None
        memory[node] = memory[first] if isinstance(first, torch.fx.Node) else node
    return memory


def writes_to(node: torch.fx.Node, operand: torch.fx.Node) -> bool:
    """Whether a call changes an operand in place."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return False
    named = dict(zip((each.name for each in schema.arguments), node.args, strict=False))
    return any(
        each.alias_info is not None
        and each.alias_info.is_write
        and operand in _nodes(named.get(each.name, node.kwargs.get(each.name)))
        for each in schema.arguments
    )


def _nodes(value: Any) -> list[Any]:
    """The nodes in an argument: itself, or those of a list."""
    return list(value) if isinstance(value, list | tuple) else [value]

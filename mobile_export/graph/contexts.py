"""Regions of a captured graph: ``with torch.enable_grad():`` and ``with torch.autocast(…):``.

torch.export keeps such a block as a graph of its own. Grad mode changes no value, and neither does
an autocast that is off or for another device, so these blocks are put back in line. What runs under
a CPU autocast rounds to bfloat16 where torch pleases: that is refused.
"""

from __future__ import annotations

from typing import Any

from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from ..errors import TraceError

__all__ = ["inline_contexts"]

_GRAD = "wrap_with_set_grad_enabled"
_AUTOCAST = "wrap_with_autocast"
_LEADING = {_GRAD: 1, _AUTOCAST: 4}


def inline_contexts(exported: ExportedProgram, spec: str) -> ExportedProgram:
    """``exported``, its blocks under grad mode and autocast in line; edited in place.

    Raises:
        TraceError: a block runs under an autocast for the CPU, or another operator with graphs of
            its own is left (``torch.cond``, ``torch.while_loop``).
    """
    found = _inline(exported.graph_module, spec)
    for node in exported.graph.nodes:
        if any(isinstance(argument, Node) and argument.op == "get_attr" for argument in node.args):
            raise TraceError(
                f"{spec} calls {node.target}, which chooses what to compute from tensors' values.",
                hint="A phone file is one static graph. Compute both sides and use torch.where.",
            )
    if not found:
        return exported
    outputs: Any = exported.graph.output_node().args[0]
    for given, node in zip(exported.graph_signature.output_specs, outputs, strict=True):
        if isinstance(node, Node):
            given.arg.name = node.name
    exported.graph_module.recompile()
    return exported


def _inline(module: GraphModule, spec: str) -> bool:
    graph, found = module.graph, False
    for node in list(graph.nodes):
        kind = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
        if kind not in _LEADING:
            continue
        found = True
        leading, rest = node.args[: _LEADING[kind]], node.args[_LEADING[kind] :]
        if kind == _AUTOCAST and leading[0] == "cpu" and leading[2]:
            raise TraceError(
                f"{spec} computes under torch.autocast('cpu', dtype={leading[1]}).",
                hint="Leave the autocast out; `precision='fp16'` chooses that of the file.",
            )
        inner: Any = getattr(module, rest[0].target)
        _inline(inner, spec)
        places = [n for n in inner.graph.nodes if n.op == "placeholder"]
        values = dict(zip(places, rest[1:], strict=True))
        with graph.inserting_before(node):
            results: Any = graph.graph_copy(inner.graph, values)
        for item in list(node.users):
            item.replace_all_uses_with(results[item.args[1]])
            graph.erase_node(item)
        graph.erase_node(node)
        if not rest[0].users:
            graph.erase_node(rest[0])
    return found

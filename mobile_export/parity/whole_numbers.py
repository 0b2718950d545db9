"""Whole numbers that a format computes or returns as float32, which holds them up to 2^24 only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..errors import ExportError
from ..graph.float64 import double_copy, run_float64
from ..graph.raised import call_at

if TYPE_CHECKING:
    from ..graph.program import Program

__all__ = ["LARGEST_WHOLE", "require_whole_numbers"]

LARGEST_WHOLE = 2**24
"""Up to this number float32 holds every whole one."""

_WHOLE = (torch.int32, torch.int64)


def require_whole_numbers(
    program: Program, given: Sequence[torch.Tensor], title: str, *, returned_only: bool
) -> None:
    """Refuse whole numbers that float32 does not hold, by the call that makes them.

    Args:
        given: one input, on which the program is run in float64.
        title: of the format.
        returned_only: it has integers and gives float32: those that it returns alone.

    Raises:
        ExportError: names call, module and line, and the number.
    """
    graph = program.exported.graph
    looked_at = {
        node
        for node in (graph.output_node().all_input_nodes if returned_only else graph.nodes)
        if node.op == "call_function" and getattr(node.meta.get("val"), "dtype", None) in _WHOLE
    }
    if not looked_at:
        return
    module = double_copy(program.module())
    assert isinstance(module, torch.fx.GraphModule)
    run = _Whole(module, {node.name for node in looked_at})
    run_float64(run.run, *given)
    if run.found is None:
        return
    name, number = run.found
    (node,) = [node for node in looked_at if node.name == name]
    what = "returns" if returned_only else "computes"
    raise ExportError(
        f"{call_at(node)} makes whole numbers up to {number}. {title} {what} them as float32, "
        f"which holds each up to {LARGEST_WHOLE} (2^24) only.",
        hint="Return the numbers that it is made of, and compute it in the app.",
    )


class _Whole(torch.fx.Interpreter):
    """Runs a graph and keeps the first of its calls that makes too large a whole number."""

    def __init__(self, module: torch.fx.GraphModule, names: Collection[str]) -> None:
        super().__init__(module)
        self.names = names
        self.found: tuple[str, int] | None = None

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if self.found is None and n.name in self.names and result.numel():
            largest = int(result.abs().max())
            if largest > LARGEST_WHOLE:
                self.found = (n.name, largest)
        return result

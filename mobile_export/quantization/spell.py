"""Operators in the words of integer kernels: before a plan is made, exactly, inside the proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..graph.editor import GraphEditor

if TYPE_CHECKING:
    from ..graph.program import Program

__all__ = ["spell_out"]

aten = torch.ops.aten


def spell_out(program: Program) -> Program:
    """``program`` with SiLU written as x · sigmoid(x): kernels of integers have these two."""
    graph = GraphEditor(program)
    for node in graph.find(aten.silu.default):
        (x,) = node.args
        gate = graph.call(aten.sigmoid.default, x, like=node)
        graph.replace(node, graph.call(aten.mul.Tensor, x, gate, like=node), "x · sigmoid(x)")
    return graph.result().program

"""Numbers that torch.onnx's optimizer takes for 0 or 1.

onnxscript drops x + c, x - c, x * c and x / c where c is a tensor without axes and, to 1e-8 or a
hundred-thousandth, the number that would change nothing (`Constant` of its `rewriter`: ``abs_tol``,
``rel_tol``). Where x is 0 the 1e-8 is all that a division is kept from infinity by. With an axis of
length 1 the number is not looked at.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ...graph.editor import GraphEditor, shape_of

if TYPE_CHECKING:
    from ...graph.program import Program

__all__ = ["keep_small_numbers"]

aten = torch.ops.aten

_NEUTRAL: dict[Any, float] = {
    aten.add.Tensor: 0.0,
    aten.sub.Tensor: 0.0,
    aten.mul.Tensor: 1.0,
    aten.div.Tensor: 1.0,
}
_NEAR = {"rel_tol": 1e-4, "abs_tol": 1e-7}
"""Ten times what onnxscript 0.7.2 has: what is further away need not be kept."""


def keep_small_numbers(program: Program) -> Program:
    """Such numbers with an axis of length 1."""
    graph = GraphEditor(program)
    for node in list(graph.find(*_NEUTRAL)):
        if shape_of(node) and node.meta["val"].is_floating_point():
            for place in (0, 1):
                _keep(graph, node, place)
    return graph.result().program


def _keep(graph: GraphEditor, node: Node, place: int) -> None:
    operand, neutral = node.args[place], _NEUTRAL[node.target]
    stored = graph.constant(operand)
    alone = stored is not None and stored.ndim == 0
    value = float(stored) if alone and stored is not None else operand
    if (
        not isinstance(value, float)
        or value == neutral
        or not math.isclose(value, neutral, **_NEAR)
    ):
        return
    if alone:
        new = graph.call(aten.reshape.default, operand, [1], like=node)
    else:
        kwargs = {"dtype": node.meta["val"].dtype}
        new = graph.call(aten.full.default, [1], value, like=node, kwargs=kwargs)
    args = list(node.args)
    args[place] = new
    node.args = tuple(args)
    graph.changed(node, f"{value} is kept")

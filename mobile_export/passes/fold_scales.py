"""Fold stored factors and offsets (layer scale, residual scale, 1/√d, mean and std) into layers.

``y = s · x + t`` with s and t stored, written as a multiplication, division, addition, subtraction
or negation, moves into the layer that computes x (also through reshapes, splits, sums and the
products of attention, where s (q k) = (s q) k), or into every layer that uses y; exactly as
`fold_norms` does and with the same refusals. Multiplying by one and adding zero disappear.

An offset in front of a convolution that pads with zeros stays, and the report says so: the padding
is 0 where the offset would give t. The factor still goes: s x + t = s (x + t / s), so that mean and
std of an image are one subtraction.

Where something else uses y, too, it stays for that, and the layers that can take it read x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.affine import Affine, scale_of
from ..graph.affine_folding import plan_after, plan_before, plans_of_layers
from ..graph.editor import GraphEditor
from ..graph.rounds import in_turn, settle

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["fold_scales"]

aten = torch.ops.aten
SCALES = (
    aten.mul.Tensor,
    aten.div.Tensor,
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.neg.default,
)


def fold_scales(program: Program) -> PassResult:
    """No stored factor or offset is left where a layer can take it."""
    graph = GraphEditor(program)

    def fold() -> None:
        for node in graph.find(*SCALES):
            _fold(graph, node)
        graph.sweep()

    # Of two in a row, the inner one may have to wait for the outer.
    settle("fold_scales", in_turn(graph, {"factors and offsets": fold}))
    return graph.result()


def _fold(graph: GraphEditor, node: Node) -> None:
    found = scale_of(graph, node)
    if found is None:
        return
    if isinstance(found, str):
        graph.refuse(node, found)
        return
    source, affine = found
    if not affine.shifts and bool((affine.scale == 1).all()):
        graph.replace(node, source, "changes nothing")
        return
    plan = plan_before(graph, source, node, affine)
    side = "before"
    if isinstance(plan, str):
        after = plan_after(graph, node, affine)
        if isinstance(after, str):
            done = _factor_after(graph, node, source, affine)
            if not done and not _into_some(graph, node, source, affine):
                graph.refuse(node, f"before: {plan}; after: {after}")
            return
        plan, side = after, "after"
    graph.replace(node, source, f"folded into {plan.run()} {side} it")


def _into_some(graph: GraphEditor, node: Node, source: Node, affine: Affine) -> bool:
    """Fold s x + t into those of its users that can take it; the others use it as before.

    LiteRT's converter does so, too, unasked: what it stores can be compared with the program only
    where that is done here.

    Returns:
        Whether there were any.
    """
    plans = plans_of_layers(graph, node, affine)
    for user, plan in plans.items():
        user.replace_input_with(node, source)
        graph.changed(node, f"folded into {plan.run()} after it; what else uses it is left")
    return bool(plans)


def _factor_after(graph: GraphEditor, node: Node, source: Node, factor: Affine) -> bool:
    """Write s x + t as s (x + t / s) where the layers after it take s, but not t.

    Args:
        node: s x, which only the addition of t may use.

    Returns:
        Whether that was possible.
    """
    user = graph.only_user(node)
    added = scale_of(graph, user) if user is not None else None
    if user is None or not isinstance(added, tuple) or factor.shifts:
        return False
    whole = added[1].after(factor)
    if not whole.shifts or not whole.scale.all():
        return False
    offset = whole.shift / whole.scale
    if offset.abs().max() > torch.finfo(torch.float16).max:
        return False
    plan = plan_after(graph, user, Affine(whole.scale, torch.zeros_like(whole.scale)))
    if isinstance(plan, str):
        return False
    stored = graph.derived(None, offset.contiguous(), f"{user.name}.offset")
    first = graph.call(aten.add.Tensor, source, stored, like=user)
    graph.replace(user, first, f"done before {node.name}, which is folded into {plan.run()}")
    return True

"""Fold eval-mode batch norms, and the weights of layer norms, into layers before or after them.

A batch norm with running mean μ and variance σ² is s · x + t with s = weight / √(σ² + ε), t = bias
- μ s.

Before: s (W x + b) + t = (s W) x + (s b + t). The layer may be a convolution, a transposed one, a
        linear layer, another norm, a sum or a concatenation of these, or the values of softmax
        attention, with reshapes and permutes in between; nothing else may see what it computes.
After:  W (s x + t) + b = (W s) x + (W t + b), for every layer that uses the norm; exact for
        convolutions without padding and for t = 0. A zero-padded convolution after t ≠ 0 is
        refused: at the border it sees 0 where the norm would have given t.

A layer norm n(x) · s + t keeps n(x), which divides by what it sees; s and t move into the layers
after it in the same way. TFLite has no layer norm: there they are two ops of thirteen.

Layers that share a weight get weights of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.affine import Affine, batch_norm_of
from ..graph.affine_folding import plan_after, plan_before
from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import FOLDABLE, argument, source_of

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["fold_norms"]

aten = torch.ops.aten


def fold_norms(program: Program) -> PassResult:
    """No batch norm, and no weight of a layer norm, is left where a neighbour can take it."""
    graph = GraphEditor(program)
    for node in graph.find(aten.layer_norm.default):
        _fold_weights(graph, node)
    for node in graph.find(aten.batch_norm.default):
        affine = batch_norm_of(graph, node)
        if affine is None:
            continue
        if isinstance(affine, str):
            graph.refuse(node, affine)
            continue
        plan = plan_before(graph, source_of(node), node, affine)
        side = "before"
        if isinstance(plan, str):
            after = plan_after(graph, node, affine)
            if isinstance(after, str):
                graph.refuse(node, f"before: {plan}; after: {after}")
                continue
            plan, side = after, "after"
        graph.replace(node, source_of(node), f"folded into {plan.run()} {side} it")
    return graph.result()


def _fold_weights(graph: GraphEditor, node: Node) -> None:
    """Move scale and shift of a layer norm into what uses it."""
    affine = _weights_of(graph, node)
    if affine is None:
        return
    plan = affine if isinstance(affine, str) else plan_after(graph, node, affine)
    if isinstance(plan, str):
        graph.refuse(node, f"its weights stay: {plan}")
        return
    shape, eps = node.args[1], argument(node, "eps")
    bare = graph.call(aten.layer_norm.default, source_of(node), shape, None, None, eps, like=node)
    graph.replace(node, bare, f"its weights folded into {plan.run()} after it")


def _weights_of(graph: GraphEditor, node: Node) -> Affine | str | None:
    """Scale and shift of a layer norm; why they cannot be moved; None when it has none."""
    given = [argument(node, name) for name in ("weight", "bias")]
    if given == [None, None]:
        return None
    stored = [graph.constant(value) for value in given]
    if any(a is not None and b is None for a, b in zip(given, stored, strict=True)):
        return "they are computed from the input"
    dtypes = {value.dtype for value in stored if value is not None}
    if not dtypes <= set(FOLDABLE):
        return f"they are {', '.join(map(str, dtypes))}: folding would round them"
    if not all(bool(torch.isfinite(value).all()) for value in stored if value is not None):
        return "they hold NaN or infinity"
    normed: list[int] = node.args[1]  # type: ignore[assignment]
    shape = [1] * (len(shape_of(node)) - len(normed)) + list(normed)
    ones, zeros = (torch.full(shape, value, dtype=torch.float64) for value in (1.0, 0.0))
    scale, shift = (None if value is None else value.double().reshape(shape) for value in stored)
    return Affine(ones if scale is None else scale, zeros if shift is None else shift)

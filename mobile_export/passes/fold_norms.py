"""Fold eval-mode batch norms into the convolution or linear layer before them, or after them.

A batch norm with running mean μ and variance σ² is s · x + t with s = weight / √(σ² + ε), t = bias
- μ s.

Before: s (W x + b) + t = (s W) x + (s b + t). The layer may be a convolution, a transposed one, a
        linear layer, another norm or a sum of these, with reshapes and permutes in between; nothing
        else may see what it computes.
After:  W (s x + t) + b = (W s) x + (W t + b), for every layer that uses the norm; exact for
        convolutions without padding and for t = 0. A zero-padded convolution after t ≠ 0 is
        refused: at the border it sees 0 where the norm would have given t.

Layers that share a weight get weights of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ._absorb import plan_after, plan_before
from ._affine import batch_norm_of
from ._graph import Graph
from ._ops import source_of

if TYPE_CHECKING:
    from ..program import Program
    from ._types import PassResult

__all__ = ["fold_norms"]

aten = torch.ops.aten


def fold_norms(program: Program) -> PassResult:
    """No batch norm is left where a neighbour can take it."""
    graph = Graph(program)
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

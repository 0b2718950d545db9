"""The table of decompositions, and the one run over a captured program."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..graph.changes import PassResult
from ..graph.editor import GraphEditor
from . import convolution, padding, pointwise, pooling, products, resizing

if TYPE_CHECKING:
    from ..graph.program import Program

__all__ = ["OPERATORS", "decompose", "needs_decomposing"]

aten = torch.ops.aten

OPERATORS: dict[Any, Callable[[GraphEditor, Node], Node | None]] = {
    aten.adaptive_max_pool1d.default: pooling.adaptive_max_pool,
    aten.adaptive_max_pool2d.default: pooling.adaptive_max_pool,
    aten.avg_pool2d.default: pooling.avg_pool,
    aten.conv1d.padding: convolution.same_convolution,
    aten.conv2d.padding: convolution.same_convolution,
    aten.conv_transpose1d.default: convolution.padded_transposed_convolution,
    aten.conv_transpose2d.input: convolution.padded_transposed_convolution,
    aten.pad.default: padding.circular_pad,
    aten.logsumexp.default: pointwise.logsumexp,
    aten.pow.Tensor_Scalar: pointwise.power,
    aten.cdist.default: products.distances,
    aten.einsum.default: products.einsum,
    aten._upsample_bicubic2d_aa.default: resizing.antialiased,
    aten._upsample_bicubic2d_aa.vec: resizing.antialiased,
    aten._upsample_bilinear2d_aa.default: resizing.antialiased,
    aten._upsample_bilinear2d_aa.vec: resizing.antialiased,
}


def needs_decomposing(program: Program) -> bool:
    """Whether ``program`` calls an operator of `OPERATORS`."""
    return any(node.target in OPERATORS for node in program.exported.graph.nodes)


def decompose(program: Program) -> PassResult:
    """Every call that has a function in `OPERATORS` is written in core operators.

    Nothing may be written in place (`normalize_ops` sees to that): a function may return its
    operand, where PyTorch makes a copy.
    """
    graph = GraphEditor(program)
    for node in graph.find(*OPERATORS):
        new = OPERATORS[node.target](graph, node)
        if new is not None:
            graph.replace(node, new, f"{node.target} in core operators")
    return graph.result()

"""Norms by the statistics of their input."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor
from ..graph.ops import argument, source_of
from .inline import inline
from .sums import batch_statistics

__all__ = [
    "batch_norm",
    "instance_norm",
    "keeps_statistics",
    "layer_norm",
    "scales_by_results",
    "trains",
]

aten = torch.ops.aten


def trains(node: Node) -> bool:
    """Whether a batch norm takes the mean and variance of the batch itself."""
    return bool(argument(node, "training"))


# aten::batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean,
#     Tensor? running_var, bool training, float momentum, float eps, bool cudnn_enabled) -> Tensor
def batch_norm(graph: GraphEditor, node: Node) -> Any:
    """In training mode: by the mean and variance of the image itself."""
    x, weight, bias = node.args[:3]
    eps = argument(node, "eps")
    given = [value for value in (weight, bias) if value is not None]

    def norm(x: Any, *stored: Any) -> Any:
        parts = iter(stored)
        w, b = (None if value is None else next(parts) for value in (weight, bias))
        return batch_statistics(x, w, b, None, None, True, 0.0, eps)[0]

    return inline(graph, node, norm, x, *given)


def keeps_statistics(node: Node) -> bool:
    """Whether an instance norm takes the mean and variance that training left behind."""
    return not argument(node, "use_input_stats")


# aten::instance_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean,
#     Tensor? running_var, bool use_input_stats, float momentum, float eps, bool cudnn_enabled)
def instance_norm(graph: GraphEditor, node: Node) -> Node:
    """By stored statistics, which coremltools 9.0 does not read: a batch norm."""
    *operands, _, momentum, eps, cudnn = node.args
    return graph.call(aten.batch_norm.default, *operands, False, momentum, eps, cudnn, like=node)


def scales_by_results(node: Node) -> bool:
    """Whether a weight or bias of a layer norm is computed."""
    given = [argument(node, name) for name in ("weight", "bias")]
    return any(isinstance(value, Node) and value.op == "call_function" for value in given)


# aten::layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None,
#     Tensor? bias=None, float eps=1e-05, bool cudnn_enable=True) -> Tensor
def layer_norm(graph: GraphEditor, node: Node) -> Node:
    """With a computed weight or bias, which Core ML does not take: multiplied and added behind."""
    shape, eps = argument(node, "normalized_shape"), argument(node, "eps")
    y = graph.call(aten.layer_norm.default, source_of(node), shape, None, None, eps, like=node)
    weight, bias = argument(node, "weight"), argument(node, "bias")
    if weight is not None:
        y = graph.call(aten.mul.Tensor, y, weight, like=node)
    return y if bias is None else graph.call(aten.add.Tensor, y, bias, like=node)

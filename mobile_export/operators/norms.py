"""Norms by the statistics of their input."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from ..graph.editor import GraphEditor
from ..graph.ops import argument
from .inline import inline
from .sums import batch_statistics

__all__ = ["batch_norm", "trains"]


def trains(node: Node) -> bool:
    """Whether a batch norm takes the mean and variance of the batch itself."""
    return bool(argument(node, "training"))


# aten::batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean,
#     Tensor? running_var, bool training, float momentum, float eps, bool cudnn_enabled) -> Tensor
def batch_norm(graph: GraphEditor, node: Node) -> Any:
    """In training mode: by the mean and variance of the image itself."""
    if not trains(node):
        return None
    x, weight, bias = node.args[:3]
    eps = argument(node, "eps")
    given = [value for value in (weight, bias) if value is not None]

    def norm(x: Any, *stored: Any) -> Any:
        parts = iter(stored)
        w, b = (None if value is None else next(parts) for value in (weight, bias))
        return batch_statistics(x, w, b, None, None, True, 0.0, eps)[0]

    return inline(graph, node, norm, x, *given)

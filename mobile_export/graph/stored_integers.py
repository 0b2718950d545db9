"""What integers that a program stores stand for, exactly: for formats that take floats there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..system.torch_private import quantization_operators
from .quantized import dequantized

if TYPE_CHECKING:
    from torch.fx import Node

    from .editor import GraphEditor

__all__ = ["exact_floats"]


def exact_floats(graph: GraphEditor, node: Node) -> torch.Tensor:
    """The float64 values of stored integers that ``node`` dequantises."""
    integers = graph.constant(node.args[0])
    assert integers is not None
    if node.target is quantization_operators().dequantize_per_tensor.default:
        scale: Any = torch.tensor(node.args[1], dtype=torch.float64)
        return dequantized(integers, scale, torch.tensor(node.args[2]))
    axis: Any = node.args[3]
    scales = graph.exact(node.args[1])
    assert scales is not None
    shape = [1] * integers.ndim
    shape[axis] = -1
    return dequantized(integers, scales.reshape(shape), torch.tensor(0))

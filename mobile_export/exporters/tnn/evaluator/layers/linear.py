"""Matrix products."""

from __future__ import annotations

import math

from torch.nn import functional as F

from ..proto import FormatError
from ..table import Params, Tensor, Weights, layer

__all__: list[str] = []


@layer("InnerProduct")
def inner_product(x: Tensor, *, params: Params, weights: Weights) -> Tensor:
    """``x``, flattened behind the batch, times the weights (outputs, inputs)."""
    outputs, has_bias, _, axis = params.integers(4)
    if axis != 1:
        raise FormatError(f"InnerProduct along axis {axis} is not covered; TNN's kernels know 1")
    weight = weights["weight"].reshape(outputs, -1)
    return F.linear(x.flatten(1), weight, weights["bias"].flatten() if has_bias else None)


@layer("MatMul")
def matmul(*inputs: Tensor, params: Params, weights: Weights) -> Tensor:
    """a @ b, one of which may be the layer's weight.

    Batches that are neither equal nor 1 are refused: TNN's devices pair them differently.
    """
    position = params.integer(-1)
    operands = list(inputs)
    if len(operands) == 1:
        operands.insert(position, weights["weight"])
    a, b = operands
    counts = {math.prod(item.shape[:-2]) for item in operands if item.ndim > 2} - {1}
    if len(counts) > 1:
        raise FormatError(f"MatMul of batches {tuple(a.shape)} and {tuple(b.shape)}")
    return a @ b

"""MIL op reference: quantization_ops (iOS 17)."""

from __future__ import annotations

import torch

from ..table import Tensor, op

__all__ = ["along"]


def along(axis: int | None, vector: Tensor, rank: int) -> Tensor:
    """A vector reshaped to lie along one axis of a tensor; a scalar as it is."""
    if vector.dim() == 0 or axis is None:
        return vector
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


@op("quantize")
def quantize(
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """clip(round(input / scale) + zero_point)."""
    low, high = (0, 255) if output_dtype == "uint8" else (-128, 127)
    result = torch.round(input / along(axis, scale, input.dim()))
    if zero_point is not None:
        result = result + along(axis, zero_point, input.dim())
    return result.clamp(low, high).to(torch.int32)


@op("dequantize")
def dequantize(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """scale (input - zero_point)."""
    real = input.to(torch.float32)
    if zero_point is not None:
        real = real - along(axis, zero_point, input.dim())
    return real * along(axis, scale, input.dim())

"""MIL op reference: linear. Products accumulate in float32."""

from __future__ import annotations

import torch

from ..table import Tensor, Tensors, op

__all__: list[str] = []


@op("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weightᵀ + bias."""
    return torch.nn.functional.linear(x, weight, bias)


@op("matmul")
def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """The batched product, with numpy's broadcasting; vectors are not transposed."""
    if transpose_x and x.dim() > 1:
        x = x.transpose(-1, -2)
    if transpose_y and y.dim() > 1:
        y = y.transpose(-1, -2)
    return torch.matmul(x, y)


@op("einsum")
def einsum(values: Tensors, equation: str) -> Tensor:
    """Einstein's summation; axes of size one broadcast."""
    result: Tensor = torch.einsum(equation, *values)
    return result

"""MIL op reference: constexpr_ops (iOS 16) and compression (iOS 18): compressed weights.

They read constants only, so the program evaluates them once, when it is loaded.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ..table import Ints, Tensor, op
from ..text import unpack_bits
from .elementwise import convert
from .quantization import along

__all__: list[str] = []


@op("constexpr_cast")
def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """The constant as another type."""
    return convert(source_val, output_dtype)


@op("constexpr_affine_dequantize")
def constexpr_affine_dequantize(
    quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int
) -> Tensor:
    """scale (quantized_data - zero_point) along one axis."""
    rank = quantized_data.dim()
    real = quantized_data.to(torch.float32) - along(axis, zero_point, rank)
    return real * along(axis, scale, rank)


@op("constexpr_lut_to_dense")
def constexpr_lut_to_dense(
    indices: Tensor, lut: Tensor, shape: Ints | None = None, vector_axis: int | None = None
) -> Tensor:
    """Indices into a table. iOS 16: packed in bytes, with ``shape``; iOS 18: tables for blocks."""
    if shape is not None:
        packed = indices.to(torch.uint8).numpy()
        bits = int(math.log2(lut.numel()))
        index = unpack_bits(packed, bits, math.prod(shape)).astype(np.int64)
        return lut[torch.from_numpy(index)].reshape(shape)
    return _look_up(indices, lut, vector_axis)


@op("constexpr_sparse_to_dense")
def constexpr_sparse_to_dense(
    nonzero_data: Tensor, mask: Tensor, shape: Ints | None = None
) -> Tensor:
    """The data where the mask is set, zeros elsewhere. iOS 16: a packed mask, with ``shape``."""
    if shape is not None:
        bits = unpack_bits(mask.to(torch.uint8).numpy(), 1, math.prod(shape))
        mask = torch.from_numpy(bits.astype(np.int32)).reshape(shape)
    result = nonzero_data.new_zeros(mask.shape)
    result[mask != 0] = nonzero_data
    return result


@op("constexpr_blockwise_shift_scale")
def constexpr_blockwise_shift_scale(
    data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> Tensor:
    """scale (data - offset), one scale and offset for each block of the data."""
    real = data.to(torch.float32)
    if offset is not None:
        real = real - _spread(offset, data.shape)
    return real * _spread(scale, data.shape)


@op("constexpr_lut_to_sparse")
def constexpr_lut_to_sparse(
    indices_mask: Tensor,
    indices_nonzero_data: Tensor,
    lut: Tensor,
    vector_axis: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``constexpr_lut_to_dense`` of the non-zero data: (the mask, the values there)."""
    indices = constexpr_sparse_to_dense(indices_nonzero_data, indices_mask)
    dense = _look_up(indices, lut, vector_axis)
    mask = indices_mask
    if vector_axis is not None:
        mask = mask.repeat_interleave(lut.shape[-1], vector_axis)
    return mask, dense[mask != 0]


@op("constexpr_sparse_blockwise_shift_scale")
def constexpr_sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``constexpr_blockwise_shift_scale`` of the non-zero data: (the mask, the values there)."""
    data = constexpr_sparse_to_dense(nonzero_data, data_mask)
    return data_mask, constexpr_blockwise_shift_scale(data, scale, offset)[data_mask != 0]


def _look_up(indices: Tensor, lut: Tensor, vector_axis: int | None) -> Tensor:
    """lut is [*blocks, entries, vector]; a vector is laid out along ``vector_axis``."""
    blocks, entries, size = lut.shape[:-2], lut.shape[-2], lut.shape[-1]
    numbers = torch.arange(math.prod(blocks)).reshape(blocks)
    table = _spread(numbers, indices.shape) * entries + indices.to(torch.int64)
    vectors = lut.reshape(-1, size)[table]
    if vector_axis is None or size == 1:
        return vectors.squeeze(-1)
    axis = vector_axis % indices.dim()
    return vectors.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _spread(blocks: Tensor, shape: torch.Size) -> Tensor:
    """Each value repeated over its block, so that the result has ``shape``."""
    for axis, size in enumerate(shape):
        factor = size // blocks.shape[axis]
        if factor > 1:
            blocks = blocks.repeat_interleave(factor, axis)
    return blocks

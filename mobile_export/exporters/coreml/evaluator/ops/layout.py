"""MIL op reference: the tensor_transformation ops that move blocks, windows or whole axes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..table import Ints, Tensor, op

__all__: list[str] = []


@op("depth_to_space")
def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """Channel (row * b + column) * C + c goes to (row, column) of channel c's blocks."""
    n, channels, h, w = x.shape
    b, c = block_size, channels // block_size**2
    return x.reshape(n, b, b, c, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c, h * b, w * b)


@op("space_to_depth")
def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    """The inverse of ``depth_to_space``."""
    n, c, height, width = x.shape
    b, h, w = block_size, height // block_size, width // block_size
    return x.reshape(n, c, h, b, w, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h, w)


@op("pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Channel c * f² + row * f + column goes to (row, column) of channel c's blocks."""
    return F.pixel_shuffle(x, upscale_factor)


@op("pixel_unshuffle")
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of ``pixel_shuffle``."""
    return F.pixel_unshuffle(x, downscale_factor)


@op("space_to_batch")
def space_to_batch(x: Tensor, block_shape: Ints, paddings: Ints) -> Tensor:
    """Pad, then spread the places of a block over the batch, the place being the slow index."""
    top, bottom, left, right = paddings
    x = F.pad(x, (left, right, top, bottom))
    n, c, height, width = x.shape
    rows, columns = block_shape
    h, w = height // rows, width // columns
    blocks = x.reshape(n, c, h, rows, w, columns).permute(3, 5, 0, 1, 2, 4)
    return blocks.reshape(rows * columns * n, c, h, w)


@op("batch_to_space")
def batch_to_space(x: Tensor, block_shape: Ints, crops: Ints) -> Tensor:
    """The inverse of ``space_to_batch``."""
    batch, c, h, w = x.shape
    rows, columns = block_shape
    n = batch // (rows * columns)
    whole = x.reshape(rows, columns, n, c, h, w).permute(2, 3, 4, 0, 5, 1)
    whole = whole.reshape(n, c, h * rows, w * columns)
    top, bottom, left, right = crops
    return whole[:, :, top : h * rows - bottom, left : w * columns - right]


@op("sliding_windows")
def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """All windows along an axis; their elements are the axis after it."""
    axis %= x.dim()
    return x.unfold(axis, size, stride).movedim(-1, axis + 1)


@op("reverse")
def reverse(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Back to front along ``axes``, all of them by default."""
    return x.flip(tuple(range(x.dim())) if axes is None else axes)


@op("reverse_sequence")
def reverse_sequence(x: Tensor, lengths: Ints, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """Sample i of ``batch_axis`` has its first lengths[i] elements along ``seq_axis`` reversed."""
    if seq_axis % x.dim() == batch_axis % x.dim():
        raise ValueError("seq_axis and batch_axis must differ")
    samples = x.movedim((batch_axis, seq_axis), (0, 1))
    flipped = [
        torch.cat([sample[:length].flip(0), sample[length:]])
        for sample, length in zip(samples, lengths, strict=True)
    ]
    return torch.stack(flipped).movedim((0, 1), (batch_axis, seq_axis))

"""Layers that move elements."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from ..proto import FormatError
from ..table import Params, Tensor, Weights, layer

__all__: list[str] = []


@layer("Reshape")
def reshape(x: Tensor, *, params: Params) -> Tensor:
    """From axis ``axis`` on: 0 keeps a size, -1 takes what is left."""
    axis, count = params.integers(2)
    shape = params.counted()
    if params.integer(0):
        raise FormatError("reshapes of type 1 (NHWC) are not covered")
    shape = shape[: len(shape) if count == -1 else count]
    sizes = [x.shape[axis + index] if size == 0 else size for index, size in enumerate(shape)]
    return x.reshape(*x.shape[:axis], *sizes)


@layer("Flatten")
def flatten(x: Tensor, *, params: Params) -> Tensor:
    axis = params.integer()
    return x.reshape(math.prod(x.shape[:axis]), -1)


@layer("Squeeze")
def squeeze(x: Tensor, *, params: Params) -> Tensor:
    for axis in reversed(params.counted()):
        x = x.squeeze(axis)
    return x


@layer("Unsqueeze")
def unsqueeze(x: Tensor, *, params: Params) -> Tensor:
    for axis in params.counted():
        x = x.unsqueeze(axis)
    return x


@layer("Permute")
def permute(x: Tensor, *, params: Params) -> Tensor:
    order = list(params.counted())
    order += [axis for axis in range(x.ndim) if axis not in order]
    return x.permute(order)


@layer("Concat")
def concat(*inputs: Tensor, params: Params) -> Tensor:
    return torch.cat(inputs, params.integer(1))


@layer("SplitV")
def split_sizes(x: Tensor, *, params: Params, outputs: int) -> tuple[Tensor, ...]:
    axis, sizes = params.integer(), params.counted()
    sizes = sizes or (x.shape[axis] // outputs,) * outputs
    return torch.split_with_sizes(x, sizes, axis)


@layer("StridedSlice")
def strided_slice(x: Tensor, *, params: Params) -> Tensor:
    """Every axis from begin to end; an end of 0 is the size."""
    begins, ends, steps = params.counted(), params.counted(), params.counted()
    for axis, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        x = _cut(x, axis, begin, end or x.shape[axis], step)
    return x


@layer("StridedSliceV2")
def strided_slice_v2(x: Tensor, *, params: Params) -> Tensor:
    """Some axes from begin to end."""
    begins, ends, axes = params.counted(), params.counted(), params.counted()
    for axis, begin, end, step in zip(axes, begins, ends, params.counted(), strict=True):
        x = _cut(x, axis, begin, end, step)
    return x


def _cut(x: Tensor, axis: int, begin: int, end: int, step: int) -> Tensor:
    size = x.shape[axis]
    begin = begin + size if begin < 0 else begin
    if step > 0:
        end = end + size if end < 0 else min(end, size)
    else:
        end = -1 if end < -size else end + size if end < 0 else end
    return x.index_select(axis, torch.arange(begin, end, step))


@layer("Pad")
def pad(x: Tensor, *, params: Params) -> Tensor:
    """An image's rows, columns and channels; with a value (0) or by reflection (1)."""
    params.integers(2, 0)
    rows, columns, channels = (params.integers(2) for _ in range(3))
    sides = [*columns, *rows, *channels, 0, 0]
    return _padded(x, sides, params.integer(0), params.number(0.0))


@layer("PadV2")
def pad_v2(x: Tensor, *, params: Params) -> Tensor:
    """Every axis."""
    rank = params.integer()
    before, after = params.integers(rank), params.integers(rank)
    sides = [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]
    return _padded(x, sides, params.integer(0), params.number(0.0))


def _padded(x: Tensor, sides: list[int], mode: int, value: float) -> Tensor:
    if mode == 0:
        return F.pad(x, sides, value=value)
    if mode != 1:
        raise FormatError(f"padding mode {mode} fails on TNN's devices")
    for axis in range(x.ndim):
        before, after = sides[2 * (x.ndim - 1 - axis) :][:2]
        size = x.shape[axis]
        index = torch.arange(-before, size + after).abs()
        x = x.index_select(axis, torch.where(index < size, index, 2 * (size - 1) - index))
    return x


@layer("Tile", "Repeat")
def tile(x: Tensor, *, params: Params) -> Tensor:
    return x.tile(params.rest())


@layer("Expand")
def expand(x: Tensor, *, params: Params) -> Tensor:
    shape = params.counted()
    missing = len(shape) - x.ndim
    x = x.reshape((1,) * missing + tuple(x.shape))
    shape = (1,) * -missing + shape
    return x.expand([max(sizes) for sizes in zip(x.shape, shape, strict=True)])


@layer("Gather")
def gather(*inputs: Tensor, params: Params, weights: Weights) -> Tensor:
    """Slices along an axis; data or indices may be among the weights."""
    axis, data_inside, indices_inside = params.integer(0), params.integer(0), params.integer(1)
    data = weights["data"] if data_inside else inputs[0]
    indices = weights["indices"] if indices_inside else inputs[-1]
    axis %= data.ndim
    indices = indices.long()
    flat = torch.where(indices < 0, indices + data.shape[axis], indices).flatten()
    taken = data.index_select(axis, flat)
    return taken.reshape(*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])


@layer("PixelShuffle")
def pixel_shuffle(x: Tensor, *, params: Params) -> Tensor:
    return F.pixel_shuffle(x, params.integer())


@layer("Reorg")
def reorg(x: Tensor, *, params: Params) -> Tensor:
    """Channels to space (forward) or back; the block is outside of the channel in mode 0."""
    factor, forward, _, mode = params.integers(4, 0)
    n, c, h, w = x.shape
    if forward:
        c, h, w = c // factor**2, h * factor, w * factor
        depth = (factor, factor, c) if mode == 0 else (c, factor, factor)
        order = (0, 3, 4, 1, 5, 2) if mode == 0 else (0, 1, 4, 2, 5, 3)
        return x.reshape(n, *depth, h // factor, w // factor).permute(order).reshape(n, c, h, w)
    blocks = x.reshape(n, c, h // factor, factor, w // factor, factor)
    order = (0, 3, 5, 1, 2, 4) if mode == 0 else (0, 1, 3, 5, 2, 4)
    return blocks.permute(order).reshape(n, c * factor**2, h // factor, w // factor)


@layer("ShuffleChannel")
def shuffle_channel(x: Tensor, *, params: Params) -> Tensor:
    """(groups, channels of one) to (channels of one, groups)."""
    return F.channel_shuffle(x, params.integer(1))

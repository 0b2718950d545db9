"""Values between the pixels of an image, at computed places, as plain PyTorch."""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor
from torch.fx import Node

from ..graph.editor import shape_of
from ..graph.ops import argument

__all__ = [
    "deformable_convolution",
    "grid_sample",
    "is_unusual",
    "roi_align",
    "samples_each_bin_alike",
]

_LINEAR, _NEAREST, _CUBIC = range(3)
_ZEROS, _BORDER, _MIRROR = range(3)
_SLOPE = -0.75
"""Of PyTorch's cubic convolution (Keys 1981, there called a)."""


def is_unusual(node: Node) -> bool:
    """Whether not every format takes a call of `grid_sampler`: three axes, cubic, or mirrored."""
    mode, padding = (argument(node, name) for name in ("interpolation_mode", "padding_mode"))
    return len(shape_of(node)) == 5 or mode == _CUBIC or padding == _MIRROR


def grid_sample(
    x: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """Values between the neighbours of each position: along 2 or 3 axes.

    PyTorch's grid_sampler: positions from -1 to 1, the last axis of ``grid`` is (x, y) or
    (x, y, z); interpolation 0 is linear, 1 nearest, 2 cubic; padding 0 is zeros, 1 the border, 2
    the image mirrored at its edges.
    """
    batch, channels, *sizes = x.shape
    rank = len(sizes)
    if padding_mode == _MIRROR:
        grid = 1 - (torch.remainder(grid + 1, 4) - 2).abs()
        if rank == 2 and interpolation_mode != _CUBIC:
            options = (interpolation_mode, _BORDER, align_corners)
            mirrored: Tensor = torch.ops.aten.grid_sampler(x, grid, *options)
            return mirrored
    places = grid.reshape(batch, 1, -1, rank)
    choices = []
    for axis, size in enumerate(sizes):
        p = places[..., rank - 1 - axis]
        p = (p + 1) * ((size - 1) / 2) if align_corners else ((p + 1) * size - 1) / 2
        shares = _shares(p, size, interpolation_mode, padding_mode)
        choices.append([_inside(*each, size, padding_mode, align_corners) for each in shares])
    flat = x.reshape(batch, channels, -1)
    values = []
    for corner in itertools.product(*choices):
        index, weight = corner[0]
        for (place, share), size in zip(corner[1:], sizes[1:], strict=True):
            index, weight = index * size + place, weight * share
        rows = index.expand(batch, channels, index.shape[-1])
        values.append(torch.gather(flat, 2, rows) * weight)
    result = functools.reduce(torch.add, values)
    return result.reshape(batch, channels, *grid.shape[1:-1])


def _shares(p: Tensor, size: int, mode: int, padding: int) -> list[tuple[Tensor, Tensor]]:
    """The neighbours of places along an axis, whole numbers, and what share each has."""
    if padding != _ZEROS and mode != _CUBIC:
        p = p.clamp(0, size - 1)
    if mode == _NEAREST:
        return [(torch.round(p), torch.ones_like(p))]
    low = torch.floor(p)
    t = p - low
    if mode == _LINEAR:
        return [(low, 1 - t), (low + 1, t)]
    return [
        (low - 1, _far(1 + t)), (low, _near(t)), (low + 1, _near(1 - t)), (low + 2, _far(2 - t))
    ]  # fmt: skip


def _near(t: Tensor) -> Tensor:
    """Cubic convolution up to a distance of 1."""
    return ((_SLOPE + 2) * t - (_SLOPE + 3)) * t * t + 1


def _far(t: Tensor) -> Tensor:
    """Cubic convolution at distances from 1 to 2."""
    return (((t - 5) * t + 8) * t - 4) * _SLOPE


def _inside(
    place: Tensor, share: Tensor, size: int, padding: int, align_corners: bool
) -> tuple[Tensor, Tensor]:
    """The pixel that is taken for a place, as an index, and its share; that of zeros outside is 0.

    Places outside of a mirrored image are at most three pixels away.
    """
    if padding == _MIRROR:
        low, span = (0, size - 1) if align_corners else (-0.5, size)
        if span:
            place = span - (torch.remainder(place - low, 2 * span) - span).abs() + low
    kept = place.clamp(0, size - 1)
    if padding == _ZEROS:
        share = torch.where(place == kept, share, torch.zeros_like(share))
    return kept.to(torch.int64), share


# torchvision::deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias,
#     SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h,
#     SymInt dilation_w, SymInt groups, SymInt offset_groups, bool use_mask) -> Tensor
def deformable_convolution(
    x: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor,
    stride_h: int, stride_w: int, pad_h: int, pad_w: int, dilation_h: int, dilation_w: int,
    groups: int, offset_groups: int, use_mask: bool,
) -> Tensor:  # fmt: skip
    """A convolution whose kernel takes values beside pixels: `grid_sampler`, then a 1x1 kernel.

    Dai et al. 2017, with the mask of Zhu et al. 2019. Element k of the kernel is taken at its pixel
    plus ``offset[:, (g * K + k) * 2 :][:2]`` (rows, columns) for the channels of offset group g;
    outside of the image are zeros. It is multiplied by ``mask[:, g * K + k]``.
    """
    batch, channels, height, width = x.shape
    out_channels, _, kernel_h, kernel_w = weight.shape
    kernel, (rows, columns) = kernel_h * kernel_w, offset.shape[2:]
    images = batch * offset_groups
    # (kernel, rows, columns): where an undeformed kernel takes its values, in pixels
    y = torch.arange(rows) * stride_h - pad_h
    x_ = torch.arange(columns) * stride_w - pad_w
    k = torch.arange(kernel)
    y = (k // kernel_w * dilation_h).view(-1, 1, 1) + y.view(1, -1, 1)
    x_ = (k % kernel_w * dilation_w).view(-1, 1, 1) + x_.view(1, 1, -1)
    moved = offset.reshape(images, kernel, 2, rows, columns)
    # grid_sampler's positions, of which pixel p is at (2 p + 1) / size - 1
    grid = torch.stack(
        [
            (moved[:, :, 1] + x_.to(x.dtype)) * (2 / width) + (1 / width - 1),
            (moved[:, :, 0] + y.to(x.dtype)) * (2 / height) + (1 / height - 1),
        ],
        -1,
    ).reshape(images, kernel * rows, columns, 2)
    images_in = x.reshape(images, channels // offset_groups, height, width)
    taken = torch.ops.aten.grid_sampler(images_in, grid, 0, 0, False)
    taken = taken.reshape(images, channels // offset_groups, kernel, rows * columns)
    if use_mask:
        taken = taken * mask.reshape(images, 1, kernel, rows * columns)
    values = taken.reshape(batch, channels * kernel, rows, columns)
    return torch.conv2d(values, weight.reshape(out_channels, -1, 1, 1), bias, groups=groups)


def samples_each_bin_alike(node: Node) -> bool:
    """Whether a call of `roi_align` takes a number of samples that is given.

    Without, it takes as many as a box is large, which only its numbers say.
    """
    return int(argument(node, "sampling_ratio")) > 0


# torchvision::roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height,
#     SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor
def roi_align(
    x: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int,
    sampling_ratio: int, aligned: bool,
) -> Tensor:  # fmt: skip
    """Means of values at places in boxes (He et al. 2017): `grid_sampler`, then a mean.

    A row of ``rois`` is the image and the box: left, top, right, bottom. Each bin has
    ``sampling_ratio`` places along each axis; those more than a pixel outside of the image are 0.
    """
    batch, channels, height, width = x.shape
    count, each = rois.shape[0], sampling_ratio
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)

    def along(low: Tensor, high: Tensor, bins: int, size: int) -> tuple[Tensor, Tensor]:
        """(boxes, places): where they are in a grid, and 1 or 0."""
        length = high - low if aligned else (high - low).clamp(min=1)
        steps = (torch.arange(bins * each).to(x.dtype) + 0.5) / (bins * each)
        place = low.unsqueeze(1) + length.unsqueeze(1) * steps
        inside = (place >= -1) & (place <= size)
        return (place * 2 + 1) / size - 1, inside.to(x.dtype)

    left, top, right, bottom = corners.unbind(1)
    across, seen_across = along(left, right, pooled_width, width)
    down, seen_down = along(top, bottom, pooled_height, height)
    rows, columns = pooled_height * each, pooled_width * each
    grid = torch.stack(
        [
            across.unsqueeze(1).expand(count, rows, columns),
            down.unsqueeze(2).expand(count, rows, columns),
        ],
        -1,
    )
    seen = seen_down.unsqueeze(2) * seen_across.unsqueeze(1)
    if batch == 1:
        grid, seen = grid.reshape(1, count * rows, columns, 2), seen.reshape(1, 1, -1, columns)
    else:
        x, seen = x.index_select(0, rois[:, 0].to(torch.int64)), seen.unsqueeze(1)
    taken = torch.ops.aten.grid_sampler(x, grid, _LINEAR, _BORDER, False) * seen
    if batch == 1:
        taken = taken.reshape(channels, count, rows, columns).transpose(0, 1)
    return torch.nn.functional.avg_pool2d(taken, each)

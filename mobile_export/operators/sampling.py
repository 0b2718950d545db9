"""Values between the pixels of an image, at computed places, as plain PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

__all__ = ["deformable_convolution", "grid_sample"]


def grid_sample(
    x: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Any:
    """Values between the neighbours of each position: 2 or 3 axes, zeros or the border outside.

    PyTorch's grid_sampler: positions from -1 to 1, the last axis of ``grid`` is (x, y) or
    (x, y, z); interpolation 0 is linear, 1 nearest; padding 0 is zeros, 1 the border.
    """
    if interpolation_mode > 1 or padding_mode > 1:
        return NotImplemented
    batch, channels, *sizes = x.shape
    rank = len(sizes)
    places = grid.reshape(batch, 1, -1, rank)
    choices: list[list[tuple[Tensor, Tensor]]] = []
    for axis, size in enumerate(sizes):
        p = places[..., rank - 1 - axis]
        p = (p + 1) * ((size - 1) / 2) if align_corners else ((p + 1) * size - 1) / 2
        p = p.clamp(0, size - 1) if padding_mode == 1 else p
        low = torch.round(p) if interpolation_mode == 1 else torch.floor(p)
        both = [(low, torch.ones_like(p))] if interpolation_mode == 1 else [
            (low, 1 - (p - low)), (low + 1, p - low)
        ]  # fmt: skip
        choices.append(both)
    result = None
    flat = x.reshape(batch, channels, -1)
    for corner in itertools.product(*choices):
        index, weight = torch.zeros_like(corner[0][0]), torch.ones_like(corner[0][0])
        for (place, share), size in zip(corner, sizes, strict=True):
            kept = place.clamp(0, size - 1)
            inside = torch.where(place == kept, share, torch.zeros_like(share))
            index, weight = index * size + kept, weight * inside
        rows = index.to(torch.int64).expand(batch, channels, index.shape[-1])
        value = torch.gather(flat, 2, rows) * weight
        result = value if result is None else result + value
    assert result is not None
    return result.reshape(batch, channels, *grid.shape[1:-1])


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

"""Lowering of linear sampling at places that are computed from the image.

A linear sample at (x, y) is the sum over all pixels (i, j) of pixel · hat(x - i) · hat(y - j),
hat(t) = max(0, 1 - |t|): at most four are not 0, and outside the image none is, which is PyTorch's
padding with zeros (Jaderberg et al., Spatial Transformer Networks, 2015, equation 5). So samples
are a product of the image with a matrix of (pixels, places), or one with the hats of the rows and
another with those of the columns: whichever needs fewer numbers.
"""

from __future__ import annotations

import math

import numpy as np

from .. import ir
from ..builder import Builder
from ..table import Call
from ..view import View
from .elementwise import activate, binary, unary
from .moving import narrow, reshape
from .products import matmul
from .statistics import reduce

__all__ = ["warped"]

_LARGEST = 1 << 26
"""Elements of the matrix, or between the two products."""
_LINEAR, _ZEROS, _BORDER = 0, 0, 1


def warped(call: Call) -> View:
    """``grid_sample`` of images (N, C, [D,] H, W) at a grid (N, [d,] h, w, axes) that is computed.

    Raises:
        LoweringError: it is not linear, mirrors the image, or is too large.
    """
    x, grid = call.x, call.view(call.get("grid"))
    mode, padding = call.get("interpolation_mode"), call.get("padding_mode")
    if mode != _LINEAR or padding not in (_ZEROS, _BORDER):
        raise call.refuse(
            "at places that are computed, only linear interpolation with zeros or the border "
            "outside has layers",
            "Use mode='bilinear' with padding_mode='zeros' or 'border', or a stored grid.",
        )
    batch, channels, *sizes = x.shape
    places = math.prod(call.shape[2:])
    by_axes = len(sizes) == 2 and channels < sizes[0]
    needed = batch * places * (channels * sizes[1] if by_axes else math.prod(sizes))
    if needed > _LARGEST:
        raise call.refuse(
            f"sampling at {places} places that are computed would need {needed} numbers; "
            f"{_LARGEST} can be",
            "Sample fewer places, or a smaller image.",
        )
    corners, border = bool(call.get("align_corners")), padding == _BORDER
    flat = reshape(call.builder, grid, (batch, places, len(sizes)))
    hats = [
        _hats(call.builder, flat, len(sizes) - 1 - axis, size, corners=corners, border=border)
        for axis, size in enumerate(sizes)
    ]
    sampled = _by_axes if by_axes else _by_pixels
    return reshape(call.builder, sampled(call.builder, x, hats), call.shape)


def _by_axes(builder: Builder, x: View, hats: list[View]) -> View:
    """(N, C, places): a product with the hats of the rows, and a sum with those of the columns."""
    batch, channels, height, width = x.shape
    rows, columns = hats
    places = rows.shape[1]
    flat = reshape(builder, x.permute([0, 2, 1, 3]), (batch, height, channels * width))
    mixed = matmul(builder, rows, flat, (batch, places, channels * width))
    apart = (batch, places, channels, width)
    weights = reshape(builder, columns, (batch, places, 1, width))
    weighted = binary(builder, "mul", reshape(builder, mixed, apart), weights, apart)
    return reduce(builder, "sum", weighted, [3], apart[:3]).permute([0, 2, 1])


def _by_pixels(builder: Builder, x: View, hats: list[View]) -> View:
    """(N, C, places): a product with the matrix of what each place takes of each pixel."""
    batch, channels, *sizes = x.shape
    shares, *others = hats
    places = shares.shape[1]
    for hat in others:
        before, size = shares.shape[2], hat.shape[2]
        left = reshape(builder, shares, (batch, places, before, 1))
        right = reshape(builder, hat, (batch, places, 1, size))
        both = binary(builder, "mul", left, right, (batch, places, before, size))
        shares = reshape(builder, both, (batch, places, before * size))
    image = reshape(builder, x, (batch, channels, math.prod(sizes)))
    return matmul(builder, image, shares.permute([0, 2, 1]), (batch, channels, places))


def _hats(
    builder: Builder, places: View, axis: int, size: int, *, corners: bool, border: bool
) -> View:
    """(N, places, size): how much of each pixel along an axis is in each sample.

    Args:
        places: (N, places, axes) coordinates from -1 to 1.
        axis: of the coordinates: 0 is x, 1 is y.
        size: pixels along it.
        corners: -1 and 1 are the middles of the first and the last pixel, not their outer edges.
        border: places outside are moved to the nearest pixel.
    """
    places = narrow(builder, places, 2, axis, 1)
    shape = places.shape
    places = binary(builder, "mul", places, ((size - 1) if corners else size) / 2, shape)
    places = binary(builder, "add", places, (size - 1) / 2, shape)
    if border:
        places = activate(builder, places, ir.Nonlinearity("clip", 0.0, size - 1.0))
    full = (*shape[:2], size)
    pixels = np.arange(size, dtype=np.float64).reshape(1, 1, size)
    away = unary(builder, "abs", binary(builder, "sub", places, pixels, full))
    left = binary(builder, "sub", 1.0, away, full)
    return activate(builder, left, ir.Nonlinearity("relu"))

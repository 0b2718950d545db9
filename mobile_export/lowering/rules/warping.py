"""Lowering of bilinear sampling at places that are computed from the image.

A bilinear sample at (x, y) is the sum over all pixels (i, j) of pixel · hat(x - i) · hat(y - j),
hat(t) = max(0, 1 - |t|): at most four are not 0, and outside the image none is, which is PyTorch's
padding with zeros. So a sample is a product with the hats of the rows, and another with those of
the columns (Jaderberg et al., Spatial Transformer Networks, 2015, equation 5).
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
"""Elements between the two products."""
_BILINEAR, _ZEROS, _BORDER = 0, 0, 1


def warped(call: Call) -> View:
    """``grid_sample`` of images (N, C, H, W) at a grid (N, h, w, 2) that is computed.

    Raises:
        LoweringError: it is not bilinear, mirrors the image, or has three axes.
    """
    builder, x, grid = call.builder, call.x, call.view(call.get("grid"))
    mode, padding = call.get("interpolation_mode"), call.get("padding_mode")
    if len(x.shape) != 4 or mode != _BILINEAR or padding not in (_ZEROS, _BORDER):
        raise call.refuse(
            "its grid is computed from the image, and it is not bilinear in two axes with zeros or "
            "the border around",
            "Sample with mode='bilinear', padding_mode='zeros' or 'border', or at a stored grid.",
        )
    batch, channels, height, width = x.shape
    places = math.prod(grid.shape[1:3])
    if batch * places * channels * width > _LARGEST:
        raise call.refuse(
            f"its grid is computed from the image, and the sampling of {places} places would need "
            f"{batch * places * channels * width} numbers; {_LARGEST} can be",
            "Sample fewer places or channels, or a smaller image.",
        )
    corners, border = bool(call.get("align_corners")), padding == _BORDER
    rows = _hats(builder, grid, 1, height, corners=corners, border=border)
    columns = _hats(builder, grid, 0, width, corners=corners, border=border)
    flat = reshape(builder, x.permute([0, 2, 1, 3]), (batch, height, channels * width))
    mixed = matmul(builder, rows, flat, (batch, places, channels * width))
    apart = (batch, places, channels, width)
    weights = reshape(builder, columns, (batch, places, 1, width))
    weighted = binary(builder, "mul", reshape(builder, mixed, apart), weights, apart)
    sums = reduce(builder, "sum", weighted, [3], apart[:3])
    return reshape(builder, sums.permute([0, 2, 1]), call.shape)


def _hats(
    builder: Builder, grid: View, axis: int, size: int, *, corners: bool, border: bool
) -> View:
    """(N, places, size): how much of each pixel along an axis is in each sample.

    Args:
        axis: of the coordinates: 0 is x, 1 is y.
        size: pixels along it.
        corners: -1 and 1 are the middles of the first and the last pixel, not their outer edges.
        border: places outside are moved to the nearest pixel.
    """
    shape = (grid.shape[0], math.prod(grid.shape[1:3]), 1)
    places = reshape(builder, narrow(builder, grid, 3, axis, 1), shape)
    places = binary(builder, "mul", places, ((size - 1) if corners else size) / 2, shape)
    places = binary(builder, "add", places, (size - 1) / 2, shape)
    if border:
        places = activate(builder, places, ir.Nonlinearity("clip", 0.0, size - 1.0))
    full = (*shape[:2], size)
    pixels = np.arange(size, dtype=np.float64).reshape(1, 1, size)
    away = unary(builder, "abs", binary(builder, "sub", places, pixels, full))
    left = binary(builder, "sub", 1.0, away, full)
    return activate(builder, left, ir.Nonlinearity("relu"))

"""Lowering of sampling at places that are computed from the image.

A linear sample at (x, y) is the sum over all pixels (i, j) of pixel · hat(x - i) · hat(y - j),
hat(t) = max(0, 1 - |t|): at most four are not 0, and outside the image none is, which is PyTorch's
padding with zeros (Jaderberg et al., Spatial Transformer Networks, 2015, equation 5). So samples
are a product of the image with a matrix of (pixels, places), or one with the hats of the rows and
another with those of the columns: whichever needs fewer numbers. The nearest pixel is the same at
places that are rounded. Cubic convolution (Keys 1981) has another hat, four pixels wide: what it
takes beyond an edge is added to what it takes of the pixel that stands there, mirrored or not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .. import ir
from ..builder import Builder
from ..table import Call
from ..view import View
from .elementwise import activate, binary, unary
from .linear import linear
from .moving import narrow, reshape
from .products import matmul
from .statistics import reduce

__all__ = ["warped"]

_LARGEST = 1 << 26
"""Elements of the matrix, or between the two products."""
_NEAREST, _CUBIC = 1, 2
_BORDER, _MIRROR = 1, 2
_BEYOND = 3
"""Pixels past an edge that a cubic hat may take."""
_SLOPE = -0.75
"""Of PyTorch's cubic convolution (there A; Keys's a)."""


class _Sampling(NamedTuple):
    """How pixels are taken.

    Attributes:
        mode: 0 linear, 1 nearest, 2 cubic.
        padding: outside are 0 zeros, 1 the border, 2 the mirrored image.
        corners: -1 and 1 are the middles of the first and the last pixel, not their outer edges.
    """

    mode: int
    padding: int
    corners: bool


def warped(call: Call) -> View:
    """``grid_sample`` of images (N, C, [D,] H, W) at a grid (N, [d,] h, w, axes) that is computed.

    Raises:
        LoweringError: it is too large.
    """
    x, grid = call.x, call.view(call.get("grid"))
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
    sampling = _Sampling(
        call.get("interpolation_mode"), call.get("padding_mode"), bool(call.get("align_corners"))
    )
    flat = reshape(call.builder, grid, (batch, places, len(sizes)))
    hats = []
    for axis, size in enumerate(sizes):
        along = narrow(call.builder, flat, 2, len(sizes) - 1 - axis, 1)
        hats.append(
            _hats(call.builder, _pixels(call.builder, along, size, sampling), size, sampling)
        )
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


def _pixels(builder: Builder, places: View, size: int, sampling: _Sampling) -> View:
    """Coordinates from -1 to 1 along an axis of ``size`` pixels, in pixels from the first one."""

    def step(op: ir.BinaryOp, left: View | float, right: View | float) -> View:
        return binary(builder, op, left, right, places.shape)

    mode, padding, corners = sampling
    if padding == _MIRROR:  # its image repeats after 4
        moved = step("add", places, 1.0)
        turns = unary(builder, "floor", step("mul", moved, 0.25))
        inside = step("sub", step("sub", moved, step("mul", turns, 4.0)), 2.0)
        places = step("sub", 1.0, unary(builder, "abs", inside))
    places = step("mul", places, ((size - 1) if corners else size) / 2)
    places = step("add", places, (size - 1) / 2)
    if padding == _BORDER or (padding == _MIRROR and mode != _CUBIC):
        past = (
            _BEYOND - 1 if mode == _CUBIC else 0
        )  # from where on a cubic hat takes the edge alone
        places = activate(builder, places, ir.Nonlinearity("clip", -past, size - 1.0 + past))
    return unary(builder, "round", places) if mode == _NEAREST else places


def _hats(builder: Builder, places: View, size: int, sampling: _Sampling) -> View:
    """(N, places, size): how much of each pixel along an axis is in each sample.

    Args:
        places: (N, places, 1), in pixels.
    """
    folded = _folded(size, sampling)
    first = 0 if folded is None else -_BEYOND
    pixels = np.arange(first, size - first, dtype=np.float64).reshape(1, 1, -1)
    full = (*places.shape[:2], pixels.size)
    away = unary(builder, "abs", binary(builder, "sub", places, pixels, full))
    if sampling.mode != _CUBIC:
        left = binary(builder, "sub", 1.0, away, full)
        return activate(builder, left, ir.Nonlinearity("relu"))
    hats = _cubic(builder, away)
    return hats if folded is None else linear(builder, hats, 2, folded, None)


def _cubic(builder: Builder, away: View) -> View:
    """Cubic convolution: one polynomial up to a distance of 1, which is 0 there, and one to 2."""
    near = activate(builder, away, ir.Nonlinearity("clip", 0.0, 1.0))
    far = activate(builder, away, ir.Nonlinearity("clip", 1.0, 2.0))
    polynomials = (
        (near, (_SLOPE + 2, -(_SLOPE + 3), 0.0, 1.0)),
        (far, (_SLOPE, -5 * _SLOPE, 8 * _SLOPE, -4 * _SLOPE)),
    )
    parts = []
    for t, (first, *others) in polynomials:
        value = binary(builder, "mul", t, first, t.shape)
        for place, number in enumerate(others):
            value = binary(builder, "mul", value, t, t.shape) if place else value
            value = binary(builder, "add", value, number, t.shape) if number else value
        parts.append(value)
    return binary(builder, "add", parts[0], parts[1], away.shape)


def _folded(size: int, sampling: _Sampling) -> np.ndarray | None:
    """(size, `_BEYOND` + size + `_BEYOND`): which pixel is taken for each place, where those past
    the edges are taken at all."""
    if sampling.mode != _CUBIC or sampling.padding not in (_BORDER, _MIRROR):
        return None
    places = np.arange(-_BEYOND, size + _BEYOND)
    if sampling.padding == _MIRROR:
        low, span = (0.0, size - 1) if sampling.corners else (-0.5, size)
        places = span - np.abs((places - low) % (2 * span) - span) + low if span else 0 * places
    taken = np.clip(places, 0, size - 1).astype(int)
    return np.asarray(taken == np.arange(size)[:, None], dtype=np.float64)

"""MIL op reference: image_resizing, the ops on regular grids.

Resizing is separable: each axis has a list of sampling points, computed in float64.
"""

from __future__ import annotations

import math

import torch

from ..table import Ints, Tensor, op

__all__ = ["grid", "interpolate"]


def grid(mode: str, size: int, count: int) -> Tensor:
    """``count`` sampling points on an axis of ``size`` pixels (section resize_bilinear)."""
    i = torch.arange(count, dtype=torch.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if count == 1:
            points = torch.full_like(i, (size - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0)
        else:
            points = i * ((size - 1) / (count - 1))
    elif mode == "DEFAULT":
        points = i * (size / count)  # (size - size / count) / (count - 1) is the same
    elif mode == "OFFSET_CORNERS":
        points = (i + 0.5) * (max(1, size - 1) / count)
    elif mode == "UNALIGN_CORNERS":
        points = (i + 0.5) * (size / count) - 0.5
    else:
        raise ValueError(f"there is no sampling mode {mode!r}")
    return points.clamp(0, size - 1)


def interpolate(x: Tensor, axis: int, points: Tensor) -> Tensor:
    """Linear interpolation of one axis at points that lie within it."""
    low = points.floor().to(torch.int64)
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    shape = [1] * x.dim()
    shape[axis] = -1
    weight = (points - low).to(torch.float32).reshape(shape)
    below, above = x.index_select(axis, low), x.index_select(axis, high)
    return below * (1 - weight) + above * weight


def _linear(x: Tensor, mode: str, height: int, width: int) -> Tensor:
    x = interpolate(x, x.dim() - 2, grid(mode, x.shape[-2], height))
    return interpolate(x, x.dim() - 1, grid(mode, x.shape[-1], width))


def _nearest(x: Tensor, axis: int, count: int) -> Tensor:
    """Pixel floor(i size / count), in whole numbers."""
    index = torch.arange(count) * x.shape[axis] // count
    return x.index_select(axis, index)


@op("upsample_nearest_neighbor")
def upsample_nearest_neighbor(
    x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0
) -> Tensor:
    """The last two axes, floor(factor * size) long."""
    x = _nearest(x, x.dim() - 2, _scaled(x.shape[-2], scale_factor_height))
    return _nearest(x, x.dim() - 1, _scaled(x.shape[-1], scale_factor_width))


@op("resize_nearest_neighbor")
def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """The last two axes to a size; the pixel at floor(i * size / target)."""
    x = _nearest(x, x.dim() - 2, target_size_height)
    return _nearest(x, x.dim() - 1, target_size_width)


@op("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """The last two axes, floor(factor * size) long; the grid follows from the sizes alone.

    ``half_pixel_centers`` (iOS 16) is the opposite of ``align_corners`` unless it is given.
    """
    centers = not align_corners if half_pixel_centers is None else half_pixel_centers
    if align_corners and centers:
        raise ValueError("align_corners and half_pixel_centers exclude each other")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if centers else "DEFAULT"
    height = _scaled(x.shape[-2], scale_factor_height)
    width = _scaled(x.shape[-1], scale_factor_width)
    return _linear(x, mode, height, width)


@op("resize_bilinear")
def resize_bilinear(
    x: Tensor,
    target_size_height: int = 1,
    target_size_width: int = 1,
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """The last two axes to a size."""
    return _linear(x, sampling_mode, target_size_height, target_size_width)


@op("resize")
def resize(
    x: Tensor,
    shape: Ints,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """The last ``resized_dims`` axes to the last entries of ``shape``; 0 keeps an axis (iOS 17)."""
    for axis in range(x.dim() - resized_dims, x.dim()):
        count = shape[axis - x.dim()] or x.shape[axis]
        if interpolation_mode == "LINEAR":
            x = interpolate(x, axis, grid(sampling_mode, x.shape[axis], count))
        elif interpolation_mode == "NEAREST_NEIGHBOR" and sampling_mode == "DEFAULT":
            x = _nearest(x, axis, count)
        else:
            raise ValueError(
                f"{interpolation_mode} with sampling mode {sampling_mode} is not defined"
            )
    return x


def _scaled(size: int, factor: float) -> int:
    # A factor such as 7 / 3 is stored as a float32 that may be just below it.
    exact = size * factor
    return round(exact) if math.isclose(exact, round(exact), rel_tol=1e-6) else math.floor(exact)

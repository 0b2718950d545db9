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


def _picks_differ(size: int, count: int) -> bool:
    """Whether the readings of "nearest" pick different pixels: floor, centres, rounded centres."""
    i = range(count)
    centres = [(2 * n + 1) * size / (2 * count) - 0.5 for n in i]
    floors = [n * size // count for n in i]
    nearest = [(2 * n + 1) * size // (2 * count) for n in i]
    return floors != nearest or floors != [max(0, round(point)) for point in centres]


_NEAREST_IS_OPEN = (
    "which pixel is nearest when a size does not grow by a whole factor: coremltools' tests of "
    "resize_nearest_neighbor and of resize differ, and so do frameworks"
)


def _nearest_target_is_open(
    x: Tensor, target_size_height: int, target_size_width: int
) -> str | None:
    counts = (target_size_height, target_size_width)
    pairs = zip(x.shape[-2:], counts, strict=True)
    return _NEAREST_IS_OPEN if any(_picks_differ(*pair) for pair in pairs) else None


def _nearest_scale_is_open(
    x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0
) -> str | None:
    factors = (scale_factor_height, scale_factor_width)
    if all(factor == int(factor) for factor in factors):
        return None
    counts = [_scaled(n, f) for n, f in zip(x.shape[-2:], factors, strict=True)]
    return _nearest_target_is_open(x, counts[0], counts[1])


def _bilinear_scale_is_open(
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    align_corners: bool = True,
    **_: object,
) -> str | None:
    """Whether the grid depends on its being laid by the factor or by the sizes."""
    factors = (scale_factor_height, scale_factor_width)
    pairs = list(zip(x.shape[-2:], factors, strict=True))
    if align_corners or all(abs(n * f - _scaled(n, f)) < 1e-3 for n, f in pairs):
        return None
    return "whether a factor that does not fit the sizes, or the sizes, lay the sampling points"


def _resize_is_open(
    x: Tensor,
    shape: Ints,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> str | None:
    axes = range(x.dim() - resized_dims, x.dim())
    sizes = [(x.shape[axis], shape[axis - x.dim()] or x.shape[axis]) for axis in axes]
    if interpolation_mode == "LINEAR" or all(size == count for size, count in sizes):
        return None
    return _NEAREST_IS_OPEN


@op("upsample_nearest_neighbor", unsettled=_nearest_scale_is_open)
def upsample_nearest_neighbor(
    x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0
) -> Tensor:
    """The last two axes, floor(factor * size) long."""
    x = _nearest(x, x.dim() - 2, _scaled(x.shape[-2], scale_factor_height))
    return _nearest(x, x.dim() - 1, _scaled(x.shape[-1], scale_factor_width))


@op("resize_nearest_neighbor", unsettled=_nearest_target_is_open)
def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """The last two axes to a size; the pixel at floor(i * size / target)."""
    x = _nearest(x, x.dim() - 2, target_size_height)
    return _nearest(x, x.dim() - 1, target_size_width)


@op("upsample_bilinear", unsettled=_bilinear_scale_is_open)
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


@op("resize", unsettled=_resize_is_open)
def resize(
    x: Tensor,
    shape: Ints,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """The last ``resized_dims`` axes to the last entries of ``shape``; 0 keeps an axis (iOS 17).

    Nearest takes the pixel under the centre of the new one, as coremltools' test of it does where
    that of ``resize_nearest_neighbor`` rounds i * size / count down.
    """
    for axis in range(x.dim() - resized_dims, x.dim()):
        count = shape[axis - x.dim()] or x.shape[axis]
        if interpolation_mode == "LINEAR":
            x = interpolate(x, axis, grid(sampling_mode, x.shape[axis], count))
        elif interpolation_mode == "NEAREST_NEIGHBOR" and sampling_mode == "DEFAULT":
            index = (2 * torch.arange(count) + 1) * x.shape[axis] // (2 * count)
            x = x.index_select(axis, index)
        else:
            raise ValueError(
                f"{interpolation_mode} with sampling mode {sampling_mode} is not defined"
            )
    return x


def _scaled(size: int, factor: float) -> int:
    # A factor such as 7 / 3 is stored as a float32 that may be just below it.
    exact = size * factor
    return round(exact) if math.isclose(exact, round(exact), rel_tol=1e-6) else math.floor(exact)

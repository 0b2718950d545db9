"""Lowerings of pools, resizing and sliding windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...graph.ops import as_list
from .. import ir
from ..builder import Builder
from ..table import Call, lowers
from ..view import View
from .elementwise import binary
from .linear import linear
from .moving import concat, narrow, reshape
from .statistics import reduce
from .windows import adaptive_max_by_taps, max_by_taps

__all__: list[str] = []

aten = torch.ops.aten


def _images(builder: Builder, x: View, rank: int) -> ir.Value:
    """(…, C, *spatial) as (… C, *spatial): these layers treat every channel alike."""
    lead = len(x.shape) - rank
    return builder.place(x, list(range(lead)), *[[lead + axis] for axis in range(rank)])


# Pools --------------------------------------------------------------------------------------------


_POOLS: dict[Any, int] = {
    aten.max_pool1d.default: 1,
    aten.max_pool2d.default: 2,
    aten.max_pool2d_with_indices.default: 2,
    aten.avg_pool1d.default: 1,
    aten.avg_pool2d.default: 2,
}


_AVERAGES = (aten.avg_pool1d.default, aten.avg_pool2d.default)


@lowers(*_POOLS)
def _pool(call: Call) -> View | tuple[View, ...]:
    """Ceil mode becomes more padding behind, which a maximum does not see."""
    rank = _POOLS[call.target]
    several = call.target is aten.max_pool2d_with_indices.default
    average = call.target in _AVERAGES
    dilated = not average and set(as_list(call.get("dilation"), rank)) != {1}
    if dilated or (several and call.items - {0}):
        return max_by_taps(call, rank)
    x, shape = call.x, call.shape
    kernel, padding = (tuple(as_list(call.get(n), rank)) for n in ("kernel_size", "padding"))
    stride = tuple(as_list(call.get("stride") or kernel, rank))
    pairs, ceiled = [], False
    for axis in range(rank):
        size, out = x.shape[axis - rank], shape[axis - rank]
        needed = (out - 1) * stride[axis] + kernel[axis] - size - padding[axis]
        ceiled = ceiled or needed > padding[axis]
        pairs.append((padding[axis], max(needed, padding[axis])))
    value = _images(call.builder, x, rank)
    count = average and bool(call.get("count_include_pad")) and any(padding)
    result = call.builder.add(
        ir.Pool,
        [value],
        (value.shape[0], *shape[len(shape) - rank :]),
        mode="avg" if average else "max",
        kernel=kernel,
        stride=stride,
        padding=tuple(pairs),
        count_padding=count,
    )
    view = View.of(result, shape)
    if average:
        view = _with_divisor(call, view, kernel, stride, padding, count=count and ceiled)
    return (view,) if several else view


def _with_divisor(
    call: Call,
    view: View,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    *,
    count: bool,
) -> View:
    """Corrected where torch divides by another number than the layer does.

    With ``count``, the padding counts in the divisor but what ceil mode adds to it does not.
    """
    override = call.get("divisor_override") if call.target is aten.avg_pool2d.default else None
    if override is not None:
        if any(padding) or count:
            raise call.refuse("it has a divisor and padding", "Pad with torch.nn.functional.pad.")
        factor = math.prod(kernel) / override
        return binary(call.builder, "mul", view, factor, view.shape)
    if not count:
        return view
    rank = len(kernel)
    factors = np.ones([1] * len(view.shape))
    for axis in range(rank):
        size, out = call.x.shape[axis - rank], view.shape[axis - rank]
        starts = np.arange(out) * stride[axis] - padding[axis]
        inside = np.minimum(starts + kernel[axis], size + padding[axis]) - starts
        shape = [1] * len(view.shape)
        shape[axis - rank] = out
        factors = factors * (kernel[axis] / inside).reshape(shape)
    return binary(call.builder, "mul", view, factors, view.shape)


@lowers(
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
    aten._adaptive_avg_pool3d.default,
    aten.adaptive_max_pool2d.default,
)
def _adaptive_pool(call: Call) -> View | tuple[View, ...]:
    """An average along each axis is a product with a matrix, a maximum one of slices."""
    x, shape, builder = call.x, call.shape, call.builder
    maximum = call.target is aten.adaptive_max_pool2d.default
    if maximum and call.items - {0}:
        return adaptive_max_by_taps(call, 2)
    ranks = {aten.adaptive_avg_pool1d.default: 1, aten._adaptive_avg_pool3d.default: 3}
    rank = ranks.get(call.target, 2)
    for axis in range(len(shape) - rank, len(shape)):
        size, out = x.shape[axis], shape[axis]
        bounds = [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]
        target = (*x.shape[:axis], out, *x.shape[axis + 1 :])
        if size == out:
            continue
        if out == 1:
            x = reduce(builder, "max" if maximum else "mean", x, [axis], target)
        elif maximum:
            one = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
            parts = [
                reduce(builder, "max", narrow(builder, x, axis, low, high - low), [axis], one)
                for low, high in bounds
            ]
            x = concat(builder, parts, axis, target)
        else:
            matrix = np.zeros((out, size))
            for row, (low, high) in enumerate(bounds):
                matrix[row, low:high] = 1 / (high - low)
            x = linear(builder, x, axis, matrix, None)
    return (x,) if maximum else x


# Resizing -----------------------------------------------------------------------------------------

_RESIZE: dict[Any, tuple[str, Any]] = {
    target: (mode, op)
    for mode, op in (
        ("nearest", aten.upsample_nearest2d),
        ("nearest-exact", aten._upsample_nearest_exact2d),
        ("bilinear", aten.upsample_bilinear2d),
        ("bicubic", aten.upsample_bicubic2d),
        ("bilinear-antialias", aten._upsample_bilinear2d_aa),
        ("bicubic-antialias", aten._upsample_bicubic2d_aa),
    )
    for target in (op.default, op.vec)
}


@lowers(*_RESIZE)
def _resize(call: Call) -> View:
    """As one layer where its positions are those of the layer, else as a matrix per axis."""
    mode, op = _RESIZE[call.target]
    x, builder, shape = call.x, call.builder, call.shape
    sizes, wanted = x.shape[-2:], shape[-2:]
    if sizes == wanted and "antialias" not in mode:
        return x
    corners = "nearest" not in mode and bool(call.get("align_corners"))
    scales = _scales(call)
    whole = all(w % s == 0 for s, w in zip(sizes, wanted, strict=True))
    if mode == "nearest-exact" and whole:
        mode = "nearest"
    usual = all(
        scale is None or abs(size * scale - out) < 1e-9
        for scale, size, out in zip(scales, sizes, wanted, strict=True)
    )
    if mode in ("nearest", "bilinear", "bicubic") and (usual or corners):
        value = _images(builder, x, 2)
        result = builder.add(
            ir.Interp, [value], (value.shape[0], *wanted), mode=mode, align_corners=corners
        )
        return View.of(result, shape)
    for axis in (0, 1):
        matrix = _resize_matrix(op, sizes[axis], wanted[axis], corners, scales[axis], mode)
        x = linear(builder, x, len(shape) - 2 + axis, matrix, None)
    return x


_PER_AXIS: dict[Any, tuple[Any, int]] = {
    getattr(getattr(aten, f"{name}{rank}d"), overload): (one, rank)
    for name, one in (
        ("upsample_nearest", aten.upsample_nearest1d),
        ("_upsample_nearest_exact", aten._upsample_nearest_exact1d),
    )
    for rank in (1, 3)
    for overload in ("default", "vec")
} | {
    op: (aten.upsample_linear1d, rank)
    for rank, packet in ((1, aten.upsample_linear1d), (3, aten.upsample_trilinear3d))
    for op in (packet.default, packet.vec)
}
"""Resizing of one and of three axes: the operator of one axis, and how many there are."""


@lowers(*_PER_AXIS)
def _resize_axes(call: Call) -> View:
    """A product with a stored matrix along each axis, made by the operator of one axis."""
    op, rank = _PER_AXIS[call.target]
    x = call.x
    first = len(x.shape) - rank
    corners = [bool(call.get("align_corners"))] if "align_corners" in call.names else []
    if "scale_factors" in call.names:
        scales = call.get("scale_factors") or [None] * rank
    else:
        scales = [call.get(name) for name in call.names if name.startswith("scales")]
    for i in range(rank):
        size, out = x.shape[first + i], call.shape[first + i]
        units = torch.eye(size, dtype=torch.float64)[None]
        matrix = op.default(units, [out], *corners, scales[i])[0].T.contiguous().numpy()
        if size != out or not np.array_equal(matrix, np.eye(size)):
            x = linear(call.builder, x, first + i, matrix, None)
    return x


def _scales(call: Call) -> tuple[float | None, float | None]:
    if "scale_factors" in call.names:
        given = call.get("scale_factors")
        return (None, None) if given is None else (float(given[0]), float(given[1]))
    return call.get("scales_h"), call.get("scales_w")


def _resize_matrix(
    op: Any, size: int, out: int, corners: bool, scale: float | None, mode: str
) -> np.ndarray:
    """(out, size): what the op does to one axis, taken from the op itself.

    Two columns, because torch 2.14 is wrong for the anti-aliased modes of one column.
    """
    one = torch.eye(size, dtype=torch.float64).reshape(1, size, size, 1).repeat(1, 1, 1, 2)
    args = [] if "nearest" in mode else [corners]
    column = op.default(one, [out, 2], *args, scale, None)
    matrix: np.ndarray = column[0, :, :, 0].T.contiguous().numpy()
    return matrix


# Sliding windows ----------------------------------------------------------------------------------


def _picks(kernel: Sequence[int], channels: int) -> np.ndarray:
    """(C taps, 1, *kernel): for each channel and each element of its window, a 1 in its place."""
    count = math.prod(kernel)
    one = np.eye(count, dtype=np.float32).reshape(count, 1, *kernel)
    return np.tile(one, (channels, 1, *[1] * len(kernel)))


@lowers(aten.im2col.default)
def _im2col(call: Call) -> View:
    """torch.nn.functional.unfold."""
    x, builder = call.x, call.builder
    kernel, dilation, padding, stride = (
        tuple(as_list(call.get(name), 2))
        for name in ("kernel_size", "dilation", "padding", "stride")
    )
    value = _images(builder, x, 2)
    sizes = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(x.shape[-2:], padding, dilation, kernel, stride, strict=True)
    ]
    result = builder.add(
        ir.Unfold,
        [value],
        (value.shape[0] * math.prod(kernel), *sizes),
        kernel=kernel,
        stride=stride,
        padding=tuple((p, p) for p in padding),
        dilation=dilation,
    )
    return View.of(result, call.shape)


@lowers(aten.col2im.default)
def _col2im(call: Call) -> View:
    """torch.nn.functional.fold: a transposed depthwise convolution whose weights, 0 or 1, put each
    element back into its window."""
    x, builder, shape = call.x, call.builder, call.shape
    kernel, dilation, padding, stride = (
        tuple(as_list(call.get(name), 2))
        for name in ("kernel_size", "dilation", "padding", "stride")
    )
    spread = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sizes = [
        (n + 2 * p - r) // s + 1
        for n, p, r, s in zip(shape[-2:], padding, spread, stride, strict=True)
    ]
    images = reshape(builder, x, (*x.shape[:-1], *sizes))
    value = _images(builder, images, 2)
    channels = value.shape[0] // math.prod(kernel)
    extra = [
        n + 2 * p - (m - 1) * s - r
        for n, p, m, s, r in zip(shape[-2:], padding, sizes, stride, spread, strict=True)
    ]
    result = builder.add(
        ir.ConvTranspose,
        [value],
        (channels, *shape[-2:]),
        weight=_picks(kernel, channels),
        bias=None,
        stride=stride,
        padding=tuple((p, p) for p in padding),
        output_padding=tuple(extra),
        dilation=dilation,
        groups=channels,
    )
    return View.of(result, shape)


@lowers(aten.unfold.default)
def _unfold(call: Call) -> View:
    """Tensor.unfold: windows along one axis, their elements on a new last axis."""
    x, builder = call.x, call.builder
    if not x.shape:
        return reshape(builder, x, call.shape)
    axis = call.get("dimension") % len(x.shape)
    size, step = call.get("size"), call.get("step")
    count = (x.shape[axis] - size) // step + 1
    if size == step:
        x = narrow(builder, x, axis, 0, count * step)
        apart = reshape(builder, x, (*x.shape[:axis], count, size, *x.shape[axis + 1 :]))
    else:
        rest = [i for i in range(len(x.shape)) if i != axis]
        value = builder.place(x, rest, [axis])
        result = builder.add(
            ir.Unfold,
            [value],
            (value.shape[0] * size, count),
            kernel=(size,),
            stride=(step,),
            padding=((0, 0),),
            dilation=(1,),
        )
        lead = tuple(x.shape[i] for i in rest)
        inside = View.of(result, (*lead, size, count))
        back = [*range(axis), len(lead) + 1, len(lead), *range(axis, len(lead))]
        apart = inside.permute(back)
    return apart.permute([*range(axis + 1), *range(axis + 2, len(apart.shape)), axis + 1])

"""Convolution, transposed convolution and pooling of (N, C, H, W)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from ..proto import FormatError
from ..table import Params, Tensor, Weights, layer

__all__ = ["Conv", "sums"]

_EXPLICIT, _SAME, _VALID, _SAME_ODD_FIRST = -1, 0, 1, 3
_ACTIVATIONS: dict[int, Callable[[Tensor], Tensor]] = {
    0: lambda x: x,
    1: F.relu,
    2: F.relu6,
    0x100: F.silu,
}
Pair = tuple[int, int]


@dataclass(frozen=True)
class Conv:
    """The parameters of a convolution, in the order of the file."""

    group: int
    input_channels: int
    output_channels: int
    kernel: Pair
    stride: Pair
    pads: Pair
    bias: int
    pad_type: int
    dilation: Pair
    activation: int

    @classmethod
    def read(cls, params: Params) -> Conv:
        integer, pair = params.integer, params.pair
        return cls(
            group=integer(0),
            input_channels=integer(0),
            output_channels=integer(0),
            kernel=pair(0),
            stride=pair(0),
            pads=pair(0),
            bias=integer(0),
            pad_type=integer(0),
            dilation=pair(1),
            activation=integer(0),
        )

    @property
    def extent(self) -> Pair:
        """Rows and columns that the dilated kernel spans."""
        rows, columns = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        return rows, columns


def _activate(x: Tensor, kind: int) -> Tensor:
    """The activation inside of a convolution (``ActivationType``)."""
    if kind not in _ACTIVATIONS:
        raise FormatError(f"activation {kind} is unknown")
    return _ACTIVATIONS[kind](x)


@layer("Convolution")
def convolution(x: Tensor, *, params: Params, weights: Weights) -> Tensor:
    """Cross-correlation; both axes have the dilation of the rows, as on TNN's reference device.

    A dilation above the image's size is refused: TNN's x86 device computes it wrong.
    """
    conv = Conv.read(params)
    return _activate(sums(conv, x, weights), conv.activation)


def sums(conv: Conv, x: Tensor, weights: Weights) -> Tensor:
    """What a convolution computes before its activation."""
    for n, kernel, rate in zip(x.shape[2:], conv.kernel, conv.dilation, strict=True):
        if kernel > 1 and rate > n:
            raise FormatError(f"its dilation is {rate} on {n} positions; TNN is wrong there on x86")
    windows = [
        _windows(n, extent, stride, pad, conv.pad_type)
        for n, extent, stride, pad in zip(
            x.shape[2:], conv.extent, conv.stride, conv.pads, strict=True
        )
    ]
    sides = [
        (before, (count - 1) * stride + extent - n - before)
        for n, extent, stride, (count, before) in zip(
            x.shape[2:], conv.extent, conv.stride, windows, strict=True
        )
    ]
    padded = F.pad(x, [*sides[1], *sides[0]])
    weight = _filter(weights, (conv.output_channels, x.shape[1] // conv.group, *conv.kernel))
    rate = conv.dilation[0]
    bias = weights["bias"].flatten() if conv.bias else None
    return F.conv2d(padded, weight, bias, conv.stride, dilation=rate, groups=conv.group)


def _filter(weights: Weights, shape: tuple[int, ...]) -> Tensor:
    weight = weights["weight"]
    if weight.numel() != math.prod(shape):
        raise FormatError(f"{weight.numel()} weights do not fill {shape}")
    return weight.reshape(shape)


def _windows(size: int, extent: int, stride: int, pad: int, pad_type: int) -> Pair:
    """Number of windows along an axis, and the padding before the first."""
    if pad_type == _EXPLICIT:
        return (size + 2 * pad - extent) // stride + 1, pad
    if pad_type not in (_SAME, _VALID):
        raise FormatError(f"pad type {pad_type} is unknown")
    count = math.ceil((size if pad_type == _SAME else size - extent + 1) / stride)
    total = (count - 1) * stride + extent - size
    return count, int(total / 2)


@layer("Deconvolution")
def deconvolution(x: Tensor, *, params: Params, weights: Weights) -> Tensor:
    """Transposed convolution; positions behind the last one that an input reaches hold the bias."""
    conv = Conv.read(params)
    group = conv.group
    weight = _filter(weights, (x.shape[1], conv.output_channels // group, *conv.kernel))
    full = F.conv_transpose2d(x, weight, None, conv.stride, groups=group, dilation=conv.dilation)
    for axis in (0, 1):
        size = x.shape[axis + 2]
        count, before = _positions(size, full.shape[axis + 2], conv.stride[axis], conv, axis)
        behind = max(before + count - full.shape[axis + 2], 0)
        full = F.pad(full, [0, behind] if axis else [0, 0, 0, behind])
        full = full.narrow(axis + 2, before, count)
    if conv.bias:
        full = full + weights["bias"].reshape(1, -1, 1, 1)
    return _activate(full, conv.activation)


def _positions(size: int, full: int, stride: int, conv: Conv, axis: int) -> Pair:
    """Size of the output along an axis, and how much of the full result is cut off before it."""
    if conv.pad_type == _EXPLICIT:
        return full - 2 * conv.pads[axis], conv.pads[axis]
    extent = conv.extent[axis]
    sizes = {
        _SAME: size * stride,
        _SAME_ODD_FIRST: size * stride,
        _VALID: size * stride + max(extent - stride, 0),
    }
    if conv.pad_type not in sizes:
        raise FormatError(f"pad type {conv.pad_type} is unknown")
    count = sizes[conv.pad_type]
    total = full - count
    if conv.pad_type == _SAME_ODD_FIRST:
        total = max(total, 0)
        return count, total - total // 2
    return count, int(total / 2)


@layer("Pooling")
def pooling(x: Tensor, *, params: Params) -> Tensor:
    """Maximum (0) or average (1); the average leaves padding out; a kernel of 0 is the image."""
    mode: Literal["max", "avg"] = "avg" if params.integer() else "max"
    kernel, stride, pads = params.pair(), params.pair(), params.pair()
    indices = params.pair(-1)
    pad_type, ceil, adaptive = params.integer(0), params.integer(0), params.integer(0)
    size = params.pair(0)
    if adaptive:
        if mode == "max":
            raise FormatError("TNN computes adaptive pooling of averages only")
        return F.adaptive_avg_pool2d(x, size)
    window = [
        x.shape[index] if index != -1 else k or n
        for index, k, n in zip(indices, kernel, x.shape[2:], strict=True)
    ]
    sides = []
    for n, k, s, pad in zip(x.shape[2:], window, stride, pads, strict=True):
        count, before = _pool_windows(n, k, s, pad, pad_type, ceil)
        sides.append((before, (count - 1) * s + k - n - before))
    return _pool(x, mode, window, stride, [*sides[1], *sides[0]])


def _pool_windows(size: int, kernel: int, stride: int, pad: int, pad_type: int, ceil: int) -> Pair:
    if pad_type != _EXPLICIT:
        return _windows(size, kernel, stride, pad, pad_type)
    rounded = math.ceil if ceil else math.floor
    return rounded((size + 2 * pad - kernel) / stride) + 1, pad


def _pool(x: Tensor, mode: str, kernel: list[int], stride: Pair, sides: list[int]) -> Tensor:
    """A window that lies outside of the input altogether has the maximum 0, as in TNN.

    Its average, TNN's sum of nothing divided by no or fewer elements, is refused.
    """
    inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), sides), kernel, stride)
    if mode == "max":
        lowest = torch.finfo(x.dtype).min
        result = F.max_pool2d(F.pad(x, sides, value=lowest), kernel, stride)
        return torch.where(inside > 0, result, 0.0)
    if not bool((inside > 0).all()):
        raise FormatError("an average of a window outside of its input; TNN gives 0 or NaN there")
    return F.avg_pool2d(F.pad(x, sides), kernel, stride) / inside

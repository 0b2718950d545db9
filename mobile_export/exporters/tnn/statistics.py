"""Rules of norms, reductions, pooling and resizing."""

from __future__ import annotations

import math

import numpy as np

from ...lowering import ir
from .elementwise import as_image, pair
from .emit import Blob, Emitter, dims_of, refuse, rule
from .files import FLOAT, Weight
from .movement import pad_image, slice_axis

__all__: list[str] = []

_REDUCE = {
    "sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin",
    "sum_square": "ReduceSumSquare", "l1": "ReduceL1", "l2": "ReduceL2",
}  # fmt: skip
_POOL = {"max": 0, "avg": 1, "mean": 1}
_INTERP = {"nearest": 1, "bilinear": 2, "bicubic": 3}
_LOWEST = float(np.finfo(np.float32).min)
_NO_INDEX = (-1, -1)
_EXPLICIT = -1
_LARGEST = 1


@rule(ir.Softmax)
def _softmax(layer: ir.Softmax, out: Emitter) -> Blob:
    x = out.input(layer)
    axis = x.axis(layer.axis, len(layer.input.shape))
    if axis:
        return out.emit("Softmax", [x], x.dims, axis)
    flat = out.reshape(x, (1, x.dims[0], math.prod(x.dims[1:])))  # ARM has no softmax over a batch
    return out.reshape(out.emit("Softmax", [flat], flat.dims, 1), x.dims)


@rule(ir.LayerNorm)
def _layer_norm(layer: ir.LayerNorm, out: Emitter) -> Blob:
    x = out.input(layer)
    scale, shift = _affine(layer, x.dims[-1])
    blobs = [
        x,
        out.constant(scale, f"{layer.name}.weight"),
        out.constant(shift, f"{layer.name}.bias"),
    ]
    return out.emit("LayerNorm", blobs, x.dims, 1, layer.eps)


def _affine(layer: ir.LayerNorm | ir.GroupNorm, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a norm."""
    scale = np.ones(size) if layer.weight is None else layer.weight
    shift = np.zeros(size) if layer.bias is None else layer.bias
    return scale, shift


@rule(ir.GroupNorm)
def _group_norm(layer: ir.GroupNorm, out: Emitter) -> Blob:
    """An instance norm over groups, then scale and shift: TNN's GroupNorm is wrong on x86."""
    x = as_image(out, out.input(layer), layer.input)
    scale, shift = _affine(layer, x.dims[1])
    if layer.groups == x.dims[1]:
        return _instance_norm(out, x, layer.eps, scale, shift)
    _, channels, height, width = x.dims
    grouped = out.reshape(x, (1, layer.groups, channels // layer.groups * height, width))
    plain = np.ones(layer.groups), np.zeros(layer.groups)
    normed = out.reshape(_instance_norm(out, grouped, layer.eps, *plain), x.dims)
    if layer.weight is None and layer.bias is None:
        return normed
    return out.emit("BatchNormCxx", [normed], x.dims, fields=(Weight(scale), Weight(shift)))


def _instance_norm(out: Emitter, x: Blob, eps: float, scale: np.ndarray, shift: np.ndarray) -> Blob:
    fields = (Weight(scale), Weight(shift))
    return out.emit("InstBatchNormCxx", [x], x.dims, x.dims[1], eps, fields=fields)


@rule(ir.Reduce)
def _reduce(layer: ir.Reduce, out: Emitter) -> Blob:
    x = out.input(layer)
    rank = len(layer.input.shape)
    axes = sorted(x.axis(axis, rank) for axis in layer.axes)
    dims = [1 if axis in axes else size for axis, size in enumerate(x.dims)]
    if layer.op == "prod":
        return _product(out, x, axes)
    if rank == 3 and axes == [2, 3] and layer.op in _POOL:
        return out.emit("Pooling", [x], dims, *_pool_params(layer.op, (0, 0), (1, 1), (0, 0), 0))
    return out.emit(_REDUCE[layer.op], [x], dims, 1, *axes)


def _product(out: Emitter, x: Blob, axes: list[int]) -> Blob:
    """Products by halves: ReduceProd is wrong on x86."""
    for axis in axes:
        size = x.dims[axis]
        while size > 1:
            half = size // 2
            rest = [slice_axis(out, x, axis, size - 1, size)] if size % 2 else []
            low, high = slice_axis(out, x, axis, 0, half), slice_axis(out, x, axis, half, 2 * half)
            x = pair(out, "Mul", low, high)
            if rest:
                x = out.concat([x, *rest], _replaced(x.dims, axis, half + 1), axis)
            size = x.dims[axis]
    return x


def _replaced(dims: ir.Shape, axis: int, size: int) -> ir.Shape:
    return (*dims[:axis], size, *dims[axis + 1 :])


@rule(ir.ArgMax)
def _argmax(layer: ir.ArgMax, out: Emitter) -> Blob:
    x = out.input(layer)
    axis = x.axis(layer.axis, len(layer.input.shape))
    dims = [1 if index == axis else size for index, size in enumerate(x.dims)]
    index = out.emit("ArgMaxOrMin", [x], dims, _LARGEST, axis, 1, 0)
    return out.emit("Cast", [index], dims, FLOAT)  # ARM cannot reshape integers


def _pool_params(
    mode: str, kernel: ir.Shape, stride: ir.Shape, pads: ir.Shape, ceil: int
) -> tuple[int, ...]:
    """Parameters of Pooling; a kernel of 0 is the whole image."""
    kind = _POOL[mode]
    return (kind, *kernel, *stride, *pads, *_NO_INDEX, _EXPLICIT, ceil, 0, 0, 0)


@rule(ir.Pool)
def _pool(layer: ir.Pool, out: Emitter) -> Blob:
    missing = 2 - len(layer.kernel)
    kernel, stride = (1,) * missing + layer.kernel, (1,) * missing + layer.stride
    padding = ((0, 0),) * missing + layer.padding
    shape = layer.input.shape
    x = out.reshape(out.input(layer), (1, shape[0], *(1,) * missing, *shape[1:]))
    size = (1,) * missing + layer.output.shape[1:]
    ceil = _ceil_mode(x.dims[2:], kernel, stride, padding, size)
    counted = layer.mode == "avg" and layer.count_padding and any(map(any, padding))
    if ceil is None and layer.mode == "avg" and not layer.count_padding:
        refuse(
            layer,
            f"its average cannot leave the padding {layer.padding} out",
            "Pad both ends alike, or count the padding (count_include_pad=True).",
        )
    if counted or ceil is None:
        fill = _LOWEST if layer.mode == "max" else 0.0
        x, padding, ceil = pad_image(out, x, padding, value=fill), ((0, 0), (0, 0)), 0
    pads = tuple(before for before, _ in padding)
    params = _pool_params(layer.mode, kernel, stride, pads, ceil)
    return out.emit("Pooling", [x], (1, shape[0], *size), *params)


def _ceil_mode(
    size: ir.Shape, kernel: ir.Shape, stride: ir.Shape, padding: ir.Pairs, wanted: ir.Shape
) -> int | None:
    """The rounding with which TNN, padding both ends alike, makes the wanted number of windows.

    Windows that reach over the end are cut there, so a longer padding behind comes to the same.
    """
    for ceil, rounding in enumerate((math.floor, math.ceil)):
        made = [
            rounding((n + 2 * before - k) / s) + 1
            for n, k, s, (before, _) in zip(size, kernel, stride, padding, strict=True)
        ]
        if tuple(made) == wanted:
            return ceil
    return None


@rule(ir.Interp)
def _interp(layer: ir.Interp, out: Emitter) -> Blob:
    x = out.input(layer)
    height, width = layer.output.shape[1:]
    scales = (height / x.dims[2], width / x.dims[3])
    params = (_INTERP[layer.mode], *scales, int(layer.align_corners), height, width)
    return out.emit("Upsample", [x], dims_of(layer.output.shape), *params)

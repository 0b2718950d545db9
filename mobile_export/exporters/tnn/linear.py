"""Rules of convolutions and matrix products."""

from __future__ import annotations

import math

import numpy as np

from ..layers import ir
from .elementwise import activate
from .emit import Blob, Emitter, dims_of, refuse, rule
from .files import Field, Weight
from .movement import pad_image, slice_axis

__all__: list[str] = []

_EXPLICIT, _SAME, _SAME_TRANSPOSED = -1, 0, 3
"""TNN's ``pad_type``: as given, both ends alike; TensorFlow's SAME; SAME with the odd one first."""


def _flat(layer: ir.Convolution | ir.ConvTranspose) -> tuple[np.ndarray, ir.Pairs, list[ir.Shape]]:
    """Weight, padding and (stride, dilation) of a 1-d or 2-d convolution as of a 2-d one."""
    if len(layer.kernel) > 2:
        refuse(
            layer,
            "its 3-d convolution exists on the reference device only",
            "Use 2-d convolutions.",
        )
    missing = 2 - len(layer.kernel)
    weight = layer.weight.reshape(*layer.weight.shape[:2], *(1,) * missing, *layer.kernel)
    padding = ((0, 0),) * missing + layer.padding
    return weight, padding, [(1,) * missing + item for item in (layer.stride, layer.dilation)]


def _image(layer: ir.Layer, out: Emitter) -> Blob:
    """The input as (1, C, H, W); a line is an image of height 1."""
    shape = layer.input.shape
    dims = (1, shape[0], 1, shape[1]) if len(shape) == 2 else (1, *shape)
    return out.reshape(out.input(layer), dims)


def _params(
    weight: np.ndarray,
    groups: int,
    channels: tuple[int, int],
    stride: ir.Shape,
    pads: tuple[int, int],
    bias: bool,
    pad_type: int,
    dilation: ir.Shape,
) -> tuple[int, ...]:
    kernel = weight.shape[2:]
    return (groups, *channels, *kernel, *stride, *pads, int(bias), pad_type, *dilation, 0)


def _fields(out: Emitter, weight: np.ndarray, bias: np.ndarray | None) -> tuple[Field, ...]:
    kept = () if bias is None else (Weight(bias),)
    return (out.next_name(), len(kept), Weight(weight, half=True), *kept)


@rule(ir.Convolution)
def _convolution(layer: ir.Convolution, out: Emitter) -> Blob:
    weight, padding, (stride, dilation) = _flat(layer)
    dilation = _one_dilation(layer, weight.shape[2:], dilation)
    x = _image(layer, out)
    pads, pad_type = tuple(before for before, _ in padding), _EXPLICIT
    if any(before != after for before, after in padding):
        if _is_same(x.dims[2:], weight.shape[2:], stride, dilation, padding):
            pads, pad_type = (0, 0), _SAME
        else:
            x, pads = pad_image(out, x, padding), (0, 0)
    channels = (weight.shape[1], weight.shape[0])
    dims = (1, weight.shape[0], *(1,) * (2 - len(layer.kernel)), *layer.output.shape[1:])
    result = out.emit(
        "Convolution",
        [x],
        dims,
        *_params(
            weight,
            layer.groups,
            channels,
            stride,
            (pads[0], pads[1]),
            layer.bias is not None,
            pad_type,
            dilation,
        ),
        fields=_fields(out, weight, layer.bias),
    )
    return activate(out, layer.activation, result)


def _one_dilation(layer: ir.Layer, kernel: ir.Shape, dilation: ir.Shape) -> ir.Shape:
    """One dilation for both axes, which is all that TNN's kernels know."""
    used = {rate for rate, size in zip(dilation, kernel, strict=True) if size > 1}
    if len(used) > 1:
        refuse(layer, f"its dilations {dilation} differ", "Use one dilation for both axes.")
    return (used.pop(),) * 2 if used else (1, 1)


def _is_same(
    size: ir.Shape, kernel: ir.Shape, stride: ir.Shape, dilation: ir.Shape, padding: ir.Pairs
) -> bool:
    """Whether TensorFlow's SAME is exactly ``padding``."""
    for n, k, s, d, (before, after) in zip(size, kernel, stride, dilation, padding, strict=True):
        total = max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        if (before, after) != (total // 2, total - total // 2):
            return False
    return True


@rule(ir.ConvTranspose)
def _conv_transpose(layer: ir.ConvTranspose, out: Emitter) -> Blob:
    weight, padding, (stride, dilation) = _flat(layer)
    x = _image(layer, out)
    size = (1,) * (2 - len(layer.kernel)) + layer.output.shape[1:]
    channels = (weight.shape[0] // layer.groups, layer.output.shape[0])
    pads = tuple(before for before, _ in padding)
    full = _full(x, weight, stride, dilation)
    if size == tuple(n - 2 * pad for n, pad in zip(full, pads, strict=True)):
        pad_type = _EXPLICIT
    elif _is_same_transposed(x.dims[2:], size, full, stride, pads):
        pad_type = _SAME_TRANSPOSED
    else:
        x, pads, pad_type = _with_room(out, x, full, size, stride, pads), (0, 0), _EXPLICIT
        full = _full(x, weight, stride, dilation)
    made = size if (pads, pad_type) != ((0, 0), _EXPLICIT) else full
    result = out.emit(
        "Deconvolution",
        [x],
        (1, layer.output.shape[0], *made),
        *_params(
            weight,
            layer.groups,
            channels,
            stride,
            (pads[0], pads[1]),
            layer.bias is not None,
            pad_type,
            dilation,
        ),
        fields=_fields(out, weight, layer.bias),
    )
    for axis, (before, _) in enumerate(padding):
        if made[axis] != size[axis]:
            result = slice_axis(out, result, axis + 2, before, before + size[axis])
    return activate(out, layer.activation, result)


def _full(x: Blob, weight: np.ndarray, stride: ir.Shape, dilation: ir.Shape) -> ir.Shape:
    """Height and width of a transposed convolution before anything is cut off."""
    sizes = zip(x.dims[2:], weight.shape[2:], stride, dilation, strict=True)
    return tuple((n - 1) * s + d * (k - 1) + 1 for n, k, s, d in sizes)


def _is_same_transposed(
    size: ir.Shape, wanted: ir.Shape, full: ir.Shape, stride: ir.Shape, pads: ir.Shape
) -> bool:
    for n, target, whole, s, pad in zip(size, wanted, full, stride, pads, strict=True):
        total = max(whole - target, 0)
        if target != n * s or pad != total - total // 2:
            return False
    return True


def _with_room(
    out: Emitter, x: Blob, full: ir.Shape, size: ir.Shape, stride: ir.Shape, pads: ir.Shape
) -> Blob:
    """``x`` with zeros behind it, so many that the full result reaches the last output."""
    room = [
        max(math.ceil((pad + target - whole) / step), 0)
        for whole, target, step, pad in zip(full, size, stride, pads, strict=True)
    ]
    return pad_image(out, x, ((0, room[0]), (0, room[1]))) if any(room) else x


@rule(ir.Linear)
def _linear(layer: ir.Linear, out: Emitter) -> Blob:
    x = out.input(layer)
    write = _vector if len(layer.input.shape) == 1 else _rows
    return activate(out, layer.activation, write(layer, out, x))


def _vector(layer: ir.Linear, out: Emitter, x: Blob) -> Blob:
    size = layer.weight.shape[0]
    bias = np.zeros(0) if layer.bias is None else layer.bias
    fields = (out.next_name(), Weight(layer.weight, half=True), Weight(bias))
    params = (size, int(layer.bias is not None), 0, 1)
    return out.emit("InnerProduct", [x], (1, size), *params, fields=fields)


def _rows(layer: ir.Linear, out: Emitter, x: Blob) -> Blob:
    """MatMul and Add, which TNN turns into a 1x1 convolution on ARM."""
    weight = Weight(layer.weight.T, half=True)
    result = out.emit("MatMul", [x], dims_of(layer.output.shape), 1, fields=(weight,))
    if layer.bias is None:
        return result
    return out.emit("Add", [result], result.dims, 1, fields=(Weight(layer.bias),))


@rule(ir.MatMul)
def _matmul(layer: ir.MatMul, out: Emitter) -> Blob:
    dims = dims_of(layer.output.shape)
    a, b = layer.inputs
    if b in out.constant_values:
        weight = out.constant_values[b]
        weight = weight.swapaxes(-1, -2) if layer.transpose_b else weight
        shape = dims_of(tuple(weight.shape))
        return out.emit(
            "MatMul", [out.blob(a)], dims, 1, fields=(Weight(weight, shape, half=True),)
        )
    right = out.blob(b)
    if layer.transpose_b:
        *batch, rows, columns = range(len(right.dims))
        right = out.permute(right, (*batch, columns, rows))
    if a in out.constant_values:
        left = Weight(out.constant_values[a], dims_of(a.shape), half=True)
        return out.emit("MatMul", [right], dims, 0, fields=(left,))
    return out.emit("MatMul", [out.blob(a), right], dims, -1)

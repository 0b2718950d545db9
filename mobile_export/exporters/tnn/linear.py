"""Rules of matrix products."""

from __future__ import annotations

import numpy as np

from ...lowering import ir
from .elementwise import activate
from .emit import Blob, Emitter, dims_of, rule
from .files import Weight
from .integers import multiply

__all__: list[str] = []


@rule(ir.Linear)
def _linear(layer: ir.Linear, out: Emitter) -> Blob:
    x = out.input(layer)
    if layer.steps is not None:
        return _of_integers(layer, out, x)
    write = _vector if len(layer.input.shape) == 1 else _rows
    return activate(out, layer.activation, write(layer, out, x))


def _of_integers(layer: ir.Linear, out: Emitter, x: Blob) -> Blob:
    """Rows are a batch, which all of TNN's inner products of integers take."""
    size = layer.weight.shape[0]
    dims = (*x.dims[:1], size)
    params = (size, int(layer.bias is not None), 0, 1)
    result = multiply(out, layer, x, dims, params, layer.weight)
    if layer.activation is None:
        return result
    assert layer.activation.name == "relu"
    assert layer.steps is not None
    assert layer.steps.result is not None
    return out.of_scale(out.emit("QuantizedReLU", [result], dims), layer.steps.result)


def _vector(layer: ir.Linear, out: Emitter, x: Blob) -> Blob:
    size = layer.weight.shape[0]
    bias = np.zeros(0) if layer.bias is None else layer.bias
    fields = (out.next_name(), Weight(layer.weight, half=True), Weight(bias))
    params = (size, int(layer.bias is not None), 0, 1)
    return out.emit("InnerProduct", [x], (1, size), *params, fields=fields)


def _rows(layer: ir.Linear, out: Emitter, x: Blob) -> Blob:
    """MatMul and Add.

    On ARM, TNN would make a 1x1 convolution of the two where the bias has one axis, and move every
    row there and back; for MobileViT-XXS that is two fifths of all instructions.
    """
    weight = Weight(layer.weight.T, half=True)
    dims = dims_of(layer.output.shape)
    result = out.emit("MatMul", [x], dims, 1, fields=(weight,))
    if layer.bias is None:
        return result
    bias = Weight(layer.bias, (1,) * (len(dims) - 1) + dims[-1:])
    return out.emit("Add", [result], dims, 1, fields=(bias,))


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

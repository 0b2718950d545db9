"""Damage to TFLite files, by the classes that flatc made of TFLite's schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from .base import (
    ACTIVATION,
    BIAS,
    CLIPPED,
    DIFFERENCE,
    PADDING,
    RESIZE,
    Site,
    changed_weights,
    moved,
)

__all__ = ["TFLiteEditor"]

_OPS = schema.BuiltinOperator
_FUSED = schema.ActivationFunctionType
_CONVOLUTIONS = {_OPS.CONV_2D: 0, _OPS.DEPTHWISE_CONV_2D: 3, _OPS.TRANSPOSE_CONV: 0}
"""And the axis of their weights along which the filters lie."""

_PRODUCTS = {_OPS.FULLY_CONNECTED: 0}
_FILTER = {_OPS.TRANSPOSE_CONV: (1, 3)}
"""Positions of weights and bias among the inputs; (1, 2) elsewhere."""

_SWAPPED = {
    _OPS.RELU: _OPS.ELU,
    _OPS.RELU6: _OPS.RELU,
    _OPS.LOGISTIC: _OPS.TANH,
    _OPS.HARD_SWISH: _OPS.RELU,
    _OPS.TANH: _OPS.LOGISTIC,
    _OPS.ELU: _OPS.RELU,
}
_TYPES = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.FLOAT16: "<f2"}
_INTEGERS = {schema.TensorType.INT32: "<i4", schema.TensorType.INT64: "<i8"}


class TFLiteEditor:
    """One .tflite file with one subgraph."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()

    def _read(self) -> Any:
        return flatbuffer_utils.read_model_from_bytearray(bytearray(self._content))

    def sites(self) -> Iterator[Site]:
        model = self._read()
        graph = model.subgraphs[0]
        codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
        kinds = [codes[op.opcodeIndex] for op in graph.operators]
        widened = {  # float16 weights, by the tensor that holds them as float32
            op.outputs[0]: op.inputs[0]
            for op, kind in zip(graph.operators, kinds, strict=True)
            if kind == _OPS.DEQUANTIZE
        }
        weighted = _CONVOLUTIONS if set(kinds) & set(_CONVOLUTIONS) else _PRODUCTS
        for index, (op, kind) in enumerate(zip(graph.operators, kinds, strict=True)):
            inputs = [widened.get(i, i) for i in op.inputs]
            name = graph.tensors[op.outputs[0]].name.decode()[-60:]
            if kind in weighted:
                yield from _weights(model, f"{index} {name}", inputs, kind, weighted[kind])
            if kind in (_OPS.PAD, _OPS.PADV2):
                yield from _padding(model, f"{index} {name}", inputs[1])
            if kind == _OPS.ADD and _are_computed(model, inputs):
                yield Site(DIFFERENCE, f"{index} {name}", _subtracted(index))
            yield from _options(index, f"{index} {name}", op.builtinOptions, kind)

    def write(self, site: Site, path: Path) -> None:
        model = self._read()
        site.edit(model)
        path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _array(model: Any, tensor: int, types: dict[Any, str]) -> np.ndarray | None:
    """A stored tensor; None for one that is computed, or of another type."""
    facts = model.subgraphs[0].tensors[tensor]
    data = model.buffers[facts.buffer].data
    if data is None or not len(data) or facts.type not in types:
        return None
    content = np.frombuffer(bytes(data), types[facts.type])
    return content.reshape(tuple(int(n) for n in facts.shape))


def _stored(
    tensor: int, types: dict[Any, str], change: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        old = _array(model, tensor, types)
        assert old is not None
        new = np.ascontiguousarray(change(old)).astype(old.dtype)
        buffer = model.buffers[model.subgraphs[0].tensors[tensor].buffer]
        buffer.data = new.reshape(-1).view(np.uint8)

    return edit


def _weights(model: Any, name: str, inputs: list[int], kind: int, axis: int) -> Iterator[Site]:
    weights, bias = _FILTER.get(kind, (1, 2))
    if _array(model, inputs[weights], _TYPES) is not None:
        for change_kind, change in changed_weights(axis).items():
            yield Site(change_kind, name, _stored(inputs[weights], _TYPES, change))
    held = bias < len(inputs) and inputs[bias] >= 0
    if held and _array(model, inputs[bias], _TYPES) is not None:
        yield Site(BIAS, name, _stored(inputs[bias], _TYPES, np.zeros_like))


def _padding(model: Any, name: str, tensor: int) -> Iterator[Site]:
    pads = _array(model, tensor, _INTEGERS)
    if pads is None:
        return
    for axis in range(len(pads)):
        pair = moved(int(pads[axis, 0]), int(pads[axis, 1]))
        if pair is not None:
            new = pads.copy()
            new[axis] = pair
            edit = _stored(tensor, _INTEGERS, lambda old, new=new: new)
            yield Site(PADDING, f"{name}: {new.tolist()}", edit)


def _options(index: int, name: str, options: Any, kind: int) -> Iterator[Site]:
    fused = getattr(options, "fusedActivationFunction", _FUSED.NONE)
    if fused in (_FUSED.RELU, _FUSED.RELU6, _FUSED.RELU_N1_TO_1):
        other = _FUSED.NONE if fused == _FUSED.RELU else _FUSED.RELU
        yield Site(ACTIVATION, f"{name}: fused", _set(index, fusedActivationFunction=other))
    if fused == _FUSED.RELU:
        edit = _set(index, fusedActivationFunction=_FUSED.RELU6)
        yield Site(CLIPPED, f"{name}: fused", edit)
    if kind == _OPS.RELU:
        yield Site(CLIPPED, name, _replaced(index, _OPS.RELU6))
    if kind == _OPS.GELU:
        yield Site(ACTIVATION, name, _set(index, approximate=not options.approximate))
    if kind in _SWAPPED:
        yield Site(ACTIVATION, name, _replaced(index, _SWAPPED[kind]))
    if kind in (_OPS.RESIZE_BILINEAR, _OPS.RESIZE_NEAREST_NEIGHBOR):
        half, corners = options.halfPixelCenters, options.alignCorners
        to = {"halfPixelCenters": not half, "alignCorners": False}
        yield Site(RESIZE, f"{name}: centres", _set(index, **to))
        to = {"halfPixelCenters": corners, "alignCorners": not corners}
        yield Site(RESIZE, f"{name}: corners", _set(index, **to))


def _are_computed(model: Any, inputs: list[int]) -> bool:
    return all(_array(model, tensor, _TYPES) is None for tensor in inputs)


def _subtracted(index: int) -> Callable[[Any], None]:
    """The activation that is fused into the sum stays."""
    replaced = _replaced(index, _OPS.SUB)

    def edit(model: Any) -> None:
        options = schema.SubOptionsT()
        operator = model.subgraphs[0].operators[index]
        options.fusedActivationFunction = operator.builtinOptions.fusedActivationFunction
        replaced(model)
        operator.builtinOptions = options
        operator.builtinOptionsType = schema.BuiltinOptions.SubOptions

    return edit


def _set(index: int, **values: Any) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        for key, value in values.items():
            setattr(model.subgraphs[0].operators[index].builtinOptions, key, value)

    return edit


def _replaced(index: int, kind: int) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), 1
        model.operatorCodes.append(code)
        operator = model.subgraphs[0].operators[index]
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.builtinOptions, operator.builtinOptionsType = None, 0

    return edit

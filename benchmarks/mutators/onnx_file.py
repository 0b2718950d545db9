"""Damage to ONNX files, by the protobuf library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from .base import (
    ACTIVATION,
    BIAS,
    CLIPPED,
    DIFFERENCE,
    EPSILON,
    PADDING,
    RESIZE,
    Site,
    changed_weights,
    moved,
)

__all__ = ["OnnxEditor"]

_CONVOLUTIONS = {"Conv": 0, "ConvTranspose": 1}
"""And the axis of their weights along which the filters lie."""

_PRODUCTS = {"Gemm": 0, "MatMul": 1}
_SWAPPED = {
    "Relu": ("LeakyRelu", {}),
    "HardSwish": ("Mish", {}),
    "Sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "HardSigmoid": ("Sigmoid", {}),
    "Tanh": ("Softsign", {}),
    "Erf": ("Tanh", {}),
    "Elu": ("Selu", {}),
    "Softplus": ("Relu", {}),
    "LeakyRelu": ("Relu", {}),
    "Mish": ("HardSwish", {}),
}


class OnnxEditor:
    """One .onnx file whose weights are inside."""

    def __init__(self, path: Path) -> None:
        self._model = onnx.load(str(path))

    def sites(self) -> Iterator[Site]:
        graph = self._model.graph
        stored = {tensor.name for tensor in graph.initializer}
        types = {node.op_type for node in graph.node}
        weighted = _CONVOLUTIONS if types & set(_CONVOLUTIONS) else _PRODUCTS
        for index, node in enumerate(graph.node):
            if node.op_type in weighted and node.input[1] in stored:
                yield from _weights(index, node, weighted[node.op_type], stored)
            yield from _attributes(index, node)
            if node.op_type in _SWAPPED:
                new, values = _SWAPPED[node.op_type]
                where = f"{node.name}: {node.op_type} becomes {new}"
                yield Site(ACTIVATION, where, _replaced(index, new, values))
            if node.op_type == "Relu":
                yield Site(CLIPPED, node.name, _clipped(index))
            if node.op_type == "Add" and not stored & set(node.input):
                yield Site(DIFFERENCE, node.name, _replaced(index, "Sub", {}))

    def write(self, site: Site, path: Path) -> None:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        site.edit(model)
        onnx.save(model, str(path))


def _weights(index: int, node: Any, axis: int, stored: set[str]) -> Iterator[Site]:
    for kind, change in changed_weights(axis).items():
        yield Site(kind, node.name, _stored(node.input[1], change))
    if len(node.input) > 2 and node.input[2] in stored:
        yield Site(BIAS, node.name, _stored(node.input[2], np.zeros_like))


def _attributes(index: int, node: Any) -> Iterator[Site]:
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if "epsilon" in values:
        yield Site(EPSILON, node.name, _set(index, epsilon=values["epsilon"] * 10))
    if node.op_type == "Resize":
        mode = b"linear" if values.get("mode", b"nearest") == b"nearest" else b"nearest"
        yield Site(RESIZE, f"{node.name}: {mode.decode()}", _set(index, mode=mode))
        if values.get("mode") == b"linear":
            corners = values.get("coordinate_transformation_mode") == b"align_corners"
            to = b"half_pixel" if corners else b"align_corners"
            edit = _set(index, coordinate_transformation_mode=to)
            yield Site(RESIZE, f"{node.name}: {to.decode()}", edit)
    if node.op_type == "Gelu":
        other = b"none" if values.get("approximate") == b"tanh" else b"tanh"
        yield Site(ACTIVATION, f"{node.name}: {other.decode()}", _set(index, approximate=other))
    pads = list(values.get("pads", ()))
    for axis in range(len(pads) // 2):
        after = axis + len(pads) // 2
        pair = moved(pads[axis], pads[after])
        if pair is not None:
            new = list(pads)
            new[axis], new[after] = pair
            yield Site(PADDING, f"{node.name}: {new}", _set(index, pads=new))


def _stored(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        (tensor,) = (each for each in model.graph.initializer if each.name == name)
        value = np.ascontiguousarray(change(numpy_helper.to_array(tensor)))
        tensor.CopyFrom(numpy_helper.from_array(value, name))

    return edit


def _set(index: int, **values: Any) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        node = model.graph.node[index]
        kept = [attribute for attribute in node.attribute if attribute.name not in values]
        made = [onnx.helper.make_attribute(name, value) for name, value in values.items()]
        del node.attribute[:]
        node.attribute.extend([*kept, *made])

    return edit


def _clipped(index: int) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        node = model.graph.node[index]
        node.op_type = "Clip"
        for name, value in {"clipped.low": 0.0, "clipped.high": 6.0}.items():
            node.input.append(name)
            tensor = numpy_helper.from_array(np.array(value, np.float32), name)
            model.graph.initializer.append(tensor)

    return edit


def _replaced(index: int, op_type: str, values: dict[str, float]) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        node = model.graph.node[index]
        node.op_type = op_type
        del node.attribute[:]
        node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in values.items())

    return edit

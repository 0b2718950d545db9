"""Damage to TNN's two files: words of the text, and arrays in their place in the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobile_export.exporters.tnn.evaluator.proto import LayerText, parse_proto
from mobile_export.exporters.tnn.evaluator.weights import parse_model

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
    stored,
)

__all__ = ["TnnEditor"]

_CONVOLUTIONS = {"Convolution", "Deconvolution"}
_PRODUCTS = {"InnerProduct", "MatMul"}
_SWAPPED: dict[str, tuple[str, list[str]]] = {
    "ReLU": ("Elu", ["1.0"]),
    "Relu": ("Elu", ["1.0"]),
    "ReLU6": ("ReLU", []),
    "Clip": ("ReLU", []),
    "Sigmoid": ("HardSigmoid", ["0.2", "0.5"]),
    "HardSigmoid": ("Sigmoid", []),
    "HardSwish": ("Swish", []),
    "Swish": ("ReLU", []),
    "GELU": ("Swish", []),
    "Tanh": ("Sigmoid", []),
    "Elu": ("ReLU", []),
    "Erf": ("Tanh", []),
    "Softplus": ("ReLU", []),
}
_EPSILONS = {"LayerNorm": 1, "GroupNorm": 1, "InstBatchNormCxx": 1, "Normalize": 1}
"""Position among the parameters."""

_EXPLICIT, _SAME = "-1", "0"


@dataclass
class _Model:
    lines: list[str]
    weights: np.ndarray
    """The bytes of the ``.tnnmodel`` file."""


class TnnEditor:
    """A .tnnproto file and its .tnnmodel."""

    def __init__(self, path: Path) -> None:
        self._text = path.read_text()
        self._content = path.with_suffix(".tnnmodel").read_bytes()
        self._layers = parse_proto(self._text).layers
        self._arrays = _places(self._content)

    def sites(self) -> Iterator[Site]:
        lines = self._text.splitlines()
        types = {layer.type for layer in self._layers}
        weighted = _CONVOLUTIONS if types & _CONVOLUTIONS else _PRODUCTS
        for layer in self._layers:
            (line,) = (
                i for i, text in enumerate(lines) if text.startswith(f'"{layer.type} {layer.name} ')
            )
            held = self._arrays.get(layer.name, {})
            if layer.type in weighted and "weight" in held:
                filters = int(layer.params[2]) if layer.type in _CONVOLUTIONS else 1
                if layer.type == "Deconvolution":
                    filters = 1
                for kind, change in changed_weights(0 if filters > 1 else 1).items():
                    yield Site(kind, layer.name, stored(held["weight"], filters, change))
                if "bias" in held and held["bias"][1]:
                    yield Site(BIAS, layer.name, stored(held["bias"], 1, np.zeros_like))
            yield from _words(line, layer)

    def write(self, site: Site, path: Path) -> None:
        weights = np.frombuffer(bytearray(self._content), np.uint8)
        model = _Model(self._text.splitlines(), weights)
        site.edit(model)
        path.write_text("\n".join(model.lines) + "\n")
        path.with_suffix(".tnnmodel").write_bytes(model.weights.tobytes())


def _places(content: bytes) -> dict[str, dict[str, tuple[int, int, str]]]:
    """Of each layer's arrays, which are views of the file: (offset, bytes, NumPy's type)."""
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]

    def place(array: np.ndarray) -> tuple[int, int, str]:
        return array.__array_interface__["data"][0] - start, array.nbytes, array.dtype.str

    layers = parse_model(content).layers
    return {
        name: {key: place(array) for key, array in arrays.items()}
        for name, arrays in layers.items()
    }


def _words(line: int, layer: LayerText) -> Iterator[Site]:
    name, params = layer.name, list(layer.params)
    position = _EPSILONS.get(layer.type)
    if position is not None and position < len(params):
        new = [*params]
        new[position] = repr(float(params[position]) * 10)
        yield Site(EPSILON, name, _line(line, layer, layer.type, new))
    if layer.type in _SWAPPED and len(layer.inputs) == 1:
        kind, numbers = _SWAPPED[layer.type]
        yield Site(ACTIVATION, f"{name}: {kind}", _line(line, layer, kind, numbers))
    if layer.type in ("ReLU", "Relu"):
        yield Site(CLIPPED, name, _line(line, layer, "ReLU6", []))
    if layer.type == "Add" and len(layer.inputs) == 2:
        yield Site(DIFFERENCE, name, _line(line, layer, "Sub", params))
    if layer.type == "Upsample":
        mode = "1" if params[0] != "1" else "2"
        edit = _line(line, layer, layer.type, [mode, *params[1:]])
        yield Site(RESIZE, f"{name}: mode {mode}", edit)
        if params[0] != "1" and len(params) > 3:
            corners = "0" if params[3] == "1" else "1"
            new = [*params[:3], corners, *params[4:]]
            yield Site(RESIZE, f"{name}: corners {corners}", _line(line, layer, layer.type, new))
    if layer.type in _CONVOLUTIONS and params[10] in (_EXPLICIT, _SAME):
        yield from _convolution(line, layer, params)
    if layer.type in ("Pad", "PadV2"):
        yield from _pads(line, layer, params)


def _convolution(line: int, layer: LayerText, params: list[str]) -> Iterator[Site]:
    """Padding is the same at both ends, or TensorFlow's SAME: with a stride of 2 the first lies
    one row off the second where the size is even; else it is made one more."""
    stride, pads = params[5:7], params[7:9]
    if params[10] == _EXPLICIT and "2" in stride and any(int(pad) for pad in pads):
        new = [*params[:7], "0", "0", params[9], _SAME, *params[11:]]
        yield Site(PADDING, f"{layer.name}: SAME", _line(line, layer, layer.type, new))


def _pads(line: int, layer: LayerText, params: list[str]) -> Iterator[Site]:
    rank = int(params[0]) if layer.type == "PadV2" else 2
    for axis in range(rank):
        if layer.type == "PadV2":
            first, last = 1 + axis, 1 + rank + axis
        else:  # two numbers that are not read, then pairs of rows and columns
            first, last = 2 + 2 * axis, 3 + 2 * axis
        pair = moved(int(params[first]), int(params[last]))
        if pair is not None:
            new = [*params]
            new[first], new[last] = str(pair[0]), str(pair[1])
            yield Site(PADDING, f"{layer.name}: {new}", _line(line, layer, layer.type, new))


def _line(line: int, layer: LayerText, kind: str, params: list[str]) -> Callable[[Any], None]:
    def edit(model: _Model) -> None:
        counts = [str(len(layer.inputs)), str(len(layer.outputs))]
        words = [kind, layer.name, *counts, *layer.inputs, *layer.outputs, *params]
        model.lines[line] = f'"{" ".join(words)} ,"'

    return edit

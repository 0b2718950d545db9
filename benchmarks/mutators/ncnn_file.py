"""Damage to ncnn's two files: the text of layers, and their weights one behind the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mobile_export.exporters.ncnn.reader import Layer, _sizes, param_text, read_param

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

__all__ = ["NcnnEditor"]

_CONVOLUTIONS = {"Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise"}
_PRODUCTS = {"InnerProduct", "Gemm"}
_SWAPPED: dict[str, tuple[str, dict[int, str]]] = {
    "ReLU": ("ReLU", {0: "0.01"}),
    "Swish": ("HardSwish", {0: "0.2", 1: "0.5"}),
    "HardSwish": ("Swish", {}),
    "Sigmoid": ("HardSigmoid", {0: "0.2", 1: "0.5"}),
    "HardSigmoid": ("Sigmoid", {}),
    "Clip": ("ReLU", {}),
    "TanH": ("Sigmoid", {}),
    "ELU": ("ReLU", {}),
    "Mish": ("Swish", {}),
    "Erf": ("TanH", {}),
    "Softplus": ("ReLU", {}),
}
_EPSILONS = {"LayerNorm": 1, "GroupNorm": 2, "InstanceNorm": 1, "BatchNorm": 1, "Normalize": 2}
_PADS = {"Convolution": ((4, 15), (14, 16)), "Pooling": ((3, 14), (13, 15)),
         "Padding": ((2, 3), (0, 1)), "Deconvolution": ((4, 15), (14, 16))}  # fmt: skip
"""Params of (before, after), of columns and rows; one that is not there is as the first is."""

_FLOAT16 = 0x01306B47


@dataclass
class _Model:
    layers: list[Layer]
    weights: np.ndarray
    """The bytes of the ``.bin`` file."""


class NcnnEditor:
    """A .param file and its .bin."""

    def __init__(self, path: Path) -> None:
        self._text = path.read_text("ascii")
        self._layers = read_param(path)
        self._weights = path.with_suffix(".bin").read_bytes()
        self._arrays = _places(self._layers, self._weights)

    def sites(self) -> Iterator[Site]:
        types = {layer.type for layer in self._layers}
        weighted = _CONVOLUTIONS if types & _CONVOLUTIONS else _PRODUCTS
        for index, layer in enumerate(self._layers):
            places = self._arrays[index]
            if layer.type in weighted and places:
                filters = layer.number(0) if layer.type != "Gemm" else layer.number(8)
                for kind, change in changed_weights(0).items():
                    yield Site(kind, layer.name, stored(places[0], filters, change))
                biased = layer.number(1 if layer.type == "InnerProduct" else 5)
                if biased and layer.type != "Gemm":
                    yield Site(BIAS, layer.name, stored(places[1], 1, np.zeros_like))
            yield from _params(index, layer)

    def write(self, site: Site, path: Path) -> None:
        model = _Model(list(self._layers), np.frombuffer(bytearray(self._weights), np.uint8))
        site.edit(model)
        same = model.layers == list(self._layers)
        path.write_text(self._text if same else param_text(model.layers), encoding="ascii")
        path.with_suffix(".bin").write_bytes(model.weights.tobytes())


def _places(layers: tuple[Layer, ...], content: bytes) -> list[list[tuple[int, int, str]]]:
    """Of each layer's arrays: (offset, bytes, NumPy's type)."""
    found, position = [], 0
    for layer in layers:
        places = []
        for count, flagged in _sizes(layer) or []:
            kind = "<f4"
            if flagged:
                half = int.from_bytes(content[position : position + 4], "little") == _FLOAT16
                kind, position = ("<f2" if half else "<f4"), position + 4
            size = count * np.dtype(kind).itemsize
            places.append((position, size, kind))
            position += size + (-size % 4 if flagged else 0)
        found.append(places)
    assert position == len(content), "the weights are not those of the layers"
    return found


def _params(index: int, layer: Layer) -> Iterator[Site]:
    name = layer.name
    if layer.type in _EPSILONS and _EPSILONS[layer.type] in layer.params:
        key = _EPSILONS[layer.type]
        value = float(layer.params[key]) * 10
        yield Site(EPSILON, name, _set(index, {key: repr(value)}))
    if layer.type in _SWAPPED:
        new, params = _SWAPPED[layer.type]
        yield Site(ACTIVATION, f"{name}: {new} {params}", _replaced(index, new, params))
    if layer.type == "ReLU" and not float(layer.params.get(0, "0")):
        yield Site(CLIPPED, name, _replaced(index, "Clip", {0: "0", 1: "6"}))
    if layer.number(9) == 1 and layer.type in _CONVOLUTIONS | {"InnerProduct"}:
        yield Site(CLIPPED, f"{name}: fused", _set(index, {9: "3"}, "-23310=2,0,6"))
    if layer.type == "BinaryOp" and not layer.number(0) and len(layer.inputs) == 2:
        yield Site(DIFFERENCE, name, _set(index, {0: "1"}))
    if layer.type == "GELU":
        yield Site(ACTIVATION, name, _set(index, {0: str(1 - layer.number(0))}))
    if layer.number(9) == 1 and layer.type in _CONVOLUTIONS | {"InnerProduct"}:
        yield Site(ACTIVATION, f"{name}: slope 0.01", _set(index, {9: "2"}, "-23310=1,1e-2"))
    if layer.number(9) == 6 and layer.type in _CONVOLUTIONS | {"InnerProduct"}:
        edit = _set(index, {9: "6"}, "-23310=2,2e-1,5e-1")
        yield Site(ACTIVATION, f"{name}: hard swish of 0.2", edit)
    if layer.type == "Interp":
        other = "1" if layer.number(0) != 1 else "2"
        yield Site(RESIZE, f"{name}: type {other}", _set(index, {0: other}))
        if layer.number(0) != 1:
            corners = str(1 - layer.number(6))
            yield Site(RESIZE, f"{name}: corners {corners}", _set(index, {6: corners}))
    sides = _sides(layer)
    for first, last in _PADS.get(_plain(layer), ()):
        pair = moved(sides[first], sides[last]) if min(sides.values()) >= 0 else None
        if pair is not None:
            new = {
                key: str(value) for key, value in {**sides, first: pair[0], last: pair[1]}.items()
            }
            yield Site(PADDING, f"{name}: {pair}", _set(index, new))


def _plain(layer: Layer) -> str:
    return layer.type.replace("DepthWise", "")


def _sides(layer: Layer) -> dict[int, int]:
    """Padding by the number of its param; a side that is not said is as ncnn takes it."""
    if _plain(layer) not in _PADS:
        return {}
    (left, right), (top, bottom) = _PADS[_plain(layer)]
    if layer.type == "Padding":
        return {key: layer.number(key) for key in (left, right, top, bottom)}
    x = layer.number(left)
    y = layer.number(top, x)
    return {left: x, right: layer.number(right, x), top: y, bottom: layer.number(bottom, y)}


def _set(index: int, params: dict[int, str], *arrays: str) -> Callable[[Any], None]:
    def edit(model: _Model) -> None:
        layer = model.layers[index]
        keys = {*map(str, params), *(word.partition("=")[0] for word in arrays)}
        kept = [word for word in layer.words if word.partition("=")[0] not in keys]
        made = [f"{key}={value}" for key, value in params.items()]
        model.layers[index] = replace(layer, words=(*kept, *made, *arrays))

    return edit


def _replaced(index: int, type_: str, params: dict[int, str]) -> Callable[[Any], None]:
    def edit(model: _Model) -> None:
        layer = model.layers[index]
        mask = [word for word in layer.words if word.startswith("31=")]
        words = (*(f"{key}={value}" for key, value in params.items()), *mask)
        model.layers[index] = replace(layer, type=type_, words=words)

    return edit

"""From a layer graph to TNN's layers: names, dimensions, and the table of rules.

TNN's blobs have a batch. A value of the layer graph has none, so it is laid out as

    (C,)          (1, C)
    (R, C)        (R, C)
    (C, H, W)     (1, C, H, W)
    (A, B, C, D)  (A, B, C, D)

which keeps every blob at rank 4 or below, where TNN's kernels are at home, with the channels of an
image and of a vector on axis 1, where they look for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

import numpy as np

from ...errors import ExportError
from ...lowering import ir
from .files import LONGEST_LINE, Field, TnnLayer, TnnModel, Weight

__all__ = [
    "RULES",
    "Blob",
    "Emitter",
    "dims_of",
    "emit_model",
    "keep_apart",
    "keep_silu",
    "refuse",
    "rule",
]

Dims = tuple[int, ...]
_CONVOLUTIONS = ("Convolution", "Deconvolution", "QuantizedConvolution")
_FLOAT_MAX = float(np.finfo(np.float32).max)
_R = TypeVar("_R", bound=Callable[..., "Blob"])


@dataclass(frozen=True)
class Blob:
    """A blob of the file: its name and its dimensions, batch included."""

    name: str
    dims: Dims

    def axis(self, axis: int, rank: int) -> int:
        """Where axis ``axis`` of a value of rank ``rank`` is in this blob."""
        return axis + len(self.dims) - rank


RULES: dict[type[ir.Layer], Callable[..., Blob]] = {}
"""How each kind of layer is written: (layer, emitter) -> the blob that holds its result."""


def rule(kind: type[ir.Layer]) -> Callable[[_R], _R]:
    """Register a function as the way to write layers of ``kind``."""

    def register(function: _R) -> _R:
        RULES[kind] = function
        return function

    return register


def dims_of(shape: ir.Shape) -> Dims:
    """The dimensions of the blob that holds a value of this shape."""
    return shape if len(shape) in (2, 4) else (1, *shape)


def refuse(layer: ir.Layer, problem: str, workaround: str) -> NoReturn:
    """Raise the error of a layer that TNN cannot hold.

    Raises:
        ExportError: always.
    """
    value = layer.output
    where = f" in module {value.module!r}" if value.module else ""
    raise ExportError(
        f"TNN cannot run {layer.kind} (op {value.node or value.name!r}{where}): {problem}.",
        hint=workaround,
    )


class Emitter:
    """Collects the layers of one file."""

    def __init__(self, graph: ir.LayerGraph) -> None:
        self.layers: list[TnnLayer] = []
        self.constants: dict[str, np.ndarray] = {}
        self.scales: dict[str, float] = {}
        self.constant_values = _constants(graph)
        self._blobs: dict[ir.Value, Blob] = {}
        self._taken = {_clean(value.name) for value in graph.inputs}
        self._taken |= {_clean(name) for name in graph.output_names}
        self._prefix = ""

    # What rules call ------------------------------------------------------------------------------

    def inputs(self, layer: ir.Layer) -> list[Blob]:
        """The blobs of a layer's inputs; a constant becomes a blob of its own."""
        return [self.blob(value) for value in layer.inputs]

    def input(self, layer: ir.Layer) -> Blob:
        """The blob of a layer's first input."""
        return self.blob(layer.input)

    def blob(self, value: ir.Value) -> Blob:
        """The blob that holds ``value``."""
        if value not in self._blobs:
            constant = self.constant_values[value]
            self._blobs[value] = self.constant(constant.reshape(dims_of(value.shape)), value.name)
        return self._blobs[value]

    def constant(self, array: np.ndarray, name: str) -> Blob:
        """A blob of the file's constant map."""
        unique = self._unique(name)
        self.constants[unique] = np.asarray(array, dtype=np.float32)
        return Blob(unique, tuple(array.shape))

    def emit(
        self,
        type_: str,
        inputs: Iterable[Blob],
        dims: Iterable[int],
        *params: float,
        fields: tuple[Field, ...] = (),
    ) -> Blob:
        """Append a layer that makes one blob with the dimensions ``dims``."""
        name = self._unique(self._prefix)
        blobs = tuple(blob.name for blob in inputs)
        self.layers.append(TnnLayer(type_, name, blobs, (name,), params, fields))
        return Blob(name, tuple(dims))

    def concat(self, blobs: Sequence[Blob], dims: Iterable[int], axis: int) -> Blob:
        """``blobs`` behind each other along an axis, by several layers where the names of all
        would not fit into a line (`LONGEST_LINE`)."""
        blobs, dims = list(blobs), tuple(dims)
        while 1 < len(parts := _that_fit(blobs)) < len(blobs):
            blobs = [self.emit("Concat", part, _joined(part, axis), axis) for part in parts]
        return self.emit("Concat", blobs, dims, axis)

    def of_scale(self, blob: Blob, scale: float) -> Blob:
        """A blob that layers of integers read or make, with what an integer of it counts.

        A blob has one scale: where ``blob`` has another one, a copy of it is returned.
        """
        if self.scales.setdefault(blob.name, scale) == scale:
            return blob
        copy = self._reshape(blob, blob.dims)
        self.scales[copy.name] = scale
        return copy

    def next_name(self) -> str:
        """The name that the next layer will have: some layers repeat it among their weights."""
        return self._candidate(self._prefix)

    def reshape(self, blob: Blob, dims: Iterable[int]) -> Blob:
        """``blob`` with other dimensions; nothing is written when it has them already."""
        wanted = tuple(dims)
        return blob if blob.dims == wanted else self._reshape(blob, wanted)

    def permute(self, blob: Blob, order: ir.Shape) -> Blob:
        """Axis i of the result is axis ``order[i]`` of ``blob``."""
        dims = [blob.dims[axis] for axis in order]
        return self.emit("Permute", [blob], dims, len(order), *order)

    # What the writer calls ------------------------------------------------------------------------

    def begin(self, value: ir.Value) -> None:
        """An input of the file."""
        self._blobs[value] = Blob(_clean(value.name), dims_of(value.shape))

    def write(self, layer: ir.Layer) -> None:
        """Append the layers that compute ``layer``."""
        self._prefix = layer.name
        result = RULES[type(layer)](layer, self)
        self._blobs[layer.output] = self.reshape(result, dims_of(layer.output.shape))

    def write_constant(self, value: ir.Value, image: ir.Value) -> None:
        """A stored value as an output, which TNN has to compute: 0 times a pixel, and the value."""
        self._prefix = value.name
        pixel = self.blob(image)
        for axis, size in enumerate(pixel.dims):
            if size > 1:
                cut = [1 if i <= axis else n for i, n in enumerate(pixel.dims)]
                pixel = self.emit("StridedSliceV2", [pixel], cut, 1, 0, 1, 1, 1, axis, 1, 1)
        dims = dims_of(value.shape)
        pixel = self.reshape(pixel, (1,) * len(dims))
        zero = self.emit("Mul", [pixel], pixel.dims, 1, fields=(Weight(np.zeros(1)),))
        wide = self.emit("Tile", [zero], dims, *dims)
        stored = Weight(self.constant_values[value], dims)
        self._blobs[value] = self.emit("Add", [wide], dims, 1, fields=(stored,))

    def finish(self, value: ir.Value, name: str, shape: ir.Shape) -> None:
        """An output of the file: a layer of its own, which no optimizer of TNN merges away."""
        result = self._reshape(self.blob(value), shape or dims_of(value.shape))
        last = self.layers[-1]
        self.layers[-1] = replace(last, name=_clean(name), outputs=(_clean(name),))
        assert last.name == result.name

    def _reshape(self, blob: Blob, dims: Dims) -> Blob:
        return self.emit("Reshape", [blob], dims, 0, len(dims), len(dims), *dims, 0)

    def _unique(self, name: str) -> str:
        unique = self._candidate(name)
        self._taken.add(unique)
        return unique

    def _candidate(self, name: str) -> str:
        base = _clean(name)
        if base not in self._taken:
            return base
        count = 1
        while f"{base}_{count}" in self._taken:
            count += 1
        return f"{base}_{count}"


def _clean(name: str) -> str:
    """``name`` without what separates words and lines in the text, and files in TNN's dumps."""
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", name)


def _that_fit(blobs: Sequence[Blob]) -> list[list[Blob]]:
    """``blobs`` in parts whose names fit into a line, beside what else it holds."""
    parts: list[list[Blob]] = [[]]
    left = most = LONGEST_LINE // 2
    for blob in blobs:
        left -= len(blob.name) + 1
        if left < 0:
            parts.append([])
            left = most - len(blob.name) - 1
        parts[-1].append(blob)
    return parts


def _joined(blobs: Sequence[Blob], axis: int) -> Dims:
    """Dimensions of ``blobs`` behind each other."""
    dims = list(blobs[0].dims)
    dims[axis] = sum(blob.dims[axis] for blob in blobs)
    return tuple(dims)


def emit_model(graph: ir.LayerGraph) -> TnnModel:
    """The layers of the file for ``graph``.

    Raises:
        ExportError: TNN cannot run a layer of the graph.
    """
    emitter = Emitter(graph)
    outputs = _output_names(graph)
    for value in graph.inputs:
        emitter.begin(value)
        _finish(emitter, value, outputs)
    for layer in graph.layers:
        if layer.output not in emitter.constant_values:
            emitter.write(layer)
        elif layer.output in outputs:
            emitter.write_constant(layer.output, graph.inputs[0])
        _finish(emitter, layer.output, outputs)
    return TnnModel(
        {emitter.blob(value).name: dims_of(value.shape) for value in graph.inputs},
        tuple(_clean(name) for name in graph.output_names),
        keep_apart(keep_silu(emitter.layers)),
        emitter.constants,
        emitter.scales,
    )


def _constants(graph: ir.LayerGraph) -> dict[ir.Value, np.ndarray]:
    """Every value that does not depend on the image: TNN's x86 device has no kernels for those."""
    import torch

    from ...lowering.reference import run_layer

    known: dict[ir.Value, np.ndarray] = {}
    for layer in graph.layers:
        if isinstance(layer, ir.Constant):
            known[layer.output] = layer.value
        elif all(value in known for value in layer.inputs):
            tensors = [torch.from_numpy(known[value]).double() for value in layer.inputs]
            known[layer.output] = run_layer(layer, *tensors).numpy()
    return known


def _output_names(graph: ir.LayerGraph) -> dict[ir.Value, list[tuple[str, ir.Shape]]]:
    names: dict[ir.Value, list[tuple[str, ir.Shape]]] = {}
    for value, name, shape in zip(
        graph.outputs, graph.output_names, graph.output_shapes, strict=True
    ):
        names.setdefault(value, []).append((name, shape))
    return names


def _finish(
    emitter: Emitter, value: ir.Value, outputs: dict[ir.Value, list[tuple[str, ir.Shape]]]
) -> None:
    for name, shape in outputs.get(value, ()):
        emitter.finish(value, name, shape)


def keep_silu(layers: list[TnnLayer]) -> tuple[TnnLayer, ...]:
    """``layers`` in which no SiLU stands where TNN would merge it into a convolution.

    TNN merges Swish, or Sigmoid and Mul, into the convolution before it on devices whose
    convolution has that activation. x86 has not; but once a process has used another device, as
    ``model_check`` has, TNN does it on x86 too, and the activation is lost. With its factors
    exchanged, the product is left alone.
    """
    kept: list[TnnLayer] = []
    for layer in layers:
        before = kept[-2:]
        if layer.type == "Swish" and before and before[-1].type in _CONVOLUTIONS:
            gate = f"{layer.name}.gate"
            kept.append(TnnLayer("Sigmoid", gate, layer.inputs, (gate,)))
            layer = replace(layer, type="Mul", inputs=(gate, *layer.inputs), params=(-1,))
        elif _is_silu(*before, layer):
            layer = replace(layer, inputs=layer.inputs[::-1])
        kept.append(layer)
    return tuple(kept)


_CLIPS = {"ReLU": (0.0, _FLOAT_MAX), "ReLU6": (0.0, 6.0)}


def keep_apart(layers: Sequence[TnnLayer]) -> tuple[TnnLayer, ...]:
    """``layers`` in which no ReLU of floats stands behind a convolution of integers.

    TNN merges it into that one (``NetOptimizerFuseConvPost``), and looks for a scale of its result
    then. It does not merge a clip.
    """
    kept: list[TnnLayer] = []
    for layer in layers:
        if kept and kept[-1].type == "QuantizedConvolution" and layer.type in _CLIPS:
            layer = replace(layer, type="Clip", params=_CLIPS[layer.type])
        kept.append(layer)
    return tuple(kept)


def _is_silu(*layers: TnnLayer) -> bool:
    """Whether three layers are a convolution, the sigmoid of it, and their product."""
    if len(layers) < 3 or layers[0].type not in _CONVOLUTIONS:
        return False
    conv, sigmoid, product = layers
    if (sigmoid.type, product.type) != ("Sigmoid", "Mul"):
        return False
    return product.inputs == (*conv.outputs, *sigmoid.outputs)

"""Damage to Core ML packages: the protobuf message by coremltools, weights in their own file."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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

__all__ = ["CoreMLEditor"]

_CONVOLUTIONS = {"conv": 0, "conv_transpose": 1}
_PRODUCTS = {"linear": 0, "matmul": 0}
_SWAPPED: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("leaky_relu", {"alpha": 0.01}),
    "relu6": ("relu", {}),
    "silu": ("relu", {}),
    "sigmoid": ("sigmoid_hard", {"alpha": 0.2, "beta": 0.5}),
    "tanh": ("softsign", {}),
    "erf": ("tanh", {}),
    "softplus": ("relu", {}),
}
_NUMPY = {10: "<f2", 11: "<f4", 23: "<i4"}
"""Of the data types of ``MIL.proto``."""


@dataclass
class _Package:
    """A package under edit."""

    spec: Any
    weights: np.ndarray
    """The bytes of ``weight.bin``."""

    @property
    def operations(self) -> Any:
        (block,) = self.spec.mlProgram.functions["main"].block_specializations.values()
        return block.operations

    def constant(self, name: str) -> Any:
        """The value of a constant by the name of its output, or None."""
        for op in self.operations:
            if op.type == "const" and op.outputs[0].name == name:
                return op.attributes["val"]
        return None


class CoreMLEditor:
    """One .mlpackage with an ML Program."""

    def __init__(self, path: Path) -> None:
        from coremltools.proto import Model_pb2

        self._path = path
        (self._model,) = path.glob("Data/*/*.mlmodel")
        self._weights = self._model.parent / "weights" / "weight.bin"
        self._spec = Model_pb2.Model()
        self._spec.ParseFromString(self._model.read_bytes())

    def _read(self) -> _Package:
        spec = type(self._spec)()
        spec.CopyFrom(self._spec)
        data = self._weights.read_bytes() if self._weights.exists() else b""
        return _Package(spec, np.frombuffer(bytearray(data), np.uint8))

    def sites(self) -> Iterator[Site]:
        package = self._read()
        constants = {op.outputs[0].name for op in package.operations if op.type == "const"}
        types = {op.type for op in package.operations}
        weighted = _CONVOLUTIONS if types & set(_CONVOLUTIONS) else _PRODUCTS
        for index, op in enumerate(package.operations):
            if op.type == "const":
                continue
            name = op.outputs[0].name
            bound = {key: _bound(argument) for key, argument in op.inputs.items()}
            inner = {key: value for key, value in bound.items() if value in constants}
            if op.type in weighted and ("weight" in inner or "y" in inner):
                stored = inner.get("weight") or inner["y"]
                for kind, change in changed_weights(weighted[op.type]).items():
                    yield Site(kind, name, _stored(stored, change))
                if "bias" in inner:
                    yield Site(BIAS, name, _stored(inner["bias"], np.zeros_like))
            if op.type in _SWAPPED:
                new, values = _SWAPPED[op.type]
                yield Site(ACTIVATION, f"{name}: {new}", _replaced(index, new, values))
            if op.type == "relu":
                yield Site(CLIPPED, name, _replaced(index, "relu6", {}))
            if op.type == "add" and not inner and all(bound.values()):
                yield Site(DIFFERENCE, name, _subtracted(index))
            yield from _constants(name, op.type, inner, package)

    def write(self, site: Site, path: Path) -> None:
        package = self._read()
        site.edit(package)
        if path.exists():
            shutil.rmtree(path)
        shutil.copytree(self._path, path, ignore=shutil.ignore_patterns("weight.bin"))
        inside = path / self._model.relative_to(self._path)
        same = package.spec == self._spec
        inside.write_bytes(self._model.read_bytes() if same else package.spec.SerializeToString())
        if package.weights.size:
            (inside.parent / "weights" / "weight.bin").write_bytes(package.weights.tobytes())


def _bound(argument: Any) -> str:
    """The name that an argument is bound to; "" where it is a value."""
    return argument.arguments[0].name if len(argument.arguments) == 1 else ""


def _constants(name: str, kind: str, inner: dict[str, str], package: _Package) -> Iterator[Site]:
    """Damage to the small constants of an operation: epsilon, padding, modes."""
    if "epsilon" in inner:
        yield Site(EPSILON, name, _stored(inner["epsilon"], lambda value: value * 10))
    if kind == "leaky_relu" and "alpha" in inner:
        yield Site(ACTIVATION, f"{name}: slope", _stored(inner["alpha"], lambda value: value * 10))
    if kind == "sigmoid_hard":
        yield Site(ACTIVATION, f"{name}: 0.2", _stored(inner["alpha"], lambda v: v * 0 + 0.2))
    if kind == "gelu":
        yield Site(ACTIVATION, f"{name}: mode", _text(inner["mode"], _GELU))
    if kind in ("resize_bilinear", "upsample_bilinear", "resize"):
        for key, names in (("sampling_mode", _SAMPLING), ("interpolation_mode", _MODES)):
            if key in inner:
                yield Site(RESIZE, f"{name}: {key}", _text(inner[key], names))
        if "align_corners" in inner:
            yield Site(RESIZE, f"{name}: corners", _flipped(inner["align_corners"]))
    if "pad" in inner and (kind in _CONVOLUTIONS or kind == "pad" or kind.endswith("_pool")):
        pads = _values(package, inner["pad"])
        for axis in range(len(pads) // 2):
            pair = moved(int(pads[2 * axis]), int(pads[2 * axis + 1]))
            custom = "pad_type" not in inner or _string(package, inner["pad_type"]) == "custom"
            if pair is not None and custom:
                new = [*pads[: 2 * axis], *pair, *pads[2 * axis + 2 :]]
                edit = _stored(inner["pad"], lambda value, new=new: np.array(new, value.dtype))
                yield Site(PADDING, f"{name}: {[int(n) for n in new]}", edit)


_GELU = {"EXACT": "SIGMOID_APPROXIMATION", "TANH_APPROXIMATION": "SIGMOID_APPROXIMATION"}
_SAMPLING = {"DEFAULT": "STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS": "STRICT_ALIGN_CORNERS",
             "STRICT_ALIGN_CORNERS": "UNALIGN_CORNERS", "ALIGN_CORNERS": "UNALIGN_CORNERS",
             "OFFSET_CORNERS": "STRICT_ALIGN_CORNERS"}  # fmt: skip
_MODES = {"LINEAR": "NEAREST", "NEAREST": "LINEAR"}


def _record(package: _Package, value: Any) -> np.ndarray:
    """The bytes of a value in the weight file: a record of (sentinel, type, size, offset)."""
    header = package.weights[value.blobFileValue.offset :][:24].tobytes()
    _, _, size, start = struct.unpack("<IIQQ", header)
    return package.weights[start : start + size]


def _values(package: _Package, name: str) -> np.ndarray:
    value = package.constant(name)
    tensor = value.type.tensorType
    shape = tuple(d.constant.size for d in tensor.dimensions)
    dtype = np.dtype(_NUMPY[tensor.dataType])
    if value.WhichOneof("value") == "blobFileValue":
        return _record(package, value).view(dtype).reshape(shape)
    held = value.immediateValue.tensor
    kind = held.WhichOneof("value")
    if kind == "bytes":
        return np.frombuffer(held.bytes.values, dtype).reshape(shape)
    return np.array(getattr(held, kind).values, dtype).reshape(shape)


def _stored(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    def edit(package: _Package) -> None:
        value = package.constant(name)
        old = _values(package, name)
        new = np.ascontiguousarray(change(old)).astype(old.dtype)
        if value.WhichOneof("value") == "blobFileValue":
            _record(package, value)[:] = new.reshape(-1).view(np.uint8)
            return
        held = value.immediateValue.tensor
        kind = held.WhichOneof("value")
        if kind == "bytes":
            held.bytes.values = new.tobytes()
        else:
            getattr(held, kind).values[:] = new.reshape(-1).tolist()

    return edit


def _string(package: _Package, name: str) -> str:
    return str(package.constant(name).immediateValue.tensor.strings.values[0])


def _text(name: str, other: dict[str, str]) -> Callable[[Any], None]:
    def edit(package: _Package) -> None:
        values = package.constant(name).immediateValue.tensor.strings.values
        values[0] = other[values[0]]

    return edit


def _flipped(name: str) -> Callable[[Any], None]:
    def edit(package: _Package) -> None:
        values = package.constant(name).immediateValue.tensor.bools.values
        values[0] = not values[0]

    return edit


def _subtracted(index: int) -> Callable[[Any], None]:
    def edit(package: _Package) -> None:
        package.operations[index].type = "sub"

    return edit


def _replaced(index: int, kind: str, values: dict[str, float]) -> Callable[[Any], None]:
    def edit(package: _Package) -> None:
        op = package.operations[index]
        half = op.outputs[0].type.tensorType.dataType == 10
        op.type = kind
        for key in [key for key in op.inputs if key != "x"]:
            del op.inputs[key]
        for key, number in values.items():
            value = op.inputs[key].arguments.add().value
            value.type.tensorType.dataType = 10 if half else 11
            if half:
                value.immediateValue.tensor.bytes.values = np.float16(number).tobytes()
            else:
                value.immediateValue.tensor.floats.values.append(number)

    return edit

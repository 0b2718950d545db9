"""``.tnnmodel``: the weights, read as TNN's layer interpreters read them.

The file does not say how long a layer's part is: what follows depends on its type, so a type that
is not in `_FIELDS` ends the reading with an error.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .proto import MAGIC_V1, MAGIC_V2, FormatError

__all__ = ["Weights", "parse_model"]

_DTYPES = {0: "<f4", 1: "<f2", 2: "i1", 3: "<i4", 5: "<i8", 6: "<u4"}
_LAYER_LIMIT = 10000
_MOST_AXES = 32

Arrays = dict[str, np.ndarray]


@dataclass
class Weights:
    """Arrays by layer name and field, constant blobs by name; float16 arrays are kept as such."""

    layers: dict[str, Arrays] = field(default_factory=dict)
    constants: Arrays = field(default_factory=dict)


class _Reader:
    """A position in the file; every read moves it."""

    def __init__(self, content: bytes) -> None:
        self.content = memoryview(content)
        self.position = 0

    @property
    def left(self) -> int:
        return len(self.content) - self.position

    def take(self, size: int, what: str) -> memoryview:
        if size < 0 or size > self.left:
            raise FormatError(
                f"the .tnnmodel ends inside {what}: {size} bytes are missing or damaged "
                f"at byte {self.position} of {len(self.content)}"
            )
        self.position += size
        return self.content[self.position - size : self.position]

    def integer(self, what: str = "a number") -> int:
        (value,) = struct.unpack("<i", self.take(4, what))
        return int(value)

    def text(self) -> str:
        raw = bytes(self.take(self.integer("the length of a name"), "a name"))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise FormatError(f"a name in the .tnnmodel is {raw[:20]!r}") from None

    def flag(self) -> bool:
        return bool(self.take(1, "a flag")[0])

    def array(self) -> np.ndarray:
        """One ``RawBuffer``; an empty one has no dimensions."""
        magic = self.integer("an array") & 0xFFFFFFFF
        if magic not in (MAGIC_V1, MAGIC_V2):
            raise FormatError(f"an array in the .tnnmodel begins with {magic:#x}, no magic number")
        kind, size = self.integer("an array"), self.integer("an array")
        if kind not in _DTYPES:
            raise FormatError(f"an array in the .tnnmodel has the data type {kind}")
        if size <= 0:
            return np.zeros(0, dtype=_DTYPES[kind])
        rank = self.integer("an array") if magic == MAGIC_V2 else 0
        if rank > _MOST_AXES or size % np.dtype(_DTYPES[kind]).itemsize:
            raise FormatError(f"an array in the .tnnmodel has {rank} axes and {size} bytes")
        dims = [self.integer("an array") for _ in range(rank)]
        values = np.frombuffer(self.take(size, "an array"), dtype=_DTYPES[kind])
        if not dims:
            return values
        if min(dims) < 0 or math.prod(dims) != values.size:
            raise FormatError(f"an array of {values.size} numbers has the dimensions {dims}")
        return values.reshape(dims)


def parse_model(content: bytes) -> Weights:
    """Read the bytes of a ``.tnnmodel`` file.

    Raises:
        FormatError: it is not one, it is cut off, or a layer's type is not known here.
    """
    reader = _Reader(content)
    magic = struct.unpack("<I", content[:4])[0] if len(content) >= 4 else 0
    if magic in (MAGIC_V1, MAGIC_V2):
        reader.integer()
    count = reader.integer("its header") & 0x1FFFFFFF
    if count >= _LAYER_LIMIT:
        raise FormatError("the .tnnmodel has no magic number and no count of layers")
    weights = Weights()
    for _ in range(count):
        reader.integer("the type of a layer")
        kind, name = reader.text(), reader.text()
        if kind not in _FIELDS:
            raise FormatError(f"the weights of layer {name!r} are of the unknown type {kind!r}")
        weights.layers[name] = _FIELDS[kind](reader)
    if reader.left >= 4:
        _constants(reader, weights)
    return weights


def _constants(reader: _Reader, weights: Weights) -> None:
    reader.integer()
    for _ in range(reader.integer("the count of constants")):
        name = reader.text()
        weights.constants[name] = reader.array()
    if reader.left:
        raise FormatError(f"{reader.left} bytes follow the end of the .tnnmodel")


def _convolution(reader: _Reader) -> Arrays:
    reader.text()
    has_bias = reader.integer()
    arrays = {"weight": reader.array()}
    if has_bias:
        arrays["bias"] = reader.array()
    return _floats(arrays)


def _inner_product(reader: _Reader) -> Arrays:
    reader.text()
    return _floats({"weight": reader.array(), "bias": reader.array()})


def _integer_convolution(reader: _Reader) -> Arrays:
    reader.text()
    has_bias = reader.integer()
    arrays = {"weight": reader.array()}
    if has_bias:
        arrays["bias"] = reader.array()
    return _integers(arrays, reader)


def _integer_product(reader: _Reader) -> Arrays:
    reader.text()
    return _integers({"weight": reader.array(), "bias": reader.array()}, reader)


def _integers(arrays: Arrays, reader: _Reader) -> Arrays:
    """Integers and the scale of their sums (``ConvLayerInterpreter``)."""
    bias = arrays.get("bias")
    if arrays["weight"].dtype != np.int8 or (
        bias is not None and bias.size and bias.dtype != np.int32
    ):
        raise FormatError("a layer of integers has weights that are no int8, or a bias no int32")
    return {**arrays, "scale": _scale_of_integers(reader)}


def _scale_of_integers(reader: _Reader) -> np.ndarray:
    """A scale; in newer files zero points stand before it, which TNN's ARM device does not know."""
    scale = reader.array()
    if scale.dtype == np.int8:
        if scale.any():
            raise FormatError("it has zero points that are not 0, which the evaluator lacks")
        scale = reader.array()
    if scale.dtype != np.float32 or not scale.size or not (scale >= 0).all():
        raise FormatError("a scale of integers is no positive float32 number")
    return scale.reshape(-1)


def _blob_scale(reader: _Reader) -> Arrays:
    scale = _scale_of_integers(reader)
    reader.array()  # a bias, which no kernel uses
    return {"scale": scale}


def _scale_and_bias(reader: _Reader) -> Arrays:
    return {"scale": reader.array(), "bias": reader.array()}


def _scale(reader: _Reader) -> Arrays:
    reader.text()
    has_bias = reader.integer()
    arrays = {"scale": reader.array()}
    return {**arrays, "bias": reader.array()} if has_bias else arrays


def _prelu(reader: _Reader) -> Arrays:
    reader.text()
    return {"slope": reader.array()}


def _one(name: str) -> Callable[[_Reader], Arrays]:
    return lambda reader: _floats({name: reader.array()})


def _gather(reader: _Reader) -> Arrays:
    present = {}
    for name in ("data", "indices"):
        if reader.integer() == 1:
            present[name] = reader.array()
    if "data" in present:
        _floats({"data": present["data"]})
    return present


def _floats(arrays: Arrays) -> Arrays:
    """``arrays``, none of which is quantized: those bring scales along that are not read here."""
    for array in arrays.values():
        if array.dtype == np.int8:
            raise FormatError("a layer of floats has int8 weights, which the evaluator lacks")
    return arrays


_FIELDS: dict[str, Callable[[_Reader], Arrays]] = {
    **dict.fromkeys(("Convolution", "Deconvolution"), _convolution),
    **dict.fromkeys(("BatchNormCxx", "InstBatchNormCxx"), _scale_and_bias),
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Maximum", "Minimum", "SquaredDifference"), _one("element")
    ),
    "InnerProduct": _inner_product,
    "QuantizedConvolution": _integer_convolution,
    "QuantizedInnerProduct": _integer_product,
    "BlobScale": _blob_scale,
    "Scale": _scale,
    "PReLU": _prelu,
    "MatMul": _one("weight"),
    "Gather": _gather,
}

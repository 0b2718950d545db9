"""An ML Program as it is written in a package: types, constants, operations. No arithmetic here.

Field numbers follow ``mlmodel/format/MIL.proto`` and ``Model.proto`` of coremltools. Large
constants live in ``weights/weight.bin``: each is a 64-byte record (sentinel, type, size, offset)
that points to the data; sub-byte integers are packed from the least significant bit.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....artifacts.damage import reason
from ....system.files import GIB, MIB, read_regular_file
from ....system.folders import file_inside, path_inside, require_closed
from .wire import Message, WireError

__all__ = [
    "Call",
    "Constant",
    "FormatError",
    "Function",
    "Ref",
    "TensorType",
    "model_path",
    "read_package",
    "read_pipeline",
]

Array = npt.NDArray[np.generic]
Constant = Array | str | list["Constant"]
"""A tensor, a string, or a list (of strings, of class labels)."""

_DTYPES = {
    1: "bool", 2: "string", 10: "fp16", 11: "fp32", 12: "fp64", 13: "bf16",
    21: "int8", 22: "int16", 23: "int32", 24: "int64", 25: "int4",
    31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64", 35: "uint4", 36: "uint2", 37: "uint1",
    38: "uint6", 39: "uint3", 40: "fp8e4m3fn", 41: "fp8e5m2",
}  # fmt: skip
_NUMPY: dict[str, str] = {
    "bool": "?", "fp16": "<f2", "fp32": "<f4", "fp64": "<f8",
    "int8": "i1", "int16": "<i2", "int32": "<i4", "int64": "<i8",
    "uint8": "u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8",
}  # fmt: skip
_SUB_BYTE = {"int4": 4, "uint4": 4, "uint3": 3, "uint2": 2, "uint1": 1, "uint6": 6}
_MODEL_KINDS = {
    200: "pipelineClassifier", 201: "pipelineRegressor", 202: "pipeline",
    303: "neuralNetworkRegressor", 403: "neuralNetworkClassifier", 500: "neuralNetwork",
    502: "mlProgram", 610: "nonMaximumSuppression", 3000: "serializedModel",
}  # fmt: skip
_PIPELINE, _ML_PROGRAM, _NMS = 202, 502, 610
_BLOB_SENTINEL = 0xDEADBEEF
_MANIFEST_LIMIT = MIB
_MODEL_LIMIT = 2 * GIB  # of a protobuf message


class FormatError(ValueError):
    """The package is damaged, or is not an ML Program."""


@dataclass(frozen=True)
class TensorType:
    """The declared type of a value. Unknown dimensions are -1; ``kind`` tells what is no tensor."""

    dtype: str
    shape: tuple[int, ...]
    kind: str = "tensor"

    @property
    def is_static(self) -> bool:
        return self.kind == "tensor" and -1 not in self.shape


@dataclass(frozen=True)
class Ref:
    """The name of a value that an operation reads."""

    name: str


@dataclass(frozen=True)
class Call:
    """One operation: ``inputs`` maps each parameter to the values bound to it, mostly one."""

    type: str
    name: str
    inputs: dict[str, list[Ref | Constant]]
    outputs: tuple[tuple[str, TensorType], ...]


@dataclass(frozen=True)
class Function:
    """The body of a program: straight-line code in single-assignment form."""

    opset: str
    inputs: tuple[tuple[str, TensorType], ...]
    calls: tuple[Call, ...]
    outputs: tuple[str, ...]


def read_package(path: Path, function: str = "main") -> Function:
    """Read one function of the ML Program in an ``.mlpackage`` directory.

    Of a pipeline that ends with non-maximum suppression, it is the ML Program in front of that.
    """
    root = model_path(path)
    try:
        model = Message(root.read_bytes())
        model = (read_pipeline(model) or (model,))[0]
        if _ML_PROGRAM not in model:
            raise FormatError(f"the model inside is of kind {_kind(model)}")
        program = model.message(_ML_PROGRAM)
        functions = program.table(2)
        if function not in functions:
            raise FormatError(f"it has no function {function!r}, only {sorted(functions)}")
        return _Reader(path, root.parent).function(functions[function])
    except (WireError, UnicodeDecodeError, struct.error) as error:
        raise FormatError(f"{root.name} cannot be decoded: {reason(error)}") from error


def read_pipeline(model: Message) -> tuple[Message, ...]:
    """The two models of a pipeline of an ML Program and its suppression; () of any other model."""
    if _PIPELINE not in model:
        return ()
    parts = tuple(model.message(_PIPELINE).messages(1))
    if len(parts) != 2 or _ML_PROGRAM not in parts[0] or _NMS not in parts[1]:
        kinds = ", ".join(_kind(part) for part in parts)
        raise FormatError(f"the models in its pipeline are of the kinds {kinds or 'none'}")
    return parts


def _kind(model: Message) -> str:
    kinds = [_MODEL_KINDS.get(n, f"field {n}") for n in model.numbers() if n >= 200]
    return ", ".join(kinds) or "none"


def model_path(path: Path) -> Path:
    """The ``.mlmodel`` file inside an ``.mlpackage`` directory.

    Raises:
        FormatError: it is no package.
        ArtifactError: the package names a file outside itself, or holds a link to one.
    """
    if not path.exists():
        raise FormatError("it does not exist")
    if not (path / "Manifest.json").is_file():
        raise FormatError("it is not a package: there is no Manifest.json in it")
    require_closed(path)
    text = read_regular_file(file_inside(path, "Manifest.json"), limit=_MANIFEST_LIMIT)
    try:
        manifest = json.loads(text)
        items = {key: str(item["path"]) for key, item in manifest["itemInfoEntries"].items()}
        root = items[manifest["rootModelIdentifier"]]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise FormatError(f"its Manifest.json names no root model: {reason(error)}") from error
    for name in items.values():
        path_inside(path, f"Data/{name}")
    return file_inside(path, f"Data/{root}", limit=_MODEL_LIMIT)


class _Reader:
    def __init__(self, package: Path, directory: Path) -> None:
        self._package = package
        self._directory = directory.relative_to(package).as_posix()
        self._blobs: dict[str, npt.NDArray[np.uint8]] = {}

    def function(self, message: Message) -> Function:
        opset = message.text(2)
        blocks = message.table(3)
        if opset not in blocks:
            raise FormatError(f"its function has no block for opset {opset!r}")
        block = blocks[opset]
        return Function(
            opset=opset,
            inputs=tuple((item.text(1), _type(item.message(2))) for item in message.messages(1)),
            calls=tuple(self._call(item) for item in block.messages(3)),
            outputs=tuple(block.texts(2)),
        )

    def _call(self, message: Message) -> Call:
        attributes = {key: self._value(value) for key, value in message.table(5).items()}
        name = attributes.pop("name", "")
        outputs = tuple((item.text(1), _type(item.message(2))) for item in message.messages(3))
        inputs: dict[str, list[Ref | Constant]] = {key: [v] for key, v in attributes.items()}
        for key, argument in message.table(2).items():
            inputs[key] = [
                Ref(binding.text(1)) if 1 in binding else self._value(binding.message(2))
                for binding in argument.messages(1)
            ]
        if not isinstance(name, str) or not name:
            name = outputs[0][0] if outputs else message.text(1)
        return Call(type=message.text(1), name=name, inputs=inputs, outputs=outputs)

    def _value(self, message: Message) -> Constant:
        declared = _type(message.message(2))
        if 5 in message:
            blob = message.message(5)
            return self._blob(blob.text(1), blob.integer(2), declared)
        immediate = message.message(3)
        if 3 in immediate:
            return [self._value(item) for item in immediate.message(3).messages(1)]
        if 1 not in immediate:
            raise FormatError(f"a constant of kind {declared.kind} is not readable")
        return _immediate(immediate.message(1), declared)

    def _blob(self, name: str, offset: int, declared: TensorType) -> Array:
        if name not in self._blobs:
            inside = f"{self._directory}/{name.removeprefix('@model_path/')}"
            path = file_inside(self._package, inside)
            self._blobs[name] = np.memmap(path, dtype=np.uint8, mode="r")
        data = self._blobs[name]
        header = bytes(data[offset : offset + 24])
        if len(header) < 24:
            raise FormatError(f"its weight file {name} ends before offset {offset}")
        sentinel, _, size, start = struct.unpack("<IIQQ", header)
        if sentinel != _BLOB_SENTINEL or start + size > len(data):
            raise FormatError(f"its weight file {name} has no record at offset {offset}")
        return _from_bytes(bytes(data[start : start + size]), declared)


def _type(message: Message) -> TensorType:
    if 1 in message:
        tensor = message.message(1)
        number = tensor.integer(1)
        dimensions = tensor.messages(3)
        shape = tuple(d.message(1).integer(1) if 1 in d else -1 for d in dimensions)
        return TensorType(_DTYPES.get(number, f"type {number}"), shape)
    for number, kind in ((2, "list"), (3, "tuple"), (4, "dictionary"), (5, "state")):
        if number in message:
            return TensorType("", (), kind)
    return TensorType("", (), "unknown")


def _immediate(message: Message, declared: TensorType) -> Constant:
    if 4 in message:
        strings = message.message(4).texts(1)
        return strings[0] if not declared.shape else list(strings)
    if 7 in message:
        return _from_bytes(message.message(7).raw(1), declared)
    values: list[float] | list[int]
    if 1 in message:
        values = message.message(1).floats(1)
    elif 6 in message:
        values = message.message(6).floats(1, "d")
    else:
        number = next((n for n in (2, 3, 5) if n in message), None)
        values = message.message(number).integers(1) if number else []
    return _shaped(np.array(values, dtype=_numpy_dtype(declared)), declared)


def _from_bytes(data: bytes, declared: TensorType) -> Array:
    bits = _SUB_BYTE.get(declared.dtype)
    if bits is None:
        return _shaped(np.frombuffer(data, dtype=_numpy_dtype(declared)), declared)
    count = math.prod(declared.shape)
    if not 0 <= count * bits <= len(data) * 8 or min(declared.shape, default=1) < 0:
        raise FormatError(f"a constant of shape {declared.shape} has {len(data)} bytes")
    signed = not declared.dtype.startswith("u")
    return _shaped(unpack_bits(np.frombuffer(data, np.uint8), bits, count, signed=signed), declared)


def unpack_bits(packed: Array, bits: int, count: int, *, signed: bool = False) -> Array:
    """``count`` integers of ``bits`` bits each, least significant bit first, as (u)int8."""
    stream = np.unpackbits(packed.view(np.uint8).ravel(), bitorder="little")[: count * bits]
    weights = (1 << np.arange(bits)).astype(np.int16)
    values = stream.reshape(count, bits).astype(np.int16) @ weights
    if signed:
        values = np.where(values >= 1 << (bits - 1), values - (1 << bits), values)
        return values.astype(np.int8)
    return values.astype(np.uint8)


def _numpy_dtype(declared: TensorType) -> np.dtype[np.generic]:
    if declared.dtype not in _NUMPY:
        raise FormatError(f"constants of type {declared.dtype} are not readable")
    return np.dtype(_NUMPY[declared.dtype])


def _shaped(array: Array, declared: TensorType) -> Array:
    if min(declared.shape, default=1) < 0 or array.size != math.prod(declared.shape):
        raise FormatError(f"a constant of shape {declared.shape} holds {array.size} values")
    return array.reshape(declared.shape)

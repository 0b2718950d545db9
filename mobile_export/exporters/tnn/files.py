"""TNN's two files: a text of layers (``.tnnproto``) and their weights (``.tnnmodel``).

Every line of the text is quoted and ends with a comma; the reader drops quotes and line ends and
splits at commas, so neither may occur in a name. Five lines of header come first:

    "1 <blobs> 1 4206624772 ,"
    "<input> <rank> <dim>... <data type> : <input> ... ,"
    " <blob> <blob> ... ,"
    "<output> <output> ... ,"
    " <layers> ,"
    "<Type> <name> <inputs> <outputs> <input>... <output>... <parameter>... ,"

Parameters have no keys: each layer's interpreter reads them in its own order (TNN,
``source/tnn/interpreter/tnn/layer_interpreter``). The binary file holds the magic number, the count
of layers with weights, each of them as (type number, type, name, its fields), and at the end a map
of constant blobs. Scales of blobs of integers stand among the layers, as ``BlobScale`` with the
name of the blob and a suffix. All numbers are little-endian int32; a text is preceded by its
length; an array by magic number, data type, length in bytes and dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ExportError

__all__ = [
    "FLOAT",
    "LONGEST_LINE",
    "MAGIC",
    "SCALE_SUFFIX",
    "TYPE_NUMBERS",
    "TnnLayer",
    "TnnModel",
    "Weight",
]

MAGIC = 0xFABC0004
"""Version 2: inputs carry their rank and type, arrays their dimensions."""

LONGEST_LINE = 4095
"""TNN's reader cuts a line (``SplitUtils``, 4096 characters) without a word."""

LARGEST_ARRAY = 2**31 - 1
"""Lengths are int32."""

FLOAT = 0
HALF = 1
_INTEGERS: Mapping[np.dtype[Any], tuple[int, str]] = {
    np.dtype(np.int8): (2, "i1"),
    np.dtype(np.int32): (3, "<i4"),
}
"""TNN's data type and NumPy's, of arrays that are stored as integers."""

SCALE_SUFFIX = "_scale_data_"
"""Of the name under which the scale of a blob of integers is stored (``BLOB_SCALE_SUFFIX``)."""

TYPE_NUMBERS: Mapping[str, int] = {
    "Add": 38,
    "BatchNormCxx": 2,
    "BlobScale": 600,
    "Convolution": 1,
    "Deconvolution": 22,
    "Div": 175,
    "InnerProduct": 19,
    "InstBatchNormCxx": 43,
    "MatMul": 105,
    "Maximum": 137,
    "Minimum": 140,
    "Mul": 42,
    "PReLU": 35,
    "QuantizedConvolution": 1,
    "QuantizedInnerProduct": 19,
    "Sub": 108,
}
"""``LayerType`` of the layers that may have weights (TNN, ``source/tnn/core/layer_type.h``)."""


@dataclass(frozen=True)
class Weight:
    """One array of a layer.

    Attributes:
        dims: as the file declares them; not always those of ``value``.
        half: it may be stored as float16. TNN widens these on every device; others it does not.
    """

    value: np.ndarray
    dims: tuple[int, ...] | None = None
    half: bool = False

    def stored(self, *, half: bool) -> bytes:
        """Header and bytes in the file."""
        number, kind = (HALF, "<f2") if half and self.half else (FLOAT, "<f4")
        number, kind = _INTEGERS.get(self.value.dtype, (number, kind))
        size = self.value.size * np.dtype(kind).itemsize
        if size > LARGEST_ARRAY:
            raise ExportError(
                f"TNN cannot hold an array of {size} bytes; lengths are 31-bit numbers.",
                hint="Use a smaller layer, or `precision='fp16'`.",
            )
        if not size:
            return _ints(MAGIC, number, 0)
        dims = self.value.shape if self.dims is None else self.dims
        content = np.ascontiguousarray(self.value, dtype=kind).tobytes()
        return _ints(MAGIC, number, size, len(dims), *dims) + content


Field = str | int | Weight
"""What a layer's ``InterpretResource`` reads: a text, a number or an array."""


@dataclass(frozen=True)
class TnnLayer:
    """One line of the text, with its weights.

    Attributes:
        type: of TNN's table of layer types, e.g. ``Convolution``.
        params: in the order in which the layer's interpreter reads them.
        fields: in the order of its ``InterpretResource``; empty for a layer without weights.
    """

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: tuple[int | float, ...] = ()
    fields: tuple[Field, ...] = ()

    def line(self) -> str:
        """This layer as TNN reads it."""
        counts = f"{len(self.inputs)} {len(self.outputs)}"
        numbers = [_number(value) for value in self.params]
        return " ".join([self.type, self.name, counts, *self.inputs, *self.outputs, *numbers])


@dataclass(frozen=True)
class TnnModel:
    """Layers in order of execution.

    Attributes:
        inputs: dimensions of every input blob, batch included.
        constants: blobs that no layer makes; always float32.
        scales: of blobs of integers: what one of them counts.
    """

    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    layers: tuple[TnnLayer, ...]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """The ``.tnnproto`` file.

        Raises:
            ExportError: a line is longer than TNN reads.
        """
        made = [name for layer in self.layers for name in (*layer.inputs, *layer.outputs)]
        blobs = sorted({*self.inputs, *made})
        inputs = [
            " ".join([name, str(len(dims)), *map(str, dims), str(FLOAT)])
            for name, dims in self.inputs.items()
        ]
        lines = [layer.line() for layer in self.layers]
        header = [" : ".join(inputs), " ".join(self.outputs), *lines]
        longest = max(header, key=len)
        if len(longest) + 2 > LONGEST_LINE:
            raise ExportError(
                f"A line of the .tnnproto file has {len(longest)} characters "
                f"({longest[:60]} ...); TNN reads {LONGEST_LINE}.",
                hint="Give the inputs, outputs or modules of that line shorter names.",
            )
        parts = [
            f"1 {len(blobs)} 1 {MAGIC}",
            header[0],
            " " + " ".join(blobs),
            header[1],
            f" {len(lines)}",
            *lines,
        ]
        return "".join(f'"{part} ,"\n' for part in parts)

    def weights(self, *, half: bool) -> Iterator[bytes]:
        """The ``.tnnmodel`` file, piece by piece."""
        weighted = [layer for layer in self.layers if layer.fields]
        yield _ints(MAGIC, len(self.scales) + len(weighted))
        for blob, scale in self.scales.items():
            yield _ints(TYPE_NUMBERS["BlobScale"]) + _text("BlobScale")
            yield _text(f"{blob}{SCALE_SUFFIX}")
            yield Weight(np.array([scale])).stored(half=False)
            yield Weight(np.zeros(1, np.int32)).stored(half=False)  # read, and used by no kernel
        for layer in weighted:
            yield _ints(TYPE_NUMBERS[layer.type]) + _text(layer.type) + _text(layer.name)
            for item in layer.fields:
                yield _stored(item, half=half)
        if self.constants:
            yield _ints(MAGIC, len(self.constants))
            for name, value in self.constants.items():
                yield _text(name) + Weight(value).stored(half=False)

    def write(self, proto: Path, model: Path, *, half: bool) -> None:
        """Write both files.

        Raises:
            ExportError: TNN's format cannot hold the model.
        """
        text = self.text()
        with model.open("wb") as stream:
            for piece in self.weights(half=half):
                stream.write(piece)
        proto.write_text(text, encoding="ascii", newline="\n")


def _stored(item: Field, *, half: bool) -> bytes:
    if isinstance(item, Weight):
        return item.stored(half=half)
    return _text(item) if isinstance(item, str) else _ints(item)


def _ints(*values: int) -> bytes:
    return np.array(values, dtype=np.int64).astype("<u4").tobytes()


def _text(value: str) -> bytes:
    content = value.encode("ascii")
    return _ints(len(content)) + content


def _number(value: float) -> str:
    """An int as digits, a float with the nine digits that identify a float32."""
    return str(value) if isinstance(value, int) else f"{value:.9g}"

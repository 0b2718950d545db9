"""A reader of ncnn's two files, ``.param`` and ``.bin``, that shares no code with our writer.

It checks what ncnn's own loader trusts: that the counts are those of the text, that every blob is
made before it is used, once, and used at most once, and that the weights fill the file exactly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...artifacts.damage import reason
from ...errors import ArtifactError

__all__ = [
    "IntegerLayer",
    "Layer",
    "WeightFacts",
    "gives_integers",
    "is_quantized",
    "param_text",
    "read_arrays",
    "read_integers",
    "read_param",
    "read_weights",
]

_MAGIC = "7767517"
_FIRST_ARRAY = -23300
_HINT = "Export it again; ncnn calls such a file damaged, or crashes."
_LONGEST_NAME = 255
_EXPRESSION = re.compile(r'"[-+*/(),0-9chwd]+"')
"""Of the extents of a layer's inputs: ``"//(1h,2),1w"``."""


@dataclass(frozen=True)
class Layer:
    """One line of a ``.param`` file.

    Attributes:
        params: by id, as written, arrays without their length.
        words: the params as the whole line has them.
    """

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: dict[int, str]
    words: tuple[str, ...]

    def number(self, key: int, default: int = 0) -> int:
        """An integer param."""
        return int(self.params.get(key, default))

    @property
    def mask(self) -> int:
        """The features that are switched off for this layer."""
        return self.number(31)

    @property
    def is_kept_in_float32(self) -> bool:
        """Whether it computes in float32 where ncnn's options ask for float16."""
        return bool(self.mask & 0b11)  # arithmetic, storage


@dataclass(frozen=True)
class IntegerLayer:
    """What a layer stores that multiplies integers.

    Attributes:
        weights: int8, flat.
        scales: what weights were multiplied by, one for each output channel, or for each group.
        source: what the layer multiplies its input by.
        result: what it multiplies its result by; None where it gives float32.
    """

    layer: Layer
    weights: np.ndarray
    bias: np.ndarray | None
    scales: np.ndarray
    source: float
    result: float | None


@dataclass(frozen=True)
class WeightFacts:
    """Number of stored elements, and how many of them are float16; both None when not known."""

    elements: int | None
    halves: int | None


def read_param(path: Path) -> tuple[Layer, ...]:
    """The layers of a ``.param`` file.

    Raises:
        ArtifactError: it is damaged, or no such file.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is no text of ncnn: {reason(error)}.", hint=_HINT) from error
    if not lines or lines[0].strip() != _MAGIC:
        raise ArtifactError(
            f"{path} does not begin with ncnn's number {_MAGIC}.",
            hint="Give a .param file; the binary form (.param.bin) is not read here.",
        )
    try:
        layer_count, blob_count = (int(word) for word in lines[1].split())
        layers = tuple(_read_line(line) for line in lines[2:] if line.strip())
    except (IndexError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {reason(error)}.", hint=_HINT) from error
    problem = _inconsistency(layers, layer_count, blob_count)
    if problem is not None:
        raise ArtifactError(f"{path} is damaged: {problem}.", hint=_HINT)
    return layers


def _read_line(line: str) -> Layer:
    words = line.split()
    kind, name, inputs, outputs = words[0], words[1], int(words[2]), int(words[3])
    blobs, rest = words[4 : 4 + inputs + outputs], words[4 + inputs + outputs :]
    if min(inputs, outputs) < 0 or len(blobs) != inputs + outputs:
        raise ValueError(f"the line of {name!r} is cut off")
    if any("=" in blob or len(blob) > _LONGEST_NAME for blob in [kind, name, *blobs]):
        raise ValueError(f"the line of {name!r} has a name that is none")
    params: dict[int, str] = {}
    for word in rest:
        key, found, value = word.partition("=")
        number = int(key)
        if not found or not value:
            raise ValueError(f"the line of {name!r} has a param without value")
        if number <= _FIRST_ARRAY:
            length, _, value = value.partition(",")
            number = _FIRST_ARRAY - number
            if int(length) != len([item for item in value.split(",") if item]):
                raise ValueError(f"an array in the line of {name!r} has not the length it says")
        params[number] = value
        if value[0] == '"':
            if not _EXPRESSION.fullmatch(value):
                raise ValueError(f"the line of {name!r} has an expression that is none")
            continue
        for item in filter(None, value.split(",")):
            float(item)
    return Layer(kind, name, tuple(blobs[:inputs]), tuple(blobs[inputs:]), params, tuple(rest))


def _inconsistency(layers: tuple[Layer, ...], layer_count: int, blob_count: int) -> str | None:
    """What is wrong with the graph, if anything."""
    if len(layers) != layer_count:
        return f"it says {layer_count} layers and has {len(layers)}"
    made: set[str] = set()
    used: set[str] = set()
    for layer in layers:
        for blob in layer.inputs:
            if blob not in made or blob in used:
                state = "used twice" if blob in used else "not made"
                return f"{layer.name!r} takes the blob {blob!r}, which is {state}"
            used.add(blob)
        for blob in layer.outputs:
            if blob in made:
                return f"the blob {blob!r} is made twice"
            made.add(blob)
    if len(made) != blob_count:
        return f"it says {blob_count} blobs and has {len(made)}"
    return None


def param_text(layers: Sequence[Layer]) -> str:
    """A ``.param`` file of ``layers``."""
    lines = [_MAGIC, f"{len(layers)} {sum(len(layer.outputs) for layer in layers)}"]
    for layer in layers:
        counts = f"{len(layer.inputs)} {len(layer.outputs)}"
        words = [layer.type, layer.name, counts, *layer.inputs, *layer.outputs, *layer.words]
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


Sizes = list[tuple[int, bool]]
"""(elements, behind a flag) of each array of a layer, in order."""


def _pair(count: int, times: int = 2) -> Sizes:
    return [(count, False)] * times


def _convolution(layer: Layer) -> Sizes:
    return [(layer.number(6), True), *_pair(layer.number(0), layer.number(5)), *_scales(layer)]


def _inner_product(layer: Layer) -> Sizes:
    return [(layer.number(2), True), *_pair(layer.number(0), layer.number(1)), *_scales(layer)]


def _scales(layer: Layer) -> Sizes:
    """Of weights, of the input and of the result, of a layer that multiplies integers.

    A convolution of groups has a scale for each group with the term 1, and one in all with 2.
    """
    term = layer.number(_TERM)
    if not term:
        return []
    count = layer.number(0)
    if "DepthWise" in layer.type:
        count = layer.number(7, 1) if term % _GIVING == 1 else 1
    return [(count, False), *_pair(1, 1 + (term > _GIVING))]


def _gemm(layer: Layer) -> Sizes:
    rows, columns, inner = (layer.number(key) for key in (7, 8, 9))
    c = {0: 1, 1: rows, 2: rows, 3: rows * columns, 4: columns}
    candidates = [
        (rows * inner, layer.number(4)),
        (columns * inner, layer.number(5)),
        (c.get(layer.number(10), 0), layer.number(6)),
    ]
    return [(count, True) for count, constant in candidates if constant and count]


def _memory_data(layer: Layer) -> Sizes:
    extent = [layer.number(key) for key in (0, 1, 11, 2)]
    return [(math.prod(n for n in extent if n), layer.number(21, 1) == 0)]


_CONVOLUTIONS = [
    f"{kind}{depth}{rank}"
    for kind in ("Convolution", "Deconvolution")
    for depth in ("", "DepthWise")
    for rank in ("", "1D", "3D")
]
_WEIGHTS: dict[str, Callable[[Layer], Sizes]] = {
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    "BatchNorm": lambda layer: _pair(layer.number(0), 4),
    "Gemm": _gemm,
    "GroupNorm": lambda layer: _pair(layer.number(1), 2 * layer.number(3, 1)),
    "InnerProduct": _inner_product,
    "LayerNorm": lambda layer: _pair(layer.number(0), 2 * layer.number(2, 1)),
    "MemoryData": _memory_data,
    "PReLU": lambda layer: _pair(layer.number(0), 1),
    "Scale": lambda layer: _pair(layer.number(0), 1 + layer.number(1)),
}
_WITHOUT_WEIGHTS = {
    "AbsVal", "BinaryOp", "CELU", "Cast", "Clip", "Concat", "Crop", "Dropout", "ELU",
    "Eltwise", "Erf", "ExpandDims", "Flatten", "GELU", "GLU", "HardSigmoid", "HardSwish",
    "Input", "Interp", "MatMul", "Mish", "Noop", "Permute", "PixelShuffle", "Pooling",
    "Pooling1D", "Pooling3D", "ReLU", "Reduction", "Reorg", "Reshape", "SDPA", "SELU",
    "ShuffleChannel", "Sigmoid", "Slice", "Softmax", "Softplus", "Split", "Squeeze", "Swish",
    "TanH", "Threshold", "Tile", "UnaryOp", "Unfold",
}  # fmt: skip
_TERM, _GIVING = 8, 100
_QUANTIZED_TERM = {"Gemm": 18}
_WITH_INTEGERS = ("Convolution", "ConvolutionDepthWise", "InnerProduct")
_FLOAT16 = 0x01306B47
_BYTES_BEHIND_FLAG = {0: 4, _FLOAT16: 2, 0x01348B83: 2, 0x000D4B38: 1, 0x0002C056: 4}
"""Bytes of an element, by flag: float32, float16, bfloat16, int8, float32 again."""


def _sizes(layer: Layer) -> Sizes | None:
    """None where they are not known: another kind of layer, or integers in one of `Gemm`."""
    if layer.type in _WITHOUT_WEIGHTS or (layer.type == "Padding" and not layer.number(6)):
        return []
    rule = _WEIGHTS.get(layer.type)
    if rule is None or (is_quantized(layer) and layer.type not in _WITH_INTEGERS):
        return None
    return rule(layer)


def gives_integers(layer: Layer) -> bool:
    """Whether its result is integers, which the next layer takes as they are."""
    return layer.type in _WITH_INTEGERS and layer.number(_TERM) > _GIVING


def is_quantized(layer: Layer) -> bool:
    """Whether its weights are stored as int8: its ``int8_scale_term`` is not 0."""
    return layer.type in _WEIGHTS and bool(layer.number(_QUANTIZED_TERM.get(layer.type, 8)))


def read_integers(layers: Sequence[Layer], path: Path) -> tuple[IntegerLayer, ...]:
    """The layers that multiply integers, with what the ``.bin`` file at ``path`` holds for them.

    A file that `read_weights` has refused is not given; where it knows no sizes, nothing is found.
    """
    found: list[IntegerLayer] = []
    with path.open("rb") as stream:
        for layer in layers:
            sizes = _sizes(layer)
            if sizes is None:
                return ()
            arrays = [_read_array(stream, *each) for each in sizes]
            if is_quantized(layer) and arrays and arrays[0].dtype == np.int8:
                weights, *rest = arrays
                result = float(rest.pop()[0]) if gives_integers(layer) else None
                source, scales = float(rest.pop()[0]), rest.pop()
                bias = rest.pop() if rest else None
                found.append(IntegerLayer(layer, weights, bias, scales, source, result))
    return tuple(found)


def read_arrays(layers: Sequence[Layer], path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Each array that the ``.bin`` file at ``path`` holds, flat, with the name of its layer.

    A file that `read_weights` has refused is not given; where it knows no sizes, nothing is found.
    """
    with path.open("rb") as stream:
        for layer in layers:
            sizes = _sizes(layer)
            if sizes is None:
                return
            yield from ((layer.name, _read_array(stream, *each)) for each in sizes)


_DTYPES = {0: "<f4", _FLOAT16: "<f2", 0x01348B83: "<u2", 0x000D4B38: "<i1", 0x0002C056: "<f4"}


def _read_array(stream: BinaryIO, count: int, flagged: bool) -> np.ndarray:
    flag = int.from_bytes(stream.read(4), "little") if flagged else 0
    dtype = np.dtype(_DTYPES.get(flag, "<f4"))
    array = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
    stream.seek(-array.nbytes % 4 if flagged else 0, 1)
    return array


def read_weights(layers: Sequence[Layer], path: Path) -> WeightFacts:
    """What the ``.bin`` file at ``path`` holds for ``layers``.

    Raises:
        ArtifactError: it is shorter or longer than the layers need.
    """
    size, elements, halves = path.stat().st_size, 0, 0
    with path.open("rb") as stream:
        for layer in layers:
            sizes = _sizes(layer)
            if sizes is None:
                return WeightFacts(None, None)
            for count, flagged in sizes:
                flag = int.from_bytes(stream.read(4), "little") if flagged else 0
                if flag not in _BYTES_BEHIND_FLAG:
                    return WeightFacts(None, None)
                if not 0 <= count <= size:
                    raise ArtifactError(
                        f"{layer.name!r} in {path} has {count} weights; the file has {size} bytes.",
                        hint=_HINT,
                    )
                stored = count * _BYTES_BEHIND_FLAG[flag]
                stream.seek(stored + (-stored % 4 if flagged else 0), 1)
                elements += count
                halves += count if flag == _FLOAT16 else 0
            if stream.tell() > size:
                raise ArtifactError(
                    f"{path} is cut off: {size} bytes, and {layer.name!r} needs more.", hint=_HINT
                )
        if stream.tell() != size:
            raise ArtifactError(
                f"{path} has {size} bytes, its layers need {stream.tell()}.",
                hint="It belongs to another .param file. Keep both under one name.",
            )
    return WeightFacts(elements, halves)

"""ncnn's two files: a text of layers (``.param``) and their weights in order (``.bin``).

The text begins with a magic number and the counts of layers and blobs; each further line is

    Type name <inputs> <outputs> input... output... id=value ... -23300-id=count,value,...

A blob has one consumer, so a value with several goes through an explicit ``Split``. Param 31 of any
layer switches features off for it (`FEATURE_MASK`; ``get_masked_option`` in ``src/net.cpp``).

In the ``.bin``, a weight that its layer loads "by flag" has four bytes in front: 0 for float32,
`FLOAT16_FLAG` for float16, `INT8_FLAG` for int8 (both padded to four bytes); others are bare
float32. Which weight is which, and their order, is fixed in each layer's ``load_model``
(``src/layer``, ``src/modelbin.cpp``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

__all__ = [
    "FEATURE_MASK",
    "FLOAT16_FLAG",
    "FLOAT16_MAX",
    "INT8_FLAG",
    "MAGIC",
    "NO_FLOAT16_ARITHMETIC",
    "NO_FLOAT16_STORAGE",
    "NO_WINOGRAD",
    "NcnnLayer",
    "NcnnModel",
    "Param",
    "Weight",
    "with_splits",
]

MAGIC = 7767517
FLOAT16_FLAG = 0x01306B47
INT8_FLAG = 0x000D4B38
FLOAT16_MAX = float(np.finfo(np.float16).max)
FEATURE_MASK = 31
NO_FLOAT16_ARITHMETIC = 1
NO_FLOAT16_STORAGE = 2
NO_WINOGRAD = 64
_ARRAY_KEY = -23300
_FLOAT_MAX = float(np.finfo(np.float32).max)

Param = int | float | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Weight:
    """One array of a layer, in the order and layout of its ``load_model``.

    Attributes:
        flagged: the layer reads a flag before it.
        half: may be stored as float16, in a file of precision fp16; flagged weights only.
    """

    value: np.ndarray
    flagged: bool = True
    half: bool = True

    def stored(self, *, half: bool) -> bytes:
        """The bytes of this weight in the file."""
        if self.value.dtype == np.int8:
            return _flagged(INT8_FLAG, self.value.tobytes())
        if not self.flagged:
            return self.value.astype("<f4").tobytes()
        if not (half and self.half) or np.abs(self.value).max(initial=0) > FLOAT16_MAX:
            return bytes(4) + self.value.astype("<f4").tobytes()
        return _flagged(FLOAT16_FLAG, self.value.astype("<f2").tobytes())


def _flagged(flag: int, content: bytes) -> bytes:
    return flag.to_bytes(4, "little") + content + bytes(-len(content) % 4)


@dataclass(frozen=True)
class NcnnLayer:
    """One line of the ``.param`` file, with its weights.

    Attributes:
        type: of ncnn's layer registry, e.g. ``Convolution``.
        name: of the layer; ours say which module it came from: ``blocks.3.attn/softmax_2``.
        params: by id; an int, a float, a tuple of one kind, or an expression of extents (`sizes`).
    """

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: dict[int, Param] = field(default_factory=dict)
    weights: tuple[Weight, ...] = ()

    def line(self) -> str:
        """This layer as ncnn reads it."""
        counts = f"{len(self.inputs)} {len(self.outputs)}"
        parts = [f"{self.type:<24} {self.name:<32} {counts}", *self.inputs, *self.outputs]
        parts += [_param(key, value) for key, value in sorted(self.params.items())]
        return " ".join(parts)


def _param(key: int, value: Param) -> str:
    if isinstance(value, tuple):
        return f"{_ARRAY_KEY - key}={len(value)}," + ",".join(map(_number, value))
    if isinstance(value, str):
        return f'{key}="{value}"'
    return f"{key}={_number(value)}"


def _number(value: float) -> str:
    """An int as digits, a float with the nine digits that identify a float32; never infinite."""
    if isinstance(value, int):
        return str(int(value))
    return f"{min(max(value, -_FLOAT_MAX), _FLOAT_MAX):.8e}"


@dataclass(frozen=True)
class NcnnModel:
    """Layers in order of execution; every blob is made once and consumed at most once."""

    layers: tuple[NcnnLayer, ...]

    def text(self) -> str:
        """The ``.param`` file."""
        blobs = sum(len(layer.outputs) for layer in self.layers)
        lines = (layer.line() for layer in self.layers)
        return "\n".join([str(MAGIC), f"{len(self.layers)} {blobs}", *lines]) + "\n"

    def write(self, param: Path, weights: Path, *, half: bool) -> None:
        """Write both files; with ``half`` the weights that may be are stored as float16."""
        with weights.open("wb") as stream:
            for layer in self.layers:
                for weight in layer.weights:
                    stream.write(weight.stored(half=half))
        param.write_text(self.text(), encoding="ascii")


def with_splits(layers: Sequence[NcnnLayer], outputs: Sequence[tuple[str, str]]) -> NcnnModel:
    """A model in which every blob has at most one consumer and every output its own blob.

    Args:
        layers: in order of execution; a blob may have any number of consumers.
        outputs: (name of the output, blob) in order; a blob may occur twice, or be an input.
    """
    uses = Counter(blob for layer in layers for blob in layer.inputs)
    names: dict[str, list[str]] = {}
    for name, blob in outputs:
        names.setdefault(blob, []).append(name)
    reserved = {name for name, _ in outputs}
    made: list[NcnnLayer] = []
    copies: dict[str, Iterator[str]] = {}
    for layer in layers:
        produced: list[str] = []
        splits: list[NcnnLayer] = []
        for blob in layer.outputs:
            safe = f"{blob}:inner" if blob in reserved else blob
            wanted = [f"{safe}:{index}" for index in range(uses[blob])] + names.get(blob, [])
            if uses[blob] == 1 and len(wanted) == 1:
                wanted = [safe]
            copies[blob] = iter(wanted)
            produced.append(wanted[0] if len(wanted) == 1 else safe)
            if len(wanted) > 1:
                mask = {k: v for k, v in layer.params.items() if k == FEATURE_MASK}
                splits.append(NcnnLayer("Split", f"split/{safe}", (safe,), tuple(wanted), mask))
        inputs = tuple(next(copies[blob]) for blob in layer.inputs)
        made.append(replace(layer, inputs=inputs, outputs=tuple(produced)))
        made.extend(splits)
    return NcnnModel(tuple(made))

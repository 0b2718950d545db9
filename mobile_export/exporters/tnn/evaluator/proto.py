"""``.tnnproto``: the text of layers, read as TNN's ``ModelInterpreter`` reads it.

Stricter than TNN in three things that it passes over in silence: a line longer than its buffer, a
layer that reads a blob that nothing made, and numbers that are none.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FormatError", "Input", "LayerText", "Proto", "parse_proto"]

MAGIC_V1, MAGIC_V2 = 0xFABC0002, 0xFABC0004
_HEADER_LINES = 5
_BUFFER = 4096
_TYPES = ("float32", "float16", "int8", "int32", "bfloat16", "int64", "uint32")


class FormatError(ValueError):
    """The files are not a TNN model."""


@dataclass(frozen=True)
class Input:
    """One input: ``dtype`` is one of TNN's data types, ``dims`` include the batch."""

    name: str
    dims: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class LayerText:
    """One line: ``params`` are the words behind the names of the blobs."""

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: tuple[str, ...]


@dataclass(frozen=True)
class Proto:
    """The whole text; ``version`` is 1 or 2."""

    version: int
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    layers: tuple[LayerText, ...]


def parse_proto(text: str) -> Proto:
    """Read the text of a ``.tnnproto`` file.

    Raises:
        FormatError: it is not one.
    """
    lines = [line.strip() for line in text.replace('"', "").replace("\n", "").split(",")]
    if len(lines) <= _HEADER_LINES:
        raise FormatError(f"it has {len(lines)} lines, no more than the header of a .tnnproto")
    version = _version(lines[0])
    for line in (lines[1], *lines[3:]):
        if len(line) >= _BUFFER:
            raise FormatError(f"the line {line[:40]!r}... is longer than the 4095 that TNN reads")
    parse = _input_v1 if version == 1 else _input_v2
    return Proto(
        version,
        tuple(parse(part.split()) for part in lines[1].split(":")),
        tuple(lines[3].split()),
        tuple(_layer(line.split()) for line in lines[_HEADER_LINES:] if line),
    )


def _version(line: str) -> int:
    words = line.split()
    number = _integer(words[3]) if len(words) > 3 else 0
    versions = {MAGIC_V1: 1, MAGIC_V2: 2}
    if number not in versions:
        raise FormatError(
            f"its first line is {line[:60]!r}; the fourth number has to be {MAGIC_V1} or {MAGIC_V2}"
        )
    return versions[number]


def _input_v1(words: list[str]) -> Input:
    if len(words) < 2:
        raise FormatError(f"the input line holds {' '.join(words)!r}")
    return Input(words[0], tuple(map(_integer, words[1:])), _TYPES[0])


def _input_v2(words: list[str]) -> Input:
    if len(words) < 3 or len(words) < 3 + _integer(words[1]):
        raise FormatError(f"the input line holds {' '.join(words)!r}")
    rank = _integer(words[1])
    kind = _integer(words[-1])
    if not 0 <= kind < len(_TYPES):
        raise FormatError(f"the input {words[0]!r} has the unknown data type {kind}")
    return Input(words[0], tuple(map(_integer, words[2 : 2 + rank])), _TYPES[kind])


def _layer(words: list[str]) -> LayerText:
    if len(words) < 4:
        raise FormatError(f"the layer {' '.join(words)!r} is cut off")
    inputs, outputs = _integer(words[2]), _integer(words[3])
    first, last = 4 + inputs, 4 + inputs + outputs
    if inputs < 0 or outputs < 1 or len(words) < last:
        raise FormatError(f"the layer {words[1]!r} ({words[0]}) is cut off")
    blobs = tuple(words[4:first]), tuple(words[first:last])
    return LayerText(words[0], words[1], *blobs, tuple(words[last:]))


def _integer(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise FormatError(f"{word[:40]!r} stands where a whole number has to") from None

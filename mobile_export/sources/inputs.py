"""Inputs as a user names them: ``NAME=SHAPE[:dtype]``; importable without torch.

    image=1x3x224x224            float32
    input_ids=1x77:int64
    batch.image=1x3x64x64        the key ``image`` of the dictionary ``batch``
    scale=:float32               a tensor without axes

What an input is follows from its dtype, its name and its shape (`spec_of`): it decides which values
the check draws, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..graph.specs import DTYPES, PIXELS, InputSpec, Role
from ..system.options import shortened

__all__ = ["NamedInput", "file_names", "parse_input", "read_inputs", "spec_of"]

MAX_ELEMENTS = 2**28
"""Of one input, as of a manifest's"""
MAX_INPUTS = 64

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}(\.[A-Za-z0-9_]{1,100}){0,8}", re.ASCII)
_SHAPE = re.compile(r"([0-9]{1,9}(x[0-9]{1,9}){0,7})?", re.ASCII)
_HINT = (
    "Write NAME=SHAPE or NAME=SHAPE:DTYPE, such as image=1x3x224x224 or input_ids=1x77:int64; "
    f"dtypes are {', '.join(DTYPES)}."
)
_MASK = re.compile(r"(^|_)(attention_)?masks?($|_)")
_STATE = re.compile(r"(^|_)(hidden|state|states|h0|c0|hx|cx|memory|cell|carry)($|_|[0-9])")
_COLOURS = (1, 3, 4)


@dataclass(frozen=True)
class NamedInput:
    """One input of a model's forward.

    Attributes:
        name: the parameter, and behind points the keys or indices of what it holds.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        """As it is typed."""
        dtype = "" if self.dtype == "float32" and self.shape else f":{self.dtype}"
        return f"{self.name}={'x'.join(map(str, self.shape))}{dtype}"


def parse_input(text: str) -> NamedInput:
    """The input of ``NAME=SHAPE[:dtype]``.

    Raises:
        UsageError: anything else, or too large.
    """
    name, equals, rest = text.partition("=")
    shape, colon, dtype = rest.partition(":")
    dtype = dtype.strip() if colon else "float32"
    if not equals or not _NAME.fullmatch(name.strip()) or not _SHAPE.fullmatch(shape.strip()):
        raise UsageError(f"`input` {shortened(repr(text))} is not an input.", hint=_HINT)
    if not shape.strip() and not colon:
        raise UsageError(f"`input` {shortened(repr(text))} has no shape.", hint=_HINT)
    extents = tuple(int(each) for each in shape.split("x") if each.strip())
    return _checked(NamedInput(name.strip(), extents, dtype))


def _checked(given: NamedInput) -> NamedInput:
    count = 1
    for extent in given.shape:
        count *= extent
    if given.dtype not in DTYPES:
        raise UsageError(
            f"`input` {given.name} has the dtype {shortened(given.dtype)!r}.", hint=_HINT
        )
    if not 1 <= count <= MAX_ELEMENTS:
        raise UsageError(
            f"`input` {given.name} of shape {given.shape} has {count:,} elements.",
            hint=f"From 1 to {MAX_ELEMENTS:,} are taken.",
        )
    return given


def read_inputs(given: Mapping[str, Any] | Sequence[str | NamedInput]) -> tuple[NamedInput, ...]:
    """Inputs from texts, or from a mapping of names to shapes or to pairs of shape and dtype.

    Raises:
        UsageError: one cannot be read, or two have one name.
    """
    if isinstance(given, Mapping):
        inputs = [_of_pair(str(name), value) for name, value in given.items()]
    else:
        each_given = [given] if isinstance(given, str) else given
        inputs = [parse_input(each) if isinstance(each, str) else each for each in each_given]
    names = [each.name for each in inputs]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice or len(names) > MAX_INPUTS:
        raise UsageError(
            f"`input` names {twice[0]} more than once."
            if twice
            else f"`input` is given {len(names)} times; at most {MAX_INPUTS} are taken.",
            hint=_HINT,
        )
    return tuple(inputs)


def _of_pair(name: str, value: Any) -> NamedInput:
    items = tuple(value)
    if len(items) == 2 and isinstance(items[1], str):
        return _checked(NamedInput(name, tuple(int(n) for n in items[0]), items[1]))
    return _checked(NamedInput(name, tuple(int(n) for n in items)))


def spec_of(
    name: str, shape: tuple[int, ...], dtype: str, mean: Sequence[float], std: Sequence[float]
) -> InputSpec:
    """What an input is.

    Masks are booleans and what is named so; whole numbers are indices; an image is an array of
    float32 or uint8 with 4 or 5 axes of which the second or the last are 1, 3 or 4 channels. What
    is uint8 has pixels from 0 to 255 in it.

    Args:
        mean, std: of an image's pixels scaled to [0, 1]; one value, or one per channel.
    """
    role, last = _role(name.lower(), shape, dtype), False
    if role != "image":
        return InputSpec(shape, (), (), name, dtype=dtype, role=role)
    last = shape[1] not in _COLOURS or (shape[1] == 1 and shape[-1] == 3)
    channels = shape[-1] if last else shape[1]
    if dtype == "uint8":
        mean, std = (0.0,), (1 / 255,)
    return InputSpec(
        shape,
        _per_channel(mean, channels),
        _per_channel(std, channels),
        name,
        channel_order="L" if channels == 1 else "RGB",
        dtype=dtype,
        channels_last=last,
    )


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return tuple(values)
    return (sum(values) / len(values),) * channels


def _role(name: str, shape: tuple[int, ...], dtype: str) -> Role:
    if dtype == "bool" or _MASK.search(name):
        return "mask"
    if _STATE.search(name):
        return "state"
    pixels = dtype in ("float32", "uint8") and len(shape) in (4, 5)
    if pixels and (shape[1] in _COLOURS or shape[-1] in _COLOURS):
        return "image"
    return "values" if dtype == "float32" else "indices"


def file_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names that every format's file may have, all different, for inputs named as `NamedInput`."""
    found: list[str] = []
    for name in names:
        clean = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "input"
        clean = clean if clean[0].isalpha() else f"input_{clean}"
        candidate, number = clean, 2
        while candidate in (*found, PIXELS):
            candidate, number = f"{clean}_{number}", number + 1
        found.append(candidate)
    return tuple(found)

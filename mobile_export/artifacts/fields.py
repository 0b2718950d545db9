"""Types of fields in files that somebody else may have written: each has its limit.

`decode` reads JSON as one of our records and refuses what does not fit, naming the field.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from ..errors import MobileExportError

__all__ = [
    "Count",
    "Dim",
    "FileName",
    "Magnitude",
    "Name",
    "Number",
    "Positive",
    "Seed",
    "Sha256",
    "Shape",
    "Share",
    "Text",
    "decode",
    "element_count",
    "explain",
]

_FILE_NAME = r"^(?!\.\.?$)[^/\\\x00-\x1f\x7f]+$(?!\n)"
_SHA256 = r"^[0-9a-f]{64}$(?!\n)"
_PLAIN = {
    _FILE_NAME: "a file name without a folder",
    _SHA256: "64 hexadecimal digits (0-9, a-f)",
}
"""Patterns in words."""

Name = Annotated[str, Meta(max_length=1024)]
"""Of a model, a tensor, a node or a library."""
Text = Annotated[str, Meta(max_length=65536)]
"""Sentences for people."""
FileName = Annotated[str, Meta(min_length=1, max_length=255, pattern=_FILE_NAME)]
"""One path component: it cannot lead out of the folder."""
Sha256 = Annotated[str, Meta(pattern=_SHA256)]
"""64 hexadecimal digits, lower case."""
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
"""A finite one."""
Magnitude = Annotated[float, Meta(ge=0, le=1e300)]
"""A finite one that is not negative."""
Positive = Annotated[float, Meta(gt=0, le=1e300)]
"""A finite one above 0."""
Share = Annotated[float, Meta(ge=0, le=1)]
"""From none to all."""
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""Of a generator of random numbers."""
Count = Annotated[int, Meta(ge=0, le=2**62)]
"""Bytes, nanoseconds, samples and the like."""
Dim = Annotated[int, Meta(ge=0, le=2**31)]
"""One extent of a tensor."""
Shape = Annotated[tuple[Dim, ...], Meta(max_length=16)]
"""Of a tensor; `element_count` bounds the product."""

_T = TypeVar("_T")


def element_count(shape: Sequence[int], most: int) -> int:
    """Elements of a tensor of this shape.

    Raises:
        ValueError: more than ``most``, so that nobody tries to allocate them.
    """
    count = math.prod(shape)
    if count > most:
        raise ValueError(f"a shape of {count:.3g} elements; at most {most:,} are taken")
    return count


_NO_UTF_8 = "Invalid UTF-8 encoded string"
"""What msgspec says from 0.23 on; before, it let a UnicodeDecodeError through."""
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode(data: bytes, kind: type[_T], where: str, error: type[MobileExportError]) -> _T:
    """JSON as a record of type ``kind``.

    Args:
        where: what is read, for the message.
        error: what is raised.

    Raises:
        MobileExportError: of the type ``error``; the message names field and what is valid.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as problem:
        if data.startswith(_MARKS):
            raise error(
                f"{where} begins with a byte order mark, which JSON does not have.",
                hint="Save it as UTF-8 without one.",
            ) from None
        raise error(
            f"{where} {explain(problem)}.", hint="docs/manifest.md says what belongs there."
        ) from None


def explain(problem: Exception) -> str:
    """What is wrong with a record, as the end of a sentence that begins with its name."""
    if isinstance(problem, RecursionError):
        return "is nested too deeply"
    what, _, place = str(problem).partition(" - at ")
    if isinstance(problem, UnicodeError) or what == _NO_UTF_8:
        return "is not text in UTF-8"
    field = place.strip("`").removeprefix("$").removeprefix(".")
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing:
        return f"lacks the field {'.'.join(filter(None, [field, missing[1]]))}"
    if not isinstance(problem, msgspec.ValidationError):
        return f"is not JSON: {what.removeprefix('JSON is malformed: ')}"
    for pattern, words in _PLAIN.items():
        what = what.replace(f"`str` matching regex {pattern!r}", words)
    where = f" at {field}" if field else ""
    if not field and what.startswith("Expected "):  # not of a check of ours, which names its fields
        where = " at its beginning"
    return f"is not valid{where}: {what[:1].lower()}{what[1:].replace('`', '')}"

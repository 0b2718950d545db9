"""A damaged file is the user's file: whatever a reader raises on it is one sentence."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

from ..errors import ArtifactError

__all__ = ["reading", "reason"]

_RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # a recursion that is too deep is one
    StopIteration,
    TypeError,
    ValueError,
    struct.error,
)

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (struct.error, "it breaks off, or a length in it leads beyond its end"),
    (UnicodeError, "a name in it is not text in UTF-8"),
    (RecursionError, "it is nested too deeply"),
    (MemoryError, "a size in it is larger than the memory"),
    (LookupError, "it refers to something that is not in it"),
    (ArithmeticError, "a number in it is zero or far too large"),
    (TypeError, "a value in it is of another kind than belongs there"),
    (AttributeError, "a value in it is of another kind than belongs there"),
    (AssertionError, "two things in it contradict each other"),
    (StopIteration, "it breaks off"),
)
"""What an error says of the file; what is not here is told in its own words."""


_OF_NUMBERS = ("invalid literal for", "could not convert", "not enough values", "too many values")
"""How Python begins when a text is read as numbers and is not"""


def reason(error: BaseException) -> str:
    """In words, what the error of a reader says of the file."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    if str(error).startswith(_OF_NUMBERS):
        return "it has a word too many or too few, or one that is no number"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300].rstrip(".") if lines else "its reader does not say why"


@contextlib.contextmanager
def reading(path: Path, title: str) -> Iterator[None]:
    """Around code that decodes the file at ``path``: what it raises says that the file is damaged.

    For code that decodes and nothing else: a mistake of ours in it is called damage too, except for
    files that this run wrote, which `pipeline` calls a mistake of ours.

    Args:
        title: of the format, for people.

    Raises:
        ArtifactError: in place of any error that is not ours already.
    """
    try:
        yield
    except _RAISED as error:
        raise ArtifactError(
            f"{path} is damaged, or is no {title} file: {reason(error)}.",
            hint="Copy it again from where it was made, or export it again.",
        ) from error

"""A damaged file is the user's file: whatever a reader raises on it is one sentence."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

from ..errors import ArtifactError, summary

__all__ = ["reading"]

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
            f"{path} is damaged, or is no {title} file: {summary(error)}.",
            hint="Copy it again from where it was made, or export it again.",
        ) from error

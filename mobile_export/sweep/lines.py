"""The line of a TOML file on which a field begins, found by parsing what stands above it.

`tomllib` does not tell. A field begins behind the longest beginning of the text that parses and
does not have it; texts within quotes cannot mislead that.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

__all__ = ["line_of"]


def line_of(text: str, where: Sequence[str | int]) -> int | None:
    """The line, counted from 1, on which a field begins; None when the text does not have it.

    Args:
        text: a valid document.
        where: keys and indices, such as ``("models", 1, "names")``. A part that is not there, or
            an item of a list within one line, gives the line of what holds it.
    """
    lines = text.split("\n")
    for length in range(len(where), 0, -1):
        if _has(tomllib.loads(text), where[:length]):
            return _first(lines, where[:length])
    return None


def _first(lines: Sequence[str], where: Sequence[str | int]) -> int:
    """Bisection: whether a beginning that parses has the field only changes once."""
    low, high = 0, len(lines)  # the first `low` lines lack it, the first `high` lines have it
    while high - low > 1:
        middle, found = (low + high) // 2, None
        for count in (*range(middle, low, -1), *range(middle + 1, high)):
            found = _parsed(lines, count)
            if found is not None:
                break
        if found is None:  # nothing between them parses: one value over several lines
            break
        if _has(found, where):
            high = count
        else:
            low = count
    while low < high - 1 and (not lines[low].strip() or lines[low].lstrip().startswith("#")):
        low += 1
    return low + 1


def _parsed(lines: Sequence[str], count: int) -> dict[str, Any] | None:
    try:
        return tomllib.loads("\n".join(lines[:count]))
    except tomllib.TOMLDecodeError:
        return None


def _has(found: Any, where: Sequence[str | int]) -> bool:
    for part in where:
        try:
            found = found[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True

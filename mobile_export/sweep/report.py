"""The matrix as Markdown: a summary, one line a model, and the reason of every cell that failed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..errors import MobileExportError
from ..system.files import regular_file
from ..system.terminal import markdown_text
from .cell import STATUSES, Row

__all__ = ["is_markdown_of_ours", "markdown"]

_REASON_LENGTH = 200
_SIGNATURE = "Written by `mobile-export matrix`."


def is_markdown_of_ours(path: Path) -> bool:
    """Whether a file may be replaced by `markdown`: there is none, or it is one."""
    if not os.path.lexists(path):
        return True
    try:
        if path.is_symlink():
            return False
        regular_file(path)
        with path.open(encoding="utf-8") as stream:
            return _SIGNATURE in stream.read(1000)
    except (MobileExportError, OSError, UnicodeDecodeError):
        return False


def markdown(rows: Sequence[Row], title: str = "Matrix") -> str:
    """A document: counts, one line a model, and why cells did not pass."""
    formats = list(dict.fromkeys(row.cell.column for row in rows))
    parts = [
        f"# {title}",
        f"{_SIGNATURE} A figure is the largest error of the executed file "
        "over\nthe range of the float64 reference, of a cell that passed; a * says that one of our "
        "evaluators executed it.",
        _summary(rows, formats),
        _table(rows, formats),
    ]
    left_out = _left_out(rows)
    if left_out:
        parts += ["## Cells with a pass left out", left_out]
    reasons = _reasons(rows)
    if reasons:
        parts += ["## Cells that did not pass", reasons]
    return "\n\n".join(parts) + "\n"


def _line(names: Sequence[str], figures: Sequence[str]) -> str:
    """A line of a table: names, which may hold anything, and what stands here as it is."""
    return "| " + " | ".join([*map(markdown_text, names), *figures]) + " |"


def _summary(rows: Sequence[Row], formats: Sequence[str]) -> str:
    counts = {name: Counter(r.status for r in rows if r.cell.column == name) for name in formats}
    shown = [status for status in STATUSES if any(counts[name][status] for name in formats)]
    without = Counter(row.cell.column for row in rows if row.left_out)
    last = ["a pass left out"] if without else []
    heads = ["format", "cells", *shown, *last]
    lines = [_line(heads, []), _line(["---"], ["---:"] * (len(heads) - 1))]
    for name in formats:
        count = counts[name]
        figures = [count.total(), *(count[status] for status in shown)]
        figures += [without[name]] if without else []
        lines.append(_line([name], list(map(str, figures))))
    return "\n".join(lines)


def _table(rows: Sequence[Row], formats: Sequence[str]) -> str:
    found = {(row.model, row.size, row.cell.column): row for row in rows}
    heads = ["model", "size", *formats]
    lines = [_line(heads, []), _line(["---"] * 2, ["---:"] * len(formats))]
    for model, size in dict.fromkeys((row.model, row.size) for row in rows):
        cells = [_cell(found.get((model, size, name))) for name in formats]
        lines.append(_line([model, size or "its own"], cells))
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.status != "passed" or row.error is None:
        return row.status
    return f"{row.error:.0e}" + ("*" if row.emulated else "")


def _left_out(rows: Sequence[Row]) -> str:
    lines = (
        f"{row.model}, {row.cell.column}: without {', '.join(row.left_out)}: please report"
        for row in rows
        if row.left_out
    )
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def _reasons(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        if row.status != "passed":
            reason = (row.reason or "no reason given")[:_REASON_LENGTH]
            line = f"{row.model}, {row.cell.column}: {row.status}: {reason}"
            lines.append(f"- {markdown_text(line)}")
    return "\n".join(lines)

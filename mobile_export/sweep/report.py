"""The matrix as Markdown: a summary, one line a model, and the reason of every cell that failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .cell import STATUSES, Row

__all__ = ["markdown"]

_REASON_LENGTH = 200


def markdown(rows: Sequence[Row], title: str = "Matrix") -> str:
    """A document: counts, one line a model, and why cells did not pass."""
    formats = list(dict.fromkeys(_column(row) for row in rows))
    parts = [
        f"# {title}",
        "Written by `mobile-export matrix`. A figure is the largest error of the executed file "
        "over\nthe range of the float64 reference, of a cell that passed; a * says that one of our "
        "evaluators executed it.",
        _summary(rows, formats),
        _table(rows, formats),
    ]
    reasons = _reasons(rows)
    if reasons:
        parts += ["## Cells that did not pass", reasons]
    return "\n\n".join(parts) + "\n"


def _column(row: Row) -> str:
    return row.format if row.precision is None else f"{row.format}:{row.precision}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _summary(rows: Sequence[Row], formats: Sequence[str]) -> str:
    counts = {name: Counter(r.status for r in rows if _column(r) == name) for name in formats}
    shown = [status for status in STATUSES if any(counts[name][status] for name in formats)]
    lines = [_line(["format", "cells", *shown]), _line(["---"] + ["---:"] * (1 + len(shown)))]
    for name in formats:
        count = counts[name]
        lines.append(_line([name, str(count.total()), *(str(count[status]) for status in shown)]))
    return "\n".join(lines)


def _table(rows: Sequence[Row], formats: Sequence[str]) -> str:
    found = {(row.model, row.size, _column(row)): row for row in rows}
    lines = [_line(["model", "size", *formats]), _line(["---"] * 2 + ["---:"] * len(formats))]
    for model, size in dict.fromkeys((row.model, row.size) for row in rows):
        cells = [_cell(found.get((model, size, name))) for name in formats]
        lines.append(_line([model, size or "its own", *cells]))
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.status != "passed" or row.error is None:
        return row.status
    return f"{row.error:.0e}" + ("*" if row.emulated else "")


def _reasons(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        if row.status != "passed":
            reason = (row.reason or "no reason given").replace("|", "\\|")[:_REASON_LENGTH]
            lines.append(f"- {row.model}, {_column(row)}: {row.status}: {reason}")
    return "\n".join(lines)

"""Tables of measurements for people and papers: terminal, Markdown, CSV, LaTeX, HTML."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table

from ..system.terminal import escape, markdown_text, printable
from .tables import Row

__all__ = ["FORMATS", "as_csv", "as_html", "as_latex", "as_markdown", "cells", "terminal_table"]


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[Row], str]
    number: bool = False


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _width(row: Row) -> str:
    return f"±{row.half_width:.1%}" if math.isfinite(row.half_width) else ""


def _percentile(name: str) -> Callable[[Row], str]:
    return lambda row: _number(row.to_dict()[name])


def _figure(row: Row) -> str:
    if row.measurement.unit != "ns":
        return ""
    return _number(row.median_ms)


def _type(row: Row) -> str:
    """Precision of the file, and of the arithmetic where that is lower or not known."""
    stored, computed = row.measurement.artifact["precision"], row.measurement.runner["precision"]
    same = computed == stored or computed not in ("fp16", "unknown")
    return str(stored) if same else f"{stored} in {computed}"


def _backend(row: Row) -> str:
    """Empty for the CPU; with the share of nodes where not all were given to the accelerator."""
    name = row.measurement.runner["backend"]
    share = row.delegated
    if name == "cpu":
        return ""
    return name if share is None or share >= 1 else f"{name}, {share:.0%} of nodes"


def _flags(row: Row) -> str:
    return ", ".join(flag.replace("_", " ") for flag in row.measurement.flags)


_COLUMNS = (
    _Column("file", lambda row: row.measurement.artifact["file"]),
    _Column("type", _type),
    _Column("device", lambda row: row.measurement.device.spec),
    _Column("runs in", lambda row: row.measurement.runner["version"]),
    _Column("backend", _backend),
    _Column("threads", lambda row: str(row.measurement.runner["threads"]), True),
    _Column("median ms", _figure, True),
    _Column("95 %", _width, True),
    _Column("p90", _percentile("p90_ms"), True),
    _Column("p99", _percentile("p99_ms"), True),
    _Column("runs", lambda row: str(len(row.measurement.samples) or ""), True),
    _Column("load ms", lambda row: _number(row.to_dict()["load_ms"], 0), True),
    _Column("memory MB", lambda row: _number(row.to_dict()["peak_memory_mb"], 0), True),
    _Column("output", lambda row: row.to_dict()["output"]),
    _Column("flags", _flags),
)
_INSTRUCTIONS = _Column(
    "M instructions",
    lambda row: (
        ""
        if row.measurement.unit == "ns" or row.summary is None
        else f"{row.summary.median / 1e6:,.2f}"
    ),
    True,
)


def _columns(rows: Sequence[Row]) -> list[_Column]:
    """Those with something in them; the figure is always there."""
    columns = list(_COLUMNS)
    columns.insert(6, _INSTRUCTIONS)
    return [
        column
        for column in columns
        if column.title == "median ms" or any(column.text(row) for row in rows)
    ]


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """Titles, then one list of texts per row; control characters are spelled out."""
    columns = _columns(rows)
    body = ([printable(c.text(row)) for c in columns] for row in rows)
    return [[c.title for c in columns], *body]


def terminal_table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    table = Table(box=None, pad_edge=False)
    columns = _columns(rows)
    for column in columns:
        table.add_column(column.title, justify="right" if column.number else "left", no_wrap=True)
    for row in rows:
        style = "" if row.measurement.trusted else "yellow"
        table.add_row(*(escape(column.text(row)) for column in columns), style=style)
    return table


def as_markdown(rows: Sequence[Row]) -> str:
    """A pipe table."""
    columns = _columns(rows)
    titles, *body = cells(rows)
    lines = [titles, ["---:" if column.number else "---" for column in columns], *body]
    return "".join("| " + " | ".join(map(markdown_text, line)) + " |\n" for line in lines)


def as_csv(rows: Sequence[Row]) -> str:
    """Every field of `Row.to_dict`, full precision; lists are joined by a space."""
    names = list(rows[0].to_dict()) if rows else []
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        facts = row.to_dict()
        values = (facts[name] for name in names)
        texts = (" ".join(map(str, v)) if isinstance(v, list) else v for v in values)
        writer.writerow([_no_formula(v) if isinstance(v, str) else v for v in texts])
    return stream.getvalue()


_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with; the last four are the same signs in full width."""


def _no_formula(text: str) -> str:
    """A cell of text that no spreadsheet takes for a formula."""
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "[": "{[}", "*": "{*}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
}  # fmt: skip


def as_latex(rows: Sequence[Row]) -> str:
    """A tabular with the rules of the package booktabs."""
    columns = _columns(rows)
    titles, *body = ([_latex(text) for text in line] for line in cells(rows))
    lines = [
        rf"\begin{{tabular}}{{{''.join('r' if column.number else 'l' for column in columns)}}}",
        r"\toprule",
        " & ".join(titles) + r" \\",
        r"\midrule",
        *(" & ".join(line) + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    """One cell; a bracket or a star that follows a row's end would be an argument of it."""
    return "".join(_LATEX.get(character, character) for character in text)


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff }
table { border-collapse: collapse } .scroll { overflow-x: auto }
caption { text-align: left; padding-bottom: .5rem; font-weight: 600 }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ccc; text-align: left;
  white-space: nowrap }
.number { text-align: right; font-variant-numeric: tabular-nums }
.flagged { background: #fff3cd }
figure { margin: 2rem 0 } figure svg { max-width: 100%; height: auto }
@media (prefers-color-scheme: dark) {
  body { color: #e8e8e8; background: #161616 } .flagged { background: #4d3f00 }
  figure svg { background: #fff } }
"""


def as_html(rows: Sequence[Row], *, title: str, plot: str | None = None) -> str:
    """One file that needs no other: the table and, given as SVG text, the plot."""
    columns = _columns(rows)
    titles, *body = cells(rows)

    def cell(tag: str, text: str, column: _Column) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        kind = ' class="number"' if column.number else ""
        return f"<{tag}{scope}{kind}>{html.escape(text)}</{tag}>"

    def line(tag: str, texts: Sequence[str]) -> str:
        pairs = zip(texts, columns, strict=True)
        return "".join(cell(tag, text, column) for text, column in pairs)

    lines = "\n".join(
        f"<tr{'' if row.measurement.trusted else ' class=flagged'}>{line('td', texts)}</tr>"
        for row, texts in zip(rows, body, strict=True)
    )
    figure = ""
    if plot is not None:
        caption = "Accuracy over latency. The points are in the tables of the papers and above."
        figure = f"<figure>{plot}<figcaption>{caption}</figcaption></figure>"
    notice = "" if rows else "<p>No measurement can be shown; flagged ones are left out.</p>\n"
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style></head>
<body>
<h1>{html.escape(title)}</h1>
{notice}<div class="scroll" tabindex="0" role="region" aria-label="Measurements">
<table><caption>Latency of one inference: median, its 95 % interval, percentiles</caption>
<thead><tr>{line("th", titles)}</tr></thead>
<tbody>
{lines}
</tbody></table></div>
{figure}
</body></html>
"""


FORMATS = ("terminal", "markdown", "csv", "latex", "html")
"""What ``mobile-bench table --as`` knows."""

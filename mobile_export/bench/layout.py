"""A table of texts, and how it is written: terminal, Markdown, LaTeX, HTML.

What the texts say is the business of `report` (every measurement) and `paper` (beside published
rows). Texts come from files, devices and stores: no cell can be a formula, a new row or markup.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..system.tables import plain_table
from ..system.terminal import escape, markdown_text, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "Column",
    "Grid",
    "csv_text",
    "html_table",
    "latex_escaped",
    "latex_text",
    "markdown_text_of",
    "terminal",
]


@dataclass(frozen=True)
class Column:
    """Of a table.

    Attributes:
        number: it holds numbers, which stand on the right.
        shared: on a terminal, what is the same in every line stands above the table.
        spare: on a terminal without room, those with the highest figure are left out first.
        words: what the words that its cells hold mean; on a terminal they are numbers, and the
            words stand below the table.
    """

    title: str
    number: bool = False
    shared: bool = False
    spare: int = 0
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        lines: one text per column each; one whose first text is empty goes on from that above it.
        flagged: of each line, whether its figure is not to be trusted.
        notes: sentences below the table.
    """

    columns: tuple[Column, ...]
    lines: tuple[tuple[str, ...], ...]
    flagged: tuple[bool, ...]
    notes: tuple[str, ...] = ()

    def filled(self, always: Iterable[str] = ()) -> Grid:
        """Without the columns that are empty in every line, except those called ``always``."""
        kept = [
            index
            for index, column in enumerate(self.columns)
            if column.title in always or any(line[index] for line in self.lines)
        ]
        columns = tuple(self.columns[index] for index in kept)
        lines = tuple(tuple(line[index] for index in kept) for line in self.lines)
        return Grid(columns, lines, self.flagged, self.notes)

    def texts(self) -> list[list[str]]:
        """Titles, then the lines; control characters are spelled out."""
        body = ([printable(text) for text in line] for line in self.lines)
        return [[column.title for column in self.columns], *body]


def terminal(grid: Grid) -> list[RenderableType]:
    """For a terminal, part by part: what all lines share, the table, and notes.

    Flagged lines are yellow.
    """
    shared = [index for index in range(len(grid.columns)) if _shared(grid, index)]
    kept = [index for index in range(len(grid.columns)) if index not in shared]
    said = [f"{grid.columns[index].title}: {grid.lines[0][index]}" for index in shared]
    marks: dict[str, int] = {}
    columns = [grid.columns[index] for index in kept]
    spare = sorted((c for c in columns if c.spare), key=lambda column: -column.spare)
    table = plain_table(
        *(escape(column.title) for column in columns),
        right=[column.title for column in columns if column.number],
        spare=[column.title for column in spare],
    )
    for line, flagged in zip(grid.lines, grid.flagged, strict=True):
        texts = (_marked(line[index], grid.columns[index].words, marks) for index in kept)
        table.add_row(*map(escape, texts), style="yellow" if flagged else "")
    meanings = {word: text for column in columns for word, text in column.words.items()}
    notes = (f"{number} {word}: {meanings[word]}" for word, number in marks.items())
    return [
        *([escape(", ".join(said))] if said else ()),
        table,
        *map(escape, (*notes, *grid.notes)),
    ]


def _shared(grid: Grid, index: int) -> bool:
    """Whether a column has one text in all lines, so that it is said once."""
    own = {line[index] for line in grid.lines if line[0]}
    more = {line[index] for line in grid.lines} - own - {""}
    return grid.columns[index].shared and len(own) == 1 and "" not in own and not more


def _marked(text: str, words: Mapping[str, str], marks: dict[str, int]) -> str:
    """A cell with a number for each word that has a meaning; ``marks`` remembers them."""
    if not words:
        return text
    parts = (part for part in text.split(", ") if part)
    return " ".join(
        str(marks.setdefault(part, len(marks) + 1)) if part in words else part for part in parts
    )


def markdown_text_of(grid: Grid) -> str:
    """A pipe table, and the notes below it."""
    titles, *body = grid.texts()
    lines = [titles, ["---:" if column.number else "---" for column in grid.columns], *body]
    table = "".join("| " + " | ".join(map(markdown_text, line)) + " |\n" for line in lines)
    return table + "".join(f"\n{markdown_text(note)}\n" for note in grid.notes)


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Every key a column, full precision; lists are joined by a space."""
    names = list(records[0]) if records else []
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for record in records:
        values = (record[name] for name in names)
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


def latex_text(grid: Grid) -> str:
    """A tabular with the rules of the package booktabs; the notes are comments below it."""
    titles, *body = ([latex_escaped(text) for text in line] for line in grid.texts())
    sides = "".join("r" if column.number else "l" for column in grid.columns)
    lines = [
        rf"\begin{{tabular}}{{{sides}}}",
        r"\toprule",
        " & ".join(titles) + r" \\",
        r"\midrule",
        *(" & ".join(line) + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        *(f"% {printable(note)}" for note in grid.notes),
    ]
    return "\n".join(lines) + "\n"


def latex_escaped(text: str) -> str:
    """Text that LaTeX prints as it is; also where a bracket or a star would be an argument."""
    return "".join(_LATEX.get(character, character) for character in text)


def html_table(grid: Grid, caption: str) -> str:
    """A ``<table>`` that scrolls by itself where it is wider than the page, and the notes."""
    titles, *body = grid.texts()

    def cell(tag: str, text: str, column: Column) -> str:
        place = ' scope="col"' if tag == "th" else f' data-title="{html.escape(column.title)}"'
        kind = ' class="number"' if column.number else ""
        return f"<{tag}{place}{kind}>{html.escape(text)}</{tag}>"

    def line(tag: str, texts: Sequence[str]) -> str:
        pairs = zip(texts, grid.columns, strict=True)
        return "".join(cell(tag, text, column) for text, column in pairs)

    lines = "\n".join(
        f"<tr{' class=flagged' if flagged else ''}>{line('td', texts)}</tr>"
        for texts, flagged in zip(body, grid.flagged, strict=True)
    )
    notes = "".join(f"<p>{html.escape(printable(note))}</p>\n" for note in grid.notes)
    return f"""<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}">
<table><caption>{html.escape(caption)}</caption>
<thead><tr>{line("th", titles)}</tr></thead>
<tbody>
{lines}
</tbody></table></div>
{notes}"""

"""Tables that fit a terminal: numbers are never cut, texts fold, columns without room are named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

__all__ = ["PlainTable", "plain_table"]

_GAP = 2
"""Columns of the terminal between two columns of a table"""
_READABLE, _LEAST = 16, 10
"""Columns of the terminal that a text is given before whole columns are left out, and after"""
_NAME = 2 / 5
"""Of the terminal's width: what a name is given before whole columns are left out"""


@dataclass(frozen=True)
class _Column:
    """Of a table; a number stands on the right. It and what is whole are never cut or folded."""

    title: str
    number: bool
    whole: bool
    name: bool


class PlainTable:
    """A table without lines that fits the terminal that it is printed on.

    Where the terminal is too narrow, titles break between words, texts fold, and then the spare
    columns are left out, one after the other, and named below the table. What is still too wide is
    as wide as its numbers: the terminal breaks the lines.
    """

    def __init__(
        self, columns: Sequence[_Column], *, spare: Sequence[str] = (), header: bool = True
    ) -> None:
        self.columns = tuple(columns)
        titles = [column.title for column in self.columns]
        self._spare = [titles.index(title) for title in spare if title in titles]
        self._header = header
        self._lines: list[tuple[tuple[str, ...], str]] = []

    def add_row(self, *cells: str, style: str = "") -> None:
        """A line; cells are rich's markup. Missing ones at the end are empty."""
        missing = len(self.columns) - len(cells)
        self._lines.append(((*cells, *("",) * missing), style))

    @property
    def row_count(self) -> int:
        """Lines, without the titles."""
        return len(self._lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = list(range(len(self.columns)))
        natural, least = self._widths(_READABLE, int(_NAME * options.max_width))
        for index in self._spare:
            if _total(least[index] for index in kept) > options.max_width:
                kept.remove(index)
        if _total(least[index] for index in kept) > options.max_width:
            natural, least = self._widths(_LEAST, _LEAST)
        widths = _shared_out(
            [natural[index] for index in kept], [least[index] for index in kept], options.max_width
        )
        width = max(_total(widths), options.max_width)
        yield from console.render(self._drawn(kept, widths), options.update(width=width))
        left_out = [c.title for index, c in enumerate(self.columns) if index not in kept]
        if left_out:
            yield Text(f"No room here for: {', '.join(left_out)}.", style="dim")

    def _widths(self, text: int, name: int) -> tuple[list[int], list[int]]:
        """Of every column: all of it in one line, and what it cannot do without.

        Args:
            text: that a text is given at least.
            name: that a name is given at least.
        """

        def width(markup: str) -> int:
            return cell_len(Text.from_markup(markup, emoji=False).plain)

        natural, least = [], []
        for index, column in enumerate(self.columns):
            title = width(column.title) if self._header else 0
            words = max((width(word) for word in column.title.split()), default=0)
            cells = max((width(cells[index]) for cells, _ in self._lines), default=0)
            natural.append(max(title, cells))
            shown = max(words if self._header else 0, cells)
            uncut = column.number or column.whole
            least.append(shown if uncut else min(shown, name if column.name else text))
        return natural, least

    def _drawn(self, kept: Sequence[int], widths: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=self._header)
        for index, width in zip(kept, widths, strict=True):
            column = self.columns[index]
            side = "right" if column.number else "left"
            table.add_column(column.title, justify=side, width=width, overflow="fold")  # type: ignore[arg-type]
        for cells, style in self._lines:
            table.add_row(*(cells[index] for index in kept), style=style)
        return table


def plain_table(
    *columns: str,
    right: Iterable[str] = (),
    whole: Iterable[str] = (),
    names: Iterable[str] = (),
    spare: Sequence[str] = (),
    header: bool = True,
) -> PlainTable:
    """A table with these titles.

    Args:
        right: titles of numbers.
        whole: titles of texts that are there to be typed, such as names of models.
        names: titles of texts that stay in one line, up to two fifths of the terminal, rather than
            spare columns, such as names of files.
        spare: titles of what may be left out, in the order in which it goes.
    """
    numbers, uncut, named = set(right), set(whole), set(names)
    made = [_Column(each, each in numbers, each in uncut, each in named) for each in columns]
    return PlainTable(made, spare=spare, header=header)


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + _GAP * (len(found) - 1)


def _shared_out(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """A width for each column: after the least for all, those that want little have all of it."""
    widths = list(least)
    left = room - _total(least)
    wanting = sorted(range(len(widths)), key=lambda index: natural[index] - least[index])
    for place, index in enumerate(wanting):
        share = max(0, left) // (len(wanting) - place)
        given = min(share, natural[index] - least[index])
        widths[index] += given
        left -= given
    return widths

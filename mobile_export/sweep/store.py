"""The file in which the results of a sweep are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import msgspec

from ..artifacts.fields import explain
from ..errors import ArtifactError
from ..system.files import MIB, read_regular_file, write_whole
from ..system.folders import locked
from .cell import Cell, Row

__all__ = ["Matrix"]


_SCHEMA = 1
_MOST_BYTES = 256 * MIB


class _File(msgspec.Struct):
    """What the file holds."""

    schema: int
    rows: tuple[Row, ...]


class Matrix:
    """Rows on disk: one JSON file, replaced atomically after every cell.

    Args:
        path: of the JSON file; read when it exists.
        anew: forget the rows that it holds.

    Raises:
        ArtifactError: the file exists and is not a matrix.
    """

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self.path = path
        if path.is_symlink():
            raise ArtifactError(
                f"{path} is a link; it is not replaced.",
                hint="Choose another file with -o FILE.json.",
            )
        rows = _read(path) if os.path.lexists(path) else ()
        self._seen = {row.cell for row in rows}
        if anew:
            rows = ()
        self._rows: dict[Cell, Row | None] = {row.cell: row for row in rows}

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in the order in which their cells were first asked for."""
        return tuple(row for row in self._rows.values() if row is not None)

    def find(self, cell: Cell) -> Row | None:
        """The row of a cell, or None when it has not run yet."""
        return self._rows.get(cell)

    def expect(self, cells: Iterable[Cell]) -> None:
        """Keep a place for the rows of ``cells``, which may come in any order."""
        for cell in cells:
            self._rows.setdefault(cell, None)

    def add(self, row: Row) -> None:
        """Put a row in the place of the cell's last one, and write the file."""
        self.add_all([row])

    def add_all(self, rows: Iterable[Row]) -> None:
        """`add` for several rows, which are written at once."""
        for row in rows:
            self._rows[row.cell] = row
            self._seen.add(row.cell)
        self.write()

    def write(self) -> None:
        """Replace the file by the rows of now; what another run added meanwhile stays.

        Raises:
            ArtifactError: the file cannot be written, or is no matrix any more.
        """
        from .. import __version__

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(
                f"Cannot write {self.path}: {error.strerror or error}.",
                hint="Choose another file with -o FILE.json.",
            ) from error
        with locked(self.path.parent):
            for row in _read(self.path) if os.path.lexists(self.path) else ():
                if row.cell not in self._seen:
                    self._seen.add(row.cell)
                    self._rows[row.cell] = row
            facts = {
                "schema": _SCHEMA,
                "mobile_export": __version__,
                "rows": [asdict(row) for row in self.rows],
            }
            content = json.dumps(facts, indent=1) + "\n"
            write_whole(self.path, content.encode(), error=ArtifactError)


def _read(path: Path) -> tuple[Row, ...]:
    data = read_regular_file(path, limit=_MOST_BYTES)
    try:
        found = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as problem:
        raise ArtifactError(
            f"{path} exists and is not the result of mobile-export matrix: it {explain(problem)}.",
            hint="Choose another file with -o FILE.json.",
        ) from None
    if found.schema != _SCHEMA:
        raise ArtifactError(
            f"{path} has schema {found.schema}; this version reads schema {_SCHEMA}.",
            hint="Move it away and run again.",
        )
    return found.rows

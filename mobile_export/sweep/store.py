"""The file in which the results of a sweep are kept."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from ..errors import ArtifactError
from .cell import Cell, Row

__all__ = ["Matrix"]


_SCHEMA = 1


class Matrix:
    """Rows on disk: one JSON file, replaced atomically after every cell.

    Args:
        path: of the JSON file; read when it exists.

    Raises:
        ArtifactError: the file exists and is not a matrix.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = _read(path) if path.exists() else []
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
        self._rows[row.cell] = row
        self.write()

    def write(self) -> None:
        """Replace the file by the rows of now."""
        from .. import __version__

        facts = {
            "schema": _SCHEMA,
            "mobile_export": __version__,
            "rows": [asdict(row) for row in self.rows],
        }
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
            temporary.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise ArtifactError(
                f"Cannot write {self.path}: {error.strerror or error}.",
                hint="Choose another file with -o FILE.json.",
            ) from error


def _read(path: Path) -> list[Row]:
    try:
        facts = json.loads(path.read_text("utf-8"))
        schema = facts["schema"]
        known = {field.name for field in fields(Row)}
        rows = [Row(**{k: v for k, v in row.items() if k in known}) for row in facts["rows"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} exists and is not the result of mobile-export matrix.",
            hint="Choose another file with -o FILE.json.",
        ) from error
    if schema != _SCHEMA:
        raise ArtifactError(
            f"{path} has schema {schema}; this version reads schema {_SCHEMA}.",
            hint="Move it away and run again.",
        )
    return rows

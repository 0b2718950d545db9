"""The command ``placement``: what accelerators take of a file, and whether it is right there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, Verbose

if TYPE_CHECKING:
    from ..placement.record import Placement

__all__ = ["placement"]

_LISTED = 4
"""Operators in a row that are named."""


def placement(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Exported files, each with its manifest beside it.", show_default=False
        ),
    ],
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on", help="An accelerator, can be repeated; all by default.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show which part of a file accelerators take: NNAPI, Core ML's provider, GPUs.

    Their own software is asked here; a GPU's also executes the file, on this machine's Vulkan
    device or on one in software. Exit code 1 when its outputs are not the model's.
    """
    from ..bench.files import read_artifact
    from ..placement.look import place
    from ..placement.table import accelerators_for
    from ..system.terminal import progress_line

    for file in files:
        accelerators_for(read_artifact(file).format, on or ())
    found: dict[Path, list[Placement]] = {}
    with progress_line(enabled=not as_json and not verbose, lines=verbose) as progress:
        for file in files:
            found[file] = place(file, on or (), progress=progress)
    if as_json:
        rows = [{"file": str(file), **each.to_dict()} for file in found for each in found[file]]
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print(found)
    raise typer.Exit(int(any(each.wrong for rows in found.values() for each in rows)))


def _print(found: Mapping[Path, Sequence[Placement]]) -> None:
    from ..system.tables import plain_table
    from ..system.terminal import escape, stderr_console, stdout_console

    table = plain_table(
        "file", "accelerator", "takes", "of nodes", "parts", "left to the CPU", "executed",
        right=("takes", "of nodes", "parts"),
    )  # fmt: skip
    notes: dict[str, None] = {}
    for file, rows in found.items():
        for row in rows:
            figures = ("?" if n is None else str(n) for n in (row.taken, row.nodes, row.parts))
            cells = (str(file), row.title, *figures, _left(row), _executed(row))
            table.add_row(*map(escape, cells))
            if row.problem:
                notes[f"{row.title}: {row.problem}"] = None
            if row.conditions:
                few = "; ".join(row.conditions)
                notes[f"{row.title}: not checked by {row.said_by}: {few}"] = None
    stdout_console().print(table)
    for note in notes:
        stderr_console().print(f"[yellow]note:[/] {escape(note)}")


def _left(row: Placement) -> str:
    """The operators that the CPU does, the most frequent first."""
    names = [f"{count} {name}" for name, count in row.left.items()]
    more = f", {len(names) - _LISTED} more kinds" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _executed(row: Placement) -> str:
    """What came out there."""
    if row.run is None:
        return "no"
    error = "not finite" if row.run.max_rel is None else f"{row.run.max_rel:.1e} off"
    said = "passed" if row.run.passed else "FAILED"
    return f"{said}: {error}, {row.run.tolerance:.0e} allowed, on {row.run.device}"

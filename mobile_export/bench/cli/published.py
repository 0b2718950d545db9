"""The command that prints the papers' tables of latencies: ``mobile-bench published``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson
from .tables import chosen_papers

if TYPE_CHECKING:
    from ..published import PublishedLatency

__all__ = ["published"]

_FORMATS = ("terminal", "csv")
_NOT_STATED = "not stated"


def published(
    paper: Annotated[
        list[str] | None,
        typer.Option(
            help="FreeNet, EMO or SeaFormer++; may be given again. All by default.",
            show_default=False,
        ),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            help="Its number in the paper; may be given again. All by default.",
            show_default=False,
        ),
    ] = None,
    as_: Annotated[str, typer.Option("--as", help="terminal or csv.")] = "terminal",
    as_json: AsJson = False,
) -> None:
    """Print the latencies that the papers print, and what each was measured on."""
    from ...errors import UsageError
    from ..published import rows

    if as_ not in _FORMATS:
        raise UsageError(f"There is no table as {as_!r}.", hint=f"Valid: {', '.join(_FORMATS)}.")
    papers = chosen_papers(paper, None)
    of_papers = [row for row in rows() if papers is None or row.paper in papers]
    found = [row for row in of_papers if not table or row.table in table]
    missing = set(table or ()) - {row.table for row in of_papers}
    if missing:
        known = sorted({row.table for row in of_papers}, key=lambda name: (len(name), name))
        raise UsageError(
            f"No table {', '.join(sorted(missing))} with latencies is known.",
            hint=f"Valid: --table {', '.join(known)}.",
        )
    if as_json:
        typer.echo(json.dumps([row.to_dict() for row in found], indent=2))
    elif as_ == "csv":
        typer.echo(_as_csv(found), nl=False)
    else:
        _print_tables(found)


def _as_csv(found: Sequence[PublishedLatency]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    facts = [row.to_dict() for row in found]
    writer.writerow(facts[0])
    writer.writerows(fact.values() for fact in facts)
    return stream.getvalue()


def _print_tables(found: Sequence[PublishedLatency]) -> None:
    """One table for every column of latencies."""
    from ...system.tables import plain_table
    from ...system.terminal import escape, stdout_console

    console = stdout_console()
    columns: dict[tuple[str, str], list[PublishedLatency]] = {}
    for row in found:
        columns.setdefault((row.citation, row.column), []).append(row)
    for (citation, _), rows in columns.items():
        first = rows[0]
        console.print(f"[bold]{escape(citation)}[/]")
        console.print(escape(_conditions(first)))
        titles = ("size", first.unit, "params M", "MACs M", first.metric or "accuracy")
        drawn = plain_table("model", "head", "here", *titles, right=titles)
        for row in rows:
            size = _NOT_STATED if row.size is None else f"{row.size[0]}x{row.size[1]}"
            numbers = (row.value, row.params_m, row.macs_m, row.accuracy)
            texts = ("-" if number is None else f"{number:,.10g}" for number in numbers)
            drawn.add_row(*map(escape, (row.model, row.head, row.name or "", size, *texts)))
        console.print(drawn)
        console.print()


def _conditions(row: PublishedLatency) -> str:
    """What one column was measured on; what the paper does not say is said to be so."""
    facts = {
        "precision": row.precision,
        "threads": row.threads,
        "batch": row.batch,
        "framework": row.framework,
    }
    told = ", ".join(f"{name} {value or _NOT_STATED}" for name, value in facts.items())
    where = row.device if row.processor == "phone" else f"{row.device} {row.processor}"
    return f"{where}: {told}"

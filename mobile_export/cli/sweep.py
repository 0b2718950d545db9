"""The commands ``sweep``: many models, formats and devices, in a store that goes on."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..system.options import Range
from ..system.typed import RunByDefault, number
from .options import AsJson, Force

if TYPE_CHECKING:
    from ..sweep.diff import Diff
    from ..sweep.engine import Engine
    from ..sweep.ledger import Entry, Ledger
    from ..sweep.plan import Plan

__all__ = ["sweep_commands"]

sweep_commands = typer.Typer(
    cls=RunByDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run many models in many formats on many devices; `sweep SPEC.toml` is `sweep run "
    "SPEC.toml`.",
)
_MOST = 200
"""Cells that are listed on a terminal; --json has all."""
_Store = Annotated[
    str, typer.Argument(help="Store of a sweep, or STORE@RUN; its last run.", show_default=False)
]


@sweep_commands.command()
def run(
    spec: Annotated[Path, typer.Argument(help="What to run; docs/sweep.md.", show_default=False)],
    store: Annotated[
        Path | None,
        typer.Option(help="File of results; SPEC.sqlite here by default.", show_default=False),
    ] = None,
    jobs: Annotated[
        int | None,
        number(
            within=Range(1, 1024, whole=True),
            help="Cells at once on this machine; one per core by default.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            help="A cluster: tcp://HOST:8786, dask:2, ssh:HOST,HOST, slurm, kubernetes; by "
            "default processes on this machine.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        number(
            within=Range(1, 100_000, whole=True),
            help="To start, with --on slurm or kubernetes; as there is work by default.",
            show_default=False,
        ),
    ] = None,
    files: Annotated[
        str | None,
        typer.Option(
            help="Folder or URL (s3://…) through which files travel to workers.",
            show_default=False,
        ),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Run those again that did not pass.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the cells that the store has no result of; a sweep that was stopped goes on.

    SPEC may name code (module:factory), which runs. Exit code 1 when a cell did not pass, 3 when
    one has no result.
    """
    from ..sweep.drive import run_sweep
    from ..sweep.ledger import open_ledger
    from ..sweep.plan import make_plan
    from ..system.terminal import progress_bar

    plan = make_plan(spec)
    path = store or Path(f"{spec.stem}.sqlite")
    with (
        _engine(on, workers, files, jobs, plan) as engine,
        open_ledger(path, write=True) as ledger,
        progress_bar(enabled=not as_json) as (begin, finished),
    ):
        outcome = run_sweep(
            plan,
            ledger,
            engine,
            retry=retry,
            begin=begin,
            finished=lambda job, result: finished(f"{job.title} {result.status}"),
        )
        entries = list(ledger.entries(outcome.run))
        facts = {**_summary(ledger, outcome.run, entries), "added": outcome.added}
    facts["problems"] = list(dict.fromkeys(outcome.problems.values()))
    _tell(facts, entries, as_json)
    raise typer.Exit(_exit_code(entries))


@contextlib.contextmanager
def _engine(
    on: str | None, workers: int | None, files: str | None, jobs: int | None, plan: Plan
) -> Iterator[Engine]:
    """What runs the cells; of a cluster, its workers are looked at first."""
    from ..errors import UsageError
    from ..sweep.engine import Local
    from ..system.terminal import escape, stderr_console

    if on is None:
        if files is not None or workers is not None:
            raise UsageError("--files and --workers are for a cluster.", hint="Name it: --on …")
        yield Local(jobs or os.cpu_count() or 1)
        return
    if jobs is not None:
        raise UsageError(
            "--jobs is for this machine; a cluster has its own workers.", hint="Leave it out."
        )
    from ..sweep.cluster import Cluster
    from ..sweep.connect import connected, kind_of
    from ..sweep.share import Share

    kind_of(on)
    share = None if files is None else Share(files)

    def tell(text: str) -> None:
        stderr_console().print(f"[yellow]note:[/] {escape(text)}", soft_wrap=True)

    with connected(on, workers) as client:
        engine = Cluster(client, share=share, tell=tell)
        for versions in {tuple(j.versions.items()): j.versions for j in plan.jobs}.values():
            engine.check(versions)
        yield engine


@sweep_commands.command()
def status(store: _Store, as_json: AsJson = False) -> None:
    """Say what a run wanted, what it has, and what did not pass.

    Exit code 1 when a cell did not pass, 3 when one has no result.
    """
    from ..sweep.ledger import open_ledger, split_run

    path, number = split_run(store)
    with open_ledger(path) as ledger:
        run = ledger.chosen(number)
        entries = list(ledger.entries(run))
        facts = _summary(ledger, run, entries)
    _tell(facts, entries, as_json)
    raise typer.Exit(_exit_code(entries))


@sweep_commands.command()
def diff(
    before: _Store,
    after: _Store,
    larger: Annotated[
        float,
        number(within=Range(0, 100), help="Share by which a file must have grown to be told."),
    ] = 0.01,
    as_json: AsJson = False,
) -> None:
    """Compare two runs: new failures, slower than the interval, less accurate, larger files.

    Exit code 1 with a regression, 3 when a cell has no result to compare.
    """
    from ..sweep.diff import compare_runs
    from ..sweep.ledger import open_ledger, split_run

    sides: list[list[Entry]] = []
    for text in (before, after):
        path, number = split_run(text)
        with open_ledger(path) as ledger:
            sides.append(list(ledger.entries(ledger.chosen(number))))
    found = compare_runs(*sides, larger=larger)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        _print_diff(found)
    raise typer.Exit(found.exit_code)


@sweep_commands.command()
def report(
    store: _Store,
    out: Annotated[Path, typer.Option("-o", "--out", help="The page.", show_default=False)],
    force: Force = False,
) -> None:
    """Write a run as one HTML page: the grid, sortable, each reason one click away."""
    from ..errors import UsageError
    from ..sweep.ledger import open_ledger, split_run
    from ..sweep.page import as_html
    from ..system.files import require_free_file, write_whole
    from ..system.terminal import escape, stdout_console

    if out.suffix != ".html":
        raise UsageError(f"{out} is not a .html file.", hint="Write -o FILE.html.")
    require_free_file(out, force=force, error=UsageError)
    path, number = split_run(store)
    with open_ledger(path) as ledger:
        run = ledger.chosen(number)
        page = as_html(ledger.runs()[run], run, list(ledger.entries(run)))
    write_whole(out, page.encode(), error=UsageError)
    stdout_console().print(f"{escape(str(out))} has run {run}.", soft_wrap=True)


def _summary(ledger: Ledger, run: int, entries: Sequence[Entry]) -> dict[str, Any]:
    counts = Counter("no result" if e.result is None else e.result.status for e in entries)
    about = ledger.runs()[run]
    return {
        "store": str(ledger.path),
        "run": run,
        "name": about.name,
        "started": about.started,
        "mobile_export": about.mobile_export,
        "cells": len(entries),
        "counts": dict(counts),
    }


def _exit_code(entries: Sequence[Entry]) -> int:
    if any(e.result is not None and e.result.status != "passed" for e in entries):
        return 1
    return 3 if any(entry.result is None for entry in entries) else 0


def _tell(facts: dict[str, Any], entries: Sequence[Entry], as_json: bool) -> None:
    if as_json:
        import msgspec

        rows = [
            {
                "cell": entry.cell,
                **msgspec.to_builtins(entry.facts),
                "result": msgspec.to_builtins(entry.result),
            }
            for entry in entries
        ]
        typer.echo(json.dumps({**facts, "results": rows}, indent=2))
        return
    from ..system.tables import plain_table
    from ..system.terminal import escape, stderr_console, stdout_console

    out = stdout_console()
    table = plain_table("model", "format", "status", "reason")
    shown = [e for e in entries if e.result is not None and e.result.status != "passed"]
    for entry in shown[:_MOST]:
        assert entry.result is not None
        reason = (entry.result.reason or "")[:200]
        cells = (entry.facts.row, entry.facts.column, entry.result.status, reason)
        table.add_row(*map(escape, cells))
    if table.row_count:
        out.print(table)
    if len(shown) > _MOST:
        out.print(f"and {len(shown) - _MOST:,} more: --json has all")
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(facts["counts"].items()))
    added = f", {facts['added']:,} of them run now" if "added" in facts else ""
    out.print(
        escape(f"{facts['store']}, run {facts['run']} of {facts['name']}: {counts}{added}"),
        soft_wrap=True,
    )
    for problem in facts.get("problems", ())[:20]:
        stderr_console().print(f"[yellow]not run:[/] {escape(problem)}", soft_wrap=True)


def _print_diff(found: Diff) -> None:
    from ..system.tables import plain_table
    from ..system.terminal import escape, stdout_console

    out = stdout_console()
    table = plain_table("what", "model", "format", "before", "after")
    for change in found.changes[:_MOST]:
        texts = (change.what, change.model, change.column, change.before, change.after)
        table.add_row(*(escape(text[:200]) for text in texts))
    if table.row_count:
        out.print(table)
    if len(found.changes) > _MOST:
        out.print(f"and {len(found.changes) - _MOST:,} more: --json has all")
    untold = f"; {found.untold} figures cannot be compared" if found.untold else ""
    out.print(f"{found.compared:,} cells compared, {len(found.regressions)} regressions{untold}")

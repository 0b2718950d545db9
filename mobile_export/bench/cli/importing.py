"""The command ``import``: records that a sample app wrote on a phone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, Store

__all__ = ["import_command"]


def import_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="What the Benchmark button of the sample app wrote.", show_default=False
        ),
    ],
    store: Store = Path("mobile-bench.jsonl"),
    as_json: AsJson = False,
) -> None:
    """Read measurements of the sample app into the store; those that are there are left out."""
    from ..importing import import_records

    done = import_records(file, store)
    if as_json:
        facts = {
            "added": [each.to_dict() for each in done.added],
            "known": done.known,
            "notes": list(done.notes),
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    from ...system.terminal import printable

    for each in done.added:
        flags = f" ({', '.join(each.flags)})" if each.flags else ""
        typer.echo(printable(f"{each.artifact['file']} on {each.device.name}: added{flags}"))
    known = f"; {done.known} had been there" if done.known else ""
    typer.echo(printable(f"{len(done.added)} added to {store}{known}"))

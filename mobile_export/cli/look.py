"""The commands that look at things and write no model: verify, inspect, list, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    AllowMissing,
    AsJson,
    Channels,
    Mean,
    Model,
    NumClasses,
    Pretrained,
    Seed,
    Size,
    Std,
    Verbose,
    Weights,
    read_options,
    source_options,
)

__all__ = ["doctor", "inspect", "list_models", "verify"]


def verify(
    file: Annotated[Path, typer.Argument(help="An exported file.", show_default=False)],
    model: Model,
    layers: Annotated[
        bool, typer.Option("--layers", help="Find the first tensors that differ.")
    ] = False,
    weights: Weights = None,
    allow_missing: AllowMissing = False,
    pretrained: Pretrained = False,
    num_classes: NumClasses = None,
    size: Size = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Compare an existing file with the model it was exported from."""
    from .. import api
    from ..system.terminal import progress_line

    values = read_options(locals())
    with progress_line(enabled=not as_json and not verbose) as progress:
        report = api.verify(
            file, layers=layers, verbose=verbose, progress=progress, **source_options(values)
        )
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        from .console import print_verification

        print_verification(report)
    raise typer.Exit(0 if report.parity.passed else 1)


def inspect(
    file: Annotated[Path, typer.Argument(help="An exported file.", show_default=False)],
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show what is inside an exported file."""
    from .. import api
    from ..system.quiet import quiet

    with quiet(not verbose):
        facts = api.inspect(file)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        from .console import print_facts

        print_facts(facts)


def list_models(
    papers: Annotated[
        bool,
        typer.Option("--papers", help="Every model in the papers' tables, and its name here."),
    ] = False,
    seeds: Annotated[bool, typer.Option("--seeds", hidden=True, help="Old --papers.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the built-in models: our parameters and MACs beside the papers'."""
    if papers or seeds:
        _list_papers(as_json)
        return
    from ..models.listing import list_zoo

    rows = list_zoo()
    if as_json:
        typer.echo(json.dumps([row.to_dict() for row in rows], indent=2))
    else:
        from .zoo_tables import print_zoo

        print_zoo(rows)


def _list_papers(as_json: bool) -> None:
    from ..models.listing import list_papers
    from ..system.terminal import progress_line
    from .zoo_tables import print_papers

    with progress_line(enabled=True) as stage:
        rows = list_papers(stage)
    if as_json:
        typer.echo(json.dumps([row.to_dict() for row in rows], indent=2))
    else:
        print_papers(rows)


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine can export and run, and what to install."""
    from ..api import diagnose

    facts = diagnose()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        from .console import print_diagnosis

        print_diagnosis(facts)
    if not any(target["export"] for target in facts["targets"]):
        raise typer.Exit(2)

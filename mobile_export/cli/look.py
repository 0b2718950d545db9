"""The commands that look at things and write no model: verify, inspect, list, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..exporters.config import ExportConfig
from ..exporters.table import FORMATS, precision_names
from ..sources.request import ModelRequest
from .completion import among
from .completion import names as model_names
from .messages import said_of_options
from .options import (
    JSON,
    VERBOSE,
    AsJson,
    Verbose,
    parameter,
    parameters_of,
    read_options,
    with_parameters,
)

__all__ = ["doctor", "info", "inspect", "list_models", "verify"]


_FILE = parameter(
    "file", Annotated[Path, typer.Argument(help="An exported file.", show_default=False)]
)
_LAYERS = parameter(
    "layers",
    Annotated[bool, typer.Option("--layers", help="Find the first tensors that differ.")],
    False,
)
_PRECISION = parameter(
    "precision",
    Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="That the file was asked to have; its manifest's by default.",
            show_default=False,
            autocompletion=among(precision_names()),
        ),
    ],
    None,
)
_RUNTIME = parameter(
    "runtime",
    Annotated[
        str | None,
        typer.Option(
            "--runtime",
            help="A second opinion: openvino for ONNX; by default what also checks exports.",
            show_default=False,
            autocompletion=among(each.name for row in FORMATS for each in row.other_runtimes),
        ),
    ],
    None,
)
_MODEL = parameter(
    "model",
    Annotated[
        str | None,
        typer.Argument(
            help="What it was exported from; by default what its manifest names.",
            show_default=False,
        ),
    ],
    None,
)
_SOURCE = parameters_of(ModelRequest, without=("model", "labels"), optional=True)
_SAMPLES = parameters_of(ExportConfig, "samples")


@with_parameters([_FILE, _MODEL, _LAYERS, *_SOURCE, _PRECISION, _RUNTIME, *_SAMPLES, JSON, VERBOSE])
def verify(**values: Any) -> None:
    """Compare an existing file with the model it was exported from."""
    from .. import api
    from ..system.quiet import quiet
    from ..system.terminal import progress_line

    as_json, verbose = values["as_json"], values["verbose"]
    options = read_options(ModelRequest, values)
    shown = not as_json and not verbose
    with progress_line(enabled=shown, lines=verbose) as progress, quiet(not verbose):
        report = api.verify_request(
            values["file"],
            options.pop("model", None),
            options,
            precision=values["precision"],
            runtime=values["runtime"],
            samples=values["samples"],
            layers=values["layers"],
            verbose=verbose,
            progress=progress,
        )
    if as_json:
        facts = report.to_dict()
        facts["parity"] = said_of_options(facts["parity"])
        typer.echo(json.dumps(facts, indent=2))
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
    pattern: Annotated[
        str | None, typer.Argument(help="Names to list, such as 'emo*'.", show_default=False)
    ] = None,
    papers: Annotated[
        bool,
        typer.Option("--papers", help="Every model in the papers' tables, and its name here."),
    ] = False,
    seeds: Annotated[bool, typer.Option("--seeds", hidden=True, help="Old --papers.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the built-in models: our parameters and MACs beside the papers'."""
    if papers or seeds:
        _list_papers(pattern, as_json)
        return
    from ..models.listing import list_zoo

    rows = list_zoo(pattern)
    if as_json:
        typer.echo(json.dumps([row.to_dict() for row in rows], indent=2))
    else:
        from .zoo_tables import print_zoo

        print_zoo(rows)


def _list_papers(pattern: str | None, as_json: bool) -> None:
    from ..models.listing import list_papers
    from ..system.terminal import progress_line
    from .zoo_tables import print_papers

    with progress_line(enabled=True) as stage:
        rows = list_papers(pattern, stage)
    if as_json:
        typer.echo(json.dumps([row.to_dict() for row in rows], indent=2))
    else:
        print_papers(rows)


def info(
    model: Annotated[
        str,
        typer.Argument(
            help="A zoo name (emo_2m) or timm/NAME.", show_default=False, autocompletion=model_names
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show what is known of a model: input, options, variants, papers' figures, public weights."""
    from ..sources.facts import model_facts

    facts = model_facts(model)
    if as_json:
        typer.echo(json.dumps(said_of_options(facts.to_dict()), indent=2))
    else:
        from .zoo_tables import print_model

        print_model(facts)


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

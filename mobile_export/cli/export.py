"""The commands that write: one for each format, ``all``, and ``prepare``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..detection.options import NmsOptions
from ..exporters.config import ExportConfig
from ..exporters.row import Format
from ..quantization.options import QuantizationOptions
from ..sources.request import ModelRequest
from ..system.options import options_of
from .completion import among
from .messages import said_of_options
from .options import (
    EXPLAIN,
    FORCE,
    JSON,
    NAME,
    OUT_DIR,
    VERBOSE,
    parameter,
    parameters_of,
    read_options,
    refused,
    with_parameters,
)

if TYPE_CHECKING:
    from ..pipeline import ExportReport

__all__ = ["export_command", "prepare"]

_NMS = parameter(
    "nms",
    Annotated[bool, typer.Option("--nms", help="End a detector with non-maximum suppression.")],
    False,
)
_NO_NMS = refused("--nms", "Refused: this format has no suppression.")


def export_command(
    rows: Sequence[Format], formats: tuple[str, ...] | None, summary: str
) -> Callable[..., None]:
    """A command that exports to ``formats`` (None: all whose libraries are installed).

    Args:
        rows: whose options it has.
        summary: its help.
    """

    @with_parameters(_parameters(rows))
    def command(**values: Any) -> None:
        _export(formats, values)

    command.__doc__ = summary
    return command


def _parameters(rows: Sequence[Format]) -> list[inspect.Parameter]:
    model, *source = parameters_of(ModelRequest)
    chosen = len(rows) > 1 or len(rows[0].precisions) > 1
    suppression = [_NMS, *parameters_of(NmsOptions, optional=True)]
    return [
        model,
        OUT_DIR,
        NAME,
        *source,
        *([_precision(rows)] if chosen else ()),
        *(each for row in rows for each in parameters_of(row.options)),
        *(suppression if any(row.suppresses for row in rows) else [_NO_NMS]),
        *parameters_of(ExportConfig, "samples", "force", "keep_failed"),
        *(parameters_of(QuantizationOptions) if _integers(rows) else ()),
        EXPLAIN,
        *parameters_of(ExportConfig, "no_passes"),
        JSON,
        VERBOSE,
    ]


def _integers(rows: Sequence[Format]) -> bool:
    return any(each.integers for row in rows for each in row.precisions)


def _precision(rows: Sequence[Format]) -> inspect.Parameter:
    """``--precision``; its help names the default, where there is one."""
    every = dict.fromkeys(each.name for row in rows for each in row.precisions)
    alone = len(rows) == 1
    default = f"{rows[0].precision(None).name} by default" if alone else "each format has a default"
    said = f"{' or '.join(every)}; {default}."
    option = typer.Option("--precision", help=said, show_default=False, autocompletion=among(every))
    return parameter("precision", Annotated[str | None, option], None)


def _export(formats: tuple[str, ...] | None, values: Mapping[str, Any]) -> None:
    """Export and print the report.

    Raises:
        typer.Exit: with the report's exit code, unless that is 0.
    """
    from .. import api
    from ..exporters.table import FORMATS
    from ..system.quiet import quiet
    from ..system.terminal import progress_line
    from .console import finished_line

    request = ModelRequest(**read_options(ModelRequest, values))
    config = ExportConfig(
        out_dir=values["out_dir"],
        nms=_nms(values),
        quantization=QuantizationOptions(**read_options(QuantizationOptions, values)),
        options={row.name: row.options(**read_options(row.options, values)) for row in FORMATS},
        **read_options(ExportConfig, values),
    )
    as_json = values["as_json"]
    shown = not as_json and not config.verbose
    said: dict[str, str] = {}
    with progress_line(enabled=shown, lines=config.verbose) as progress, quiet(not config.verbose):
        report = api.export_request(
            request,
            formats,
            config,
            name=values["name"],
            progress=progress,
            finished=lambda result: progress.say(finished_line(result, said)),
            apart=True,
        )
    _print(report, as_json, values["explain"])
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _print(report: ExportReport, as_json: bool, explain: bool) -> None:
    from .console import print_export, print_passes

    if not as_json:
        if explain:
            print_passes(report.passes)
        print_export(report)
        return
    facts = report.to_dict()
    for key in ("failures", "notes"):
        facts[key] = said_of_options(facts[key])
    for artifact in facts["artifacts"]:
        artifact["parity"] = said_of_options(artifact["parity"])
    if explain:
        facts["passes"] = [done.to_dict() for done in report.passes]
    typer.echo(json.dumps(facts, indent=2))


def _nms(values: Mapping[str, Any]) -> NmsOptions | None:
    """The suppression that was asked for; its options without it are refused."""
    from ..errors import UsageError

    given = read_options(NmsOptions, values)
    if values["nms"]:
        return NmsOptions(**given)
    if given:
        flag = options_of(NmsOptions)[next(iter(given))].flag
        raise UsageError(f"{flag} was given without --nms.", hint="Add --nms, or leave it out.")
    return None


_PROGRAM = parameter(
    "file",
    Annotated[Path, typer.Option("-o", "--out", help="The .pt2 file.", show_default=False)],
)
_MODEL, *_SOURCE = parameters_of(ModelRequest, without=("labels",))


@with_parameters(
    [
        _MODEL,
        _PROGRAM,
        *_SOURCE,
        *parameters_of(ExportConfig, "samples"),
        FORCE,
        EXPLAIN,
        *parameters_of(ExportConfig, "no_passes"),
        JSON,
        VERBOSE,
    ]
)
def prepare(**values: Any) -> None:
    """Fold and merge what can be, exactly, and save the program for torch.export.load."""
    from .. import api
    from ..sources.table import require_name
    from ..system.quiet import quiet
    from ..system.terminal import escape, progress_line, stdout_console
    from .console import print_passes

    request = ModelRequest(**read_options(ModelRequest, values))
    require_name(request.model)
    from ..pipeline import require_destination, save_program

    config = ExportConfig(**read_options(ExportConfig, values))
    as_json = values["as_json"]
    reports: list[Any] = []
    shown = not as_json and not config.verbose
    require_destination(values["file"], force=config.force)
    with progress_line(enabled=shown, lines=config.verbose) as progress, quiet(not config.verbose):
        program = api.prepare_request(request, config, explain=reports.append, progress=progress)
        written = save_program(program, values["file"], reports, force=config.force)
    if as_json:
        passes = [report.to_dict() for report in reports]
        typer.echo(json.dumps({"file": str(written), "passes": passes}, indent=2))
        return
    if values["explain"]:
        print_passes(reports)
    changes = sum(len(report.changes) for report in reports)
    stdout_console().print(
        f"{escape(str(written))}: {changes} changes, equal to the model in float64"
    )

"""The commands ``app``, a sample app with models, and ``snippet``, a program to begin with."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, Force, Verbose

if TYPE_CHECKING:
    from ..apps.copy import App, Sample

__all__ = ["app_commands", "snippet"]

app_commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write a sample app with exported files in it.",
)
_DEFAULT = "tflite"
_Out = Annotated[
    Path, typer.Option("-o", "--out", help="Folder of the app; made.", show_default=False)
]
_Name = Annotated[str, typer.Option(help="Shown below the icon.")]
_Identifier = Annotated[str, typer.Option("--id", help="Of the app on the device.")]


@app_commands.command()
def android(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Exported files, each with its manifest beside it; or models, which are exported "
            "with their default weights.",
            show_default=False,
        ),
    ],
    out: _Out,
    name: _Name = "mobile-export",
    identifier: _Identifier = "dev.mobileexport.sample",
    format_: Annotated[
        str, typer.Option("--format", help="Of models that are not exported yet: tflite or onnx.")
    ] = _DEFAULT,
    build: Annotated[
        bool, typer.Option("--build", help="Make and sign a debug APK, too, without Gradle.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write the sample app for Android with these models in it; Android Studio opens the folder."""
    from ..apps.android import SAMPLE, build_android_app
    from ..apps.copy import formats
    from ..errors import UsageError

    if format_ not in formats(SAMPLE):
        raise UsageError(f"--format {format_} is none of the app's: {', '.join(formats(SAMPLE))}.")
    _make(
        SAMPLE,
        models,
        format_,
        out,
        name=name,
        identifier=identifier,
        force=force,
        as_json=as_json,
        verbose=verbose,
        build=build_android_app if build else None,
    )


@app_commands.command()
def ios(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Core ML packages, each with its manifest beside it; or models, which are "
            "exported with their default weights.",
            show_default=False,
        ),
    ],
    out: _Out,
    name: _Name = "mobile-export",
    identifier: _Identifier = "dev.mobileexport.sample",
    force: Force = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write the sample app for iOS with these models in it; Xcode 16 opens the project."""
    from ..apps.copy import formats
    from ..apps.ios import SAMPLE

    _make(
        SAMPLE,
        models,
        formats(SAMPLE)[0],
        out,
        name=name,
        identifier=identifier,
        force=force,
        as_json=as_json,
        verbose=verbose,
    )


def _make(
    sample: Sample,
    models: Sequence[str],
    format_: str,
    out: Path,
    *,
    name: str,
    identifier: str,
    force: bool,
    as_json: bool,
    verbose: bool,
    build: Callable[[Path], Path] | None = None,
) -> None:
    """Export what is no file yet, write the app, build it if there is a function for that."""
    from ..apps.copy import check_names, write_app
    from ..system.terminal import progress_line

    check_names(sample, name, identifier, out, force=force)
    with (
        tempfile.TemporaryDirectory() as scratch,
        progress_line(enabled=not as_json and not verbose, lines=verbose) as progress,
    ):
        files = _files(sample, models, format_, Path(scratch), verbose)
        done = write_app(sample, files, out, name=name, identifier=identifier, force=force)
        if build is not None:
            progress("building the APK")
            done = replace(done, apk=build(out))
    _print(done, as_json)


def _files(
    sample: Sample, models: Sequence[str], format_: str, scratch: Path, verbose: bool
) -> list[Path]:
    """Files that are there, which are looked at before others are exported."""
    from ..api import export_request
    from ..apps.copy import check_file
    from ..errors import ParityError, UsageError
    from ..exporters.config import ExportConfig
    from ..exporters.table import is_named_as_file
    from ..sources.request import ModelRequest
    from ..system.quiet import quiet

    for model in models:
        if is_named_as_file(Path(model)):
            check_file(sample, Path(model))
        elif models.count(model) > 1:
            raise UsageError(f"{model} is named twice.", hint="Name each model once.")
    files = []
    for index, model in enumerate(models):
        if is_named_as_file(Path(model)):
            files.append(Path(model))
            continue
        config = ExportConfig(out_dir=scratch / str(index), verbose=verbose)
        with quiet(not verbose):
            report = export_request(ModelRequest(model), (format_,), config)
        if report.exit_code or not report.artifacts:
            raise ParityError(
                f"{model} was not proven equal to the model as {format_}; the app was not written.",
                hint=f"`mobile-export {format_} {model}` says more.",
            )
        files += [artifact.path for artifact in report.artifacts if artifact.path is not None]
    return files


def _print(done: App, as_json: bool) -> None:
    if as_json:
        facts = {
            "folder": str(done.folder),
            "name": done.name,
            "id": done.identifier,
            "models": list(done.models),
            "notes": list(done.notes),
            "apk": None if done.apk is None else str(done.apk),
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    from ..system.terminal import printable

    typer.echo(printable(f"{done.folder}: {done.name} with {', '.join(done.models)}"))
    for note in done.notes:
        typer.echo(printable(f"note: {note}"))
    if done.apk is not None:
        typer.echo(printable(f"{done.apk}: signed with a debug key; adb install {done.apk}"))


def snippet(
    file: Annotated[Path, typer.Argument(help="An exported file.", show_default=False)],
    for_: Annotated[
        str, typer.Option("--for", help="python, kotlin, swift or cpp.", show_default=False)
    ] = "python",
) -> None:
    """Print the shortest complete program that loads a file and makes its answer on a picture."""
    from ..apps.snippets import make_snippet

    typer.echo(make_snippet(file, for_), nl=False)

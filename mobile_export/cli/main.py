"""The command line ``mobile-export``: thin; every command is one call of the Python interface.

Exit codes: 0 done and proven, 1 parity failed or inconclusive, 2 an error, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import look as cli_look
from . import matrix as cli_matrix
from .export import export_formats
from .options import (
    AllowMissing,
    AsJson,
    Channels,
    Classifier,
    Explain,
    Force,
    ImageInput,
    KeepFailed,
    Labels,
    Layout,
    Mean,
    Model,
    Name,
    Nms,
    NmsIou,
    NmsMax,
    NmsOnHost,
    NmsScore,
    NoPass,
    NumClasses,
    OutDir,
    Precision,
    Pretrained,
    Seed,
    Size,
    Std,
    Target,
    Verbose,
    Weights,
    read_options,
    source_options,
)

if TYPE_CHECKING:
    from ..errors import MobileExportError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    name="mobile-export",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from .. import __version__

        typer.echo(f"mobile-export {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Export PyTorch vision models to phone-ready files, each executed here and compared with the
    original model."""


@app.command()
def onnx(
    model: Model,
    out: OutDir = Path(),
    name: Name = None,
    weights: Weights = None,
    allow_missing: AllowMissing = False,
    pretrained: Pretrained = False,
    num_classes: NumClasses = None,
    size: Size = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    labels: Labels = None,
    seed: Seed = 0,
    nms: Nms = False,
    nms_iou: NmsIou = None,
    nms_score: NmsScore = None,
    nms_max: NmsMax = None,
    force: Force = False,
    keep_failed: KeepFailed = False,
    explain: Explain = False,
    no_pass: NoPass = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write an ONNX file; onnxruntime executes it here."""
    export_formats(("onnx",), **read_options(locals()))


@app.command()
def coreml(
    model: Model,
    out: OutDir = Path(),
    name: Name = None,
    weights: Weights = None,
    allow_missing: AllowMissing = False,
    pretrained: Pretrained = False,
    num_classes: NumClasses = None,
    size: Size = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    labels: Labels = None,
    seed: Seed = 0,
    precision: Precision = None,
    target: Target = "ios16",
    image_input: ImageInput = False,
    classifier: Classifier = False,
    nms: Nms = False,
    nms_iou: NmsIou = None,
    nms_score: NmsScore = None,
    nms_max: NmsMax = None,
    force: Force = False,
    keep_failed: KeepFailed = False,
    explain: Explain = False,
    no_pass: NoPass = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a Core ML package; Core ML (macOS) or our evaluator of ML Programs executes it here."""
    export_formats(("coreml",), **read_options(locals()))


@app.command()
def tflite(
    model: Model,
    out: OutDir = Path(),
    name: Name = None,
    weights: Weights = None,
    allow_missing: AllowMissing = False,
    pretrained: Pretrained = False,
    num_classes: NumClasses = None,
    size: Size = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    labels: Labels = None,
    seed: Seed = 0,
    precision: Precision = None,
    layout: Layout = "nhwc",
    nms: Nms = False,
    nms_iou: NmsIou = None,
    nms_score: NmsScore = None,
    nms_max: NmsMax = None,
    force: Force = False,
    keep_failed: KeepFailed = False,
    explain: Explain = False,
    no_pass: NoPass = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a TFLite file; LiteRT executes it here."""
    export_formats(("tflite",), **read_options(locals()))


@app.command()
def ncnn(
    model: Model,
    out: OutDir = Path(),
    name: Name = None,
    weights: Weights = None,
    allow_missing: AllowMissing = False,
    pretrained: Pretrained = False,
    num_classes: NumClasses = None,
    size: Size = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    labels: Labels = None,
    seed: Seed = 0,
    precision: Precision = None,
    nms: NmsOnHost = False,
    force: Force = False,
    keep_failed: KeepFailed = False,
    explain: Explain = False,
    no_pass: NoPass = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write an ncnn model (two files); ncnn executes it here."""
    export_formats(("ncnn",), **read_options(locals()))


@app.command()
def tnn(
    model: Model,
    out: OutDir = Path(),
    name: Name = None,
    weights: Weights = None,
    allow_missing: AllowMissing = False,
    pretrained: Pretrained = False,
    num_classes: NumClasses = None,
    size: Size = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    labels: Labels = None,
    seed: Seed = 0,
    precision: Precision = None,
    nms: NmsOnHost = False,
    force: Force = False,
    keep_failed: KeepFailed = False,
    explain: Explain = False,
    no_pass: NoPass = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a TNN model (two files); our evaluator of TNN models executes it here."""
    export_formats(("tnn",), **read_options(locals()))


@app.command("all")
def all_formats(
    model: Model,
    out: OutDir = Path(),
    name: Name = None,
    weights: Weights = None,
    allow_missing: AllowMissing = False,
    pretrained: Pretrained = False,
    num_classes: NumClasses = None,
    size: Size = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    labels: Labels = None,
    seed: Seed = 0,
    target: Target = "ios16",
    image_input: ImageInput = False,
    classifier: Classifier = False,
    layout: Layout = "nhwc",
    nms: Nms = False,
    nms_iou: NmsIou = None,
    nms_score: NmsScore = None,
    nms_max: NmsMax = None,
    force: Force = False,
    keep_failed: KeepFailed = False,
    explain: Explain = False,
    no_pass: NoPass = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write every format whose libraries are installed, tracing the model once."""
    export_formats(None, **read_options(locals()))


@app.command()
def prepare(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="The .pt2 file.", show_default=False)],
    weights: Weights = None,
    allow_missing: AllowMissing = False,
    pretrained: Pretrained = False,
    num_classes: NumClasses = None,
    size: Size = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    seed: Seed = 0,
    force: Force = False,
    explain: Explain = False,
    no_pass: NoPass = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Fold and merge what can be, exactly, and save the program for torch.export.load."""
    from .. import api
    from ..pipeline import save_program
    from ..system.terminal import progress_line, stdout_console
    from .console import print_passes

    values = read_options(locals())
    reports: list[Any] = []
    with progress_line(enabled=not as_json and not verbose) as progress:
        program = api.prepare(
            no_passes=no_pass or (),
            explain=reports.append,
            progress=progress,
            **source_options(values),
        )
    written = save_program(program, out, reports, force=force)
    if as_json:
        passes = [report.to_dict() for report in reports]
        typer.echo(json.dumps({"file": str(written), "passes": passes}, indent=2))
        return
    if explain:
        print_passes(reports)
    changes = sum(len(report.changes) for report in reports)
    stdout_console().print(f"{written}: {changes} changes, equal to the model in float64")


app.command()(cli_look.verify)
app.command()(cli_look.inspect)
app.command("list")(cli_look.list_models)
app.command()(cli_look.doctor)
app.command()(cli_matrix.matrix)


def main() -> None:
    """Entry point: runs the app, turns our errors into one message and an exit code."""
    from ..errors import MobileExportError

    try:
        app()
    except MobileExportError as error:
        from ..system.terminal import print_error

        print_error(error)
        sys.exit(error.exit_code)
    except Exception as error:  # a bug of ours; a person gets one message, not a traceback
        if "--verbose" in sys.argv:
            raise
        from ..system.terminal import print_error

        print_error(_as_bug(error))
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            sys.stderr.write("Interrupted; no half-written file was left.\n")
        raise


def _as_bug(error: Exception) -> MobileExportError:
    from ..errors import BUG, MobileExportError

    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # PyTorch's words
        return MobileExportError(
            "There is not enough memory here for this model at this size.",
            hint="Nothing was written. Give a smaller --size.",
        )
    return MobileExportError(
        f"{BUG}: {type(error).__name__}: {error}",
        hint="That is a bug; nothing was written. Run again with --verbose for the traceback, and "
        "please report it with the model.",
    )


if __name__ == "__main__":
    main()

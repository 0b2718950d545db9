"""What the commands ``onnx``, ``coreml``, ``tflite``, ``ncnn``, ``tnn`` and ``all`` share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from .options import source_options

if TYPE_CHECKING:
    from ..detection.options import NmsOptions

__all__ = ["export_formats"]


def export_formats(formats: tuple[str, ...] | None, **values: Any) -> None:
    """Export to ``formats`` (None: all that can be) and print the report.

    Args:
        values: the options of the command, read (`cli_options.read_options`).

    Raises:
        typer.Exit: with the report's exit code, unless that is 0.
    """
    from .. import api
    from ..exporters.coreml.options import CoreMLOptions
    from ..exporters.tflite.options import TFLiteOptions
    from ..system.terminal import progress_line

    as_json, verbose = values["as_json"], values["verbose"]
    with progress_line(enabled=not as_json and not verbose) as progress:
        report = api.export(
            formats=formats,
            out_dir=values["out"],
            name=values["name"],
            labels=values["labels"],
            precision=values.get("precision"),
            force=values["force"],
            keep_failed=values["keep_failed"],
            verbose=verbose,
            no_passes=values["no_pass"] or (),
            coreml=CoreMLOptions(
                target=values.get("target", CoreMLOptions.target),
                image_input=values.get("image_input", False),
                classifier=values.get("classifier", False),
            ),
            tflite=TFLiteOptions(layout=values.get("layout", TFLiteOptions.layout)),
            nms=_nms(values),
            progress=progress,
            **source_options(values),
        )
    if as_json:
        facts = report.to_dict()
        if values["explain"]:
            facts["passes"] = [done.to_dict() for done in report.passes]
        typer.echo(json.dumps(facts, indent=2))
    else:
        from .console import print_export, print_passes

        if values["explain"]:
            print_passes(report.passes)
        print_export(report)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _nms(values: dict[str, Any]) -> NmsOptions | None:
    """The suppression that was asked for; the option's defaults are those of `NmsOptions`."""
    from ..detection.options import NmsOptions
    from ..errors import UsageError

    fields: dict[str, tuple[str, Any]] = {
        "--nms-iou": ("iou_threshold", values.get("nms_iou")),
        "--nms-score": ("score_threshold", values.get("nms_score")),
        "--nms-max": ("max_detections", values.get("nms_max")),
    }
    given = {option: field for option, field in fields.items() if field[1] is not None}
    if values.get("nms"):
        return NmsOptions(**dict(given.values()))
    if given:
        raise UsageError(
            f"{next(iter(given))} was given without --nms.", hint="Add --nms, or leave it out."
        )
    return None

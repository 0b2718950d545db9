"""The commands of ``mobile-bench`` that count instead of timing: prepare-qemu, rank, estimate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, Force

if TYPE_CHECKING:
    from ...system.tables import PlainTable
    from ..arm.estimate import Estimate
    from ..arm.prices import Calibration

__all__ = ["add_commands", "estimate", "prepare_qemu", "rank"]

QemuFolder = Annotated[
    Path | None,
    typer.Option(
        "--folder", help="Prepared by prepare-qemu; ~/.cache/mobile-export/qemu by default."
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("prepare-qemu")(prepare_qemu)
    app.command("rank")(rank)
    app.command("estimate")(estimate)


def prepare_qemu(
    folder: QemuFolder = None,
    mirror: Annotated[str | None, typer.Option(help="Of Debian's archive.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Download and build what --device qemu and estimate need: about 60 MB, no root needed."""
    from ...system.terminal import progress_line, stdout_console
    from ..arm.prepare import MIRROR, prepare

    with progress_line(enabled=not as_json) as stage:
        prepared = prepare(folder, force=force, mirror=mirror or MIRROR, stage=stage)
    if as_json:
        facts = {"folder": str(prepared.root.parent), "versions": dict(prepared.versions)}
        typer.echo(json.dumps(facts, indent=2))
        return
    wheels = ", ".join(
        f"{name.removesuffix('.whl')} {version}"
        for name, version in prepared.versions.items()
        if name.endswith(".whl")
    )
    stdout_console().print(
        f"{prepared.root.parent}: qemu {prepared.versions['qemu']}, "
        f"glibc {prepared.versions['libc6']}, {wheels}"
    )


def rank(
    soc: Annotated[
        str | None, typer.Option(help="snapdragon-865 or snapdragon-8cx-gen-3; both by default.")
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="Whose counts: onnxruntime, or TNN, which the papers timed.")
    ] = "onnxruntime",
    as_json: AsJson = False,
) -> None:
    """Compare stored ARM instruction counts with the milliseconds that the papers print."""
    from ..arm.prices import calibrate_runtime

    calibrations = calibrate_runtime(runtime, soc)
    if as_json:
        typer.echo(json.dumps([_ranked(one) for one in calibrations], indent=2))
        return
    from ...system.terminal import stdout_console

    console = stdout_console()
    for calibration in calibrations:
        said = f"{calibration.soc.title}, {calibration.points[0].latency.citation}"
        console.print(said, style="italic")
        console.print(_rank_table(calibration))
        for line in _summary(calibration):
            console.print(line)


def estimate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="ONNX files, or models whose files are here.",
            show_default=False,
        ),
    ],
    soc: Annotated[
        str,
        typer.Option(help="snapdragon-865 or snapdragon-8cx-gen-3.", show_default=False),
    ],
    folder: QemuFolder = None,
    as_json: AsJson = False,
) -> None:
    """Estimate milliseconds of exported files on one core of a phone, from counts under qemu."""
    from ...system.terminal import escape, progress_line, stdout_console
    from ..arm.estimate import estimate as estimate_files
    from ..devices.qemu import QemuDevice

    device = QemuDevice.kind if folder is None else f"{QemuDevice.kind}:{folder}"
    with progress_line(enabled=not as_json) as stage:
        found = estimate_files(models, soc, device=device, stage=stage)
    if as_json:
        typer.echo(json.dumps([one.to_dict() for one in found], indent=2))
        return
    console = stdout_console()
    console.print(f"ESTIMATES for one core of a {found[0].calibration.soc.title}", style="italic")
    console.print(_estimate_table(found))
    for one in found:
        for note in one.notes:
            console.print(escape(f"note: {one.counted.model}: {note}"))
    for line in _summary(found[0].calibration):
        console.print(line)


def _ranked(calibration: Calibration) -> dict[str, object]:
    return calibration.to_dict() | {
        "rows": [
            {
                "model": point.latency.model,
                "name": point.count.model,
                "size": [point.count.height, point.count.width],
                "published_ms": point.milliseconds,
                "left_out_estimate_ms": predicted,
                "counts": point.count.count.to_dict(),
            }
            for point, predicted in zip(calibration.points, calibration.left_out, strict=True)
        ]
    }


def _rank_table(calibration: Calibration) -> PlainTable:
    from ...system.tables import plain_table
    from ...system.terminal import escape

    numbers = ("size", "M instructions", "published ms", "estimate left out, ms", "error")
    table = plain_table("model", *numbers, right=numbers)
    rows = zip(calibration.points, calibration.left_out, calibration.errors, strict=True)
    for point, predicted, error in sorted(rows, key=lambda row: row[0].milliseconds):
        table.add_row(
            escape(point.latency.model),
            f"{point.count.height}",
            f"{point.count.count.instructions / 1e6:.0f}",
            f"{point.milliseconds:g}",
            f"{predicted:.1f}",
            f"{error:+.0%}",
        )
    return table


def _estimate_table(found: list[Estimate]) -> PlainTable:
    from ...system.tables import plain_table
    from ...system.terminal import escape

    numbers = ("size", "M instructions", "estimate, ms", "4 of 5 models lie within, ms")
    table = plain_table("model", *numbers, right=numbers)
    for one in found:
        table.add_row(
            escape(one.counted.model),
            f"{one.counted.height}x{one.counted.width}",
            f"{one.counted.count.instructions / 1e6:.0f}",
            f"{one.milliseconds:.1f}",
            f"{one.low:.1f} to {one.high:.1f}",
        )
    return table


def _summary(calibration: Calibration) -> Iterator[str]:
    runtime = calibration.points[0].count.runtime
    yield f"{len(calibration.points)} models, {runtime} for aarch64, one thread, fp32."
    low, high = calibration.median_error_interval
    yield (
        f"Each estimated without its family: rank correlation {calibration.rank_correlation:.3f}, "
        f"correlation of logarithms {calibration.log_correlation:.3f}, "
        f"error {calibration.median_error:.1%} (median; 95 % interval over families "
        f"{low:.0%} to {high:.0%}), {calibration.worst_error:.0%} (worst)."
    )

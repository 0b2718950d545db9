"""One export of many: the model, the format, and what came of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from ..artifacts.fields import Count, Magnitude, Name, Text
from ..errors import BUG
from ..exporters.table import get_format
from ..parity.report import STATUSES as PARITY_STATUSES

__all__ = ["Cell", "Row", "STATUSES", "cells_of"]


Status = Literal["passed", "failed", "inconclusive", "refused", "crashed", "timeout"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""What can become of a cell: parity held; it did not; PyTorch's own float32 is too far off to
judge; an error with a message (exit code 2); the process died, or met a bug of ours; the time
limit."""


@dataclass(frozen=True)
class Cell:
    """One export: a model at a size (None is its own), a format and a precision (None likewise)."""

    model: str
    size: str | None
    format: str
    precision: str | None = None


@dataclass(frozen=True)
class Row:
    """What became of a cell.

    Attributes:
        size: as asked for; None is the model's own.
        precision: as asked for; None is the format's default.
        status: one of `STATUSES`.
        error: largest absolute error over the range of the reference (`ParityReport.max_rel`).
        tolerance: that was allowed.
        runtime: what executed the file, with its version.
        emulated: by one of our evaluators.
        reason: of a cell that did not pass.
        bytes: of the file.
        export_seconds: in the exporter and its vendor's converter.
        seconds: of the whole process.
        left_out: passes that the file was written without, because with them it failed.
    """

    model: Name
    size: Name | None
    format: Name
    precision: Name | None
    status: Status
    error: Magnitude | None = None
    tolerance: Magnitude | None = None
    runtime: Name | None = None
    emulated: bool | None = None
    reason: Text | None = None
    bytes: Count | None = None
    export_seconds: Magnitude | None = None
    seconds: Magnitude = 0.0
    left_out: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()

    @property
    def cell(self) -> Cell:
        """The cell that this row is about."""
        return Cell(self.model, self.size, self.format, self.precision)


def cells_of(models: Iterable[tuple[str, str | None]], formats: Sequence[str]) -> list[Cell]:
    """Every model times every format; a format is written ``NAME`` or ``NAME:PRECISION``.

    Raises:
        UsageError: there is no such format or precision.
        MissingExtraError: its libraries are not installed.
    """
    chosen = []
    for text in formats:
        name, _, precision = text.partition(":")
        row = get_format(name)
        row.precision(precision or None)
        row.require()
        chosen.append((name, precision or None))
    cells = [
        Cell(model, size, name, precision) for model, size in models for name, precision in chosen
    ]
    return list(dict.fromkeys(cells))


def row_of(cell: Cell, started: float, **facts: Any) -> Row:
    return Row(**asdict(cell), seconds=round(time.monotonic() - started, 1), **facts)


def outcome(code: int, stdout: str, stderr: str) -> dict[str, Any]:
    """The fields of a row, from what the process printed."""
    if code < 0:
        return {"status": "crashed", "reason": f"killed by signal {signal.Signals(-code).name}"}
    if code not in (0, 1):
        message = stderr.strip().removeprefix("error: ") or f"exit code {code} without a message"
        refused = stderr.startswith("error: ") and not message.startswith(BUG)
        status = "refused" if refused else "crashed"
        return {"status": status, "reason": " ".join(message.splitlines())}
    artifact = json.loads(stdout)["artifacts"][0]
    parity = _deciding(artifact["parity"])
    facts = {
        "status": parity["verdict"],
        "error": parity["max_rel"],
        "tolerance": parity["tolerance"],
        "runtime": parity["runtime"],
        "emulated": parity["emulated"],
        "bytes": artifact["bytes"],
        "export_seconds": artifact["seconds"]["export"],
        "left_out": tuple(artifact.get("left_out", ())),
    }
    if parity["verdict"] == "failed":
        error = "not a number" if parity["max_rel"] is None else f"{parity['max_rel']:.1e}"
        facts["reason"] = f"error {error} of the output range in {parity['worst']}"
        if artifact["parity"]["verdict"] == "passed":
            facts["reason"] += f"; right in {artifact['parity']['runtime']} only"
    if parity["verdict"] == "inconclusive":
        facts["reason"] = next(
            (note for note in parity["notes"] if note.startswith("inconclusive: ")),
            f"PyTorch's own float32 error is {parity['float32_error']:.1e}",
        )
    return facts


def _deciding(parity: dict[str, Any]) -> dict[str, Any]:
    """`ParityReport.deciding` of a report in JSON."""
    reports: list[dict[str, Any]] = [parity, *parity.get("others", ())]
    return min(reports, key=lambda report: PARITY_STATUSES.index(report["verdict"]))

"""One export of many: the model, the format, and what came of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from ..artifacts.fields import Count, Magnitude, Name, Text
from ..errors import BUG
from ..exporters.table import get_format
from ..parity.report import NOT_GOOD
from ..parity.report import STATUSES as PARITY_STATUSES

__all__ = [
    "STATUSES",
    "Cell",
    "Row",
    "Status",
    "cells_of",
    "outcome",
    "row_of",
    "second_outcome",
    "told",
]


Status = Literal["passed", "failed", "inconclusive", "refused", "crashed", "timeout"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""What can become of a cell: parity held; it did not; PyTorch's own float32 is too far off to
judge; an error with a message (exit code 2); the process died, or met a bug of ours; the time
limit."""


@dataclass(frozen=True)
class Cell:
    """One export: a model at a size (None is its own), a format and a precision (None likewise).

    ``judge`` is one of the format's other runtimes (`Format.other_runtime`), which judges the file
    when the export passed; with None, the export alone decides.
    """

    model: str
    size: str | None
    format: str
    precision: str | None = None
    judge: str | None = None

    @property
    def column(self) -> str:
        """Its column in a table: ``onnx``, ``coreml:fp32``, ``onnx in openvino``."""
        precision = "" if self.precision is None else f":{self.precision}"
        return f"{self.format}{precision}" + ("" if self.judge is None else f" in {self.judge}")


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
        judge: as asked for; None is what judges every export.
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
    judge: Name | None = None

    @property
    def cell(self) -> Cell:
        """The cell that this row is about."""
        return Cell(self.model, self.size, self.format, self.precision, self.judge)


def cells_of(
    models: Iterable[tuple[str, str | None]], formats: Sequence[str], judge: str | None = None
) -> list[Cell]:
    """Every model times every format; a format is written ``NAME`` or ``NAME:PRECISION``.

    Args:
        judge: another runtime, which all these formats must have.

    Raises:
        UsageError: there is no such format, precision or judge.
        MissingExtraError: its libraries are not installed.
    """
    chosen = []
    for text in formats:
        name, _, precision = text.partition(":")
        row = get_format(name)
        row.precision(precision or None)
        row.require()
        if judge is not None:
            row.other_runtime(judge)
        chosen.append((name, precision or None))
    cells = [
        Cell(model, size, name, precision, judge)
        for model, size in models
        for name, precision in chosen
    ]
    return list(dict.fromkeys(cells))


def row_of(cell: Cell, started: float, **facts: Any) -> Row:
    return Row(**asdict(cell), seconds=round(time.monotonic() - started, 1), **facts)


def outcome(code: int, stdout: str, stderr: str) -> dict[str, Any]:
    """The fields of a row, from what the export printed."""

    def read(report: dict[str, Any]) -> dict[str, Any]:
        artifact = report["artifacts"][0]
        return {
            **_judged(artifact["parity"]),
            "bytes": artifact["bytes"],
            "export_seconds": artifact["seconds"]["export"],
            "left_out": tuple(artifact.get("left_out", ())),
        }

    return told(code, stdout, stderr, read)


def second_outcome(code: int, stdout: str, stderr: str) -> dict[str, Any]:
    """The fields of a row that the judge of a file decides, from what ``verify`` printed."""
    return told(code, stdout, stderr, lambda report: _judged(report["parity"]))


def told(
    code: int, stdout: str, stderr: str, read: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    """The fields of a row, from how a process ended and the report in JSON that it printed.

    The user's own code runs in the process: it may end it before there is a report.

    Args:
        read: takes the fields from the report.
    """
    if code < 0:
        return {"status": "crashed", "reason": f"killed by signal {signal.Signals(-code).name}"}
    if code not in (0, 1):
        message = stderr.strip().removeprefix("error: ") or f"exit code {code} without a message"
        refused = stderr.startswith("error: ") and not message.startswith(BUG)
        status = "refused" if refused else "crashed"
        return {"status": status, "reason": " ".join(message.splitlines())}
    try:
        return read(json.loads(stdout))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return {"status": "crashed", "reason": "the process ended without a report"}


def _judged(report: dict[str, Any]) -> dict[str, Any]:
    """Status, error, what ran the file, and the reason when it did not pass."""
    parity = _deciding(report)
    facts = {
        "status": parity["verdict"],
        "error": parity["max_rel"],
        "tolerance": parity["tolerance"],
        "runtime": parity["runtime"],
        "emulated": parity["emulated"],
    }
    if parity["verdict"] == "failed":
        error = "not a number" if parity["max_rel"] is None else f"{parity['max_rel']:.1e}"
        facts["reason"] = f"error {error} of the output range in {parity['worst']}"
        if parity.get("faithful"):
            facts["reason"] = next(note for note in parity["notes"] if note.startswith(NOT_GOOD))
        if report["verdict"] == "passed":
            facts["reason"] += f"; right in {report['runtime']} only"
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

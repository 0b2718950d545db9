"""A job and its result: what goes to a worker, and what comes back; both are JSON.

A job holds everything that its worker needs to know and shares nothing with other jobs, so that any
engine can run it anywhere. The command lines in it are run by `sweep.work`.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..artifacts.fields import Count, Magnitude, Name, Sha256, Text
from .cell import Status

__all__ = ["FileRef", "Job", "Measured", "Result", "StepResult", "cell_hash", "decode_result"]

SCHEMA = 1
"""Of the cell hash and of the result."""


class FileRef(msgspec.Struct, frozen=True):
    """A file, or a folder, that a job reads.

    Attributes:
        name: its own, without folders.
        sha256: of the content (`artifacts.content.sha256_of`).
        path: on the machine that planned the sweep.
    """

    name: Name
    sha256: Sha256
    path: str


class Job(msgspec.Struct, frozen=True):
    """One cell: a model in a format, and what is done with it.

    Attributes:
        cell: its hash (`cell_hash`).
        kind: the same without versions and contents of files: the same question, asked again.
        attempt: 0, and one more each time that the cell is run again.
        model: as named; ``size``, ``precision``, ``device`` and ``steps`` are shown with it.
        model_words: options of the model as typed, for every step.
        words: of each step, what is typed beside them.
        files: what ``{slot}`` stands for in the words.
        folder: in which the steps run, from which the user's own code is imported.
        time_limit: seconds of all steps together. memory_limit: bytes of one process, or None.
        versions: what a worker must have.
        needs: resources of a worker, such as ``{"phone:R5CT": 1}``.
    """

    cell: Sha256
    kind: Sha256
    model: Name
    format: Name
    precision: Name | None
    size: Name | None
    device: Name | None
    steps: tuple[Name, ...]
    model_words: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    files: dict[str, FileRef]
    folder: str | None
    time_limit: float
    memory_limit: int | None
    versions: dict[str, str]
    needs: dict[str, float] = {}
    attempt: int = 0

    @property
    def title(self) -> str:
        """For progress and messages: ``emo_1m 64 onnx:fp16 on local``."""
        size = f" {self.size}" if self.size else ""
        precision = f":{self.precision}" if self.precision else ""
        device = f" on {self.device}" if self.device else ""
        return f"{self.model}{size} {self.format}{precision}{device}"


class Measured(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval, where it has one; latencies in milliseconds.

    Attributes:
        unit: ``ms``, ``%``, ``dB``.
        better: "low" for latencies, "high" for accuracies.
        flags: why the figure is not to be trusted.
    """

    name: Name
    unit: Name
    value: Annotated[float, Meta(ge=-1e300, le=1e300)] | None
    low: Annotated[float, Meta(ge=-1e300, le=1e300)] | None = None
    high: Annotated[float, Meta(ge=-1e300, le=1e300)] | None = None
    better: Name = "low"
    flags: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()


class StepResult(msgspec.Struct, frozen=True):
    """What became of one step; the fields of `sweep.cell.Row` that it decides, and figures."""

    step: Name
    status: Status
    seconds: Magnitude
    reason: Text | None = None
    error: Magnitude | None = None
    tolerance: Magnitude | None = None
    runtime: Name | None = None
    emulated: bool | None = None
    bytes: Count | None = None
    export_seconds: Magnitude | None = None
    left_out: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()
    measured: Annotated[tuple[Measured, ...], Meta(max_length=1000)] = ()


class Result(msgspec.Struct, frozen=True):
    """What became of a job.

    Attributes:
        status: of the first step that did not pass, or "passed".
        worker: host and process that ran it.
        ended: UTC, ISO 8601.
        problem: not the cell's, but its worker's: such a result is not kept, the cell runs again.
    """

    cell: Sha256
    attempt: Count
    status: Status
    steps: Annotated[tuple[StepResult, ...], Meta(max_length=10)]
    seconds: Magnitude
    worker: Name
    ended: Name
    problem: Text | None = None

    @property
    def reason(self) -> str | None:
        """Of the first step that did not pass."""
        return next((each.reason for each in self.steps if each.status != "passed"), None)

    def of(self, step: str) -> StepResult | None:
        """What became of a step; None when it was not reached."""
        return next((each for each in self.steps if each.step == step), None)


def cell_hash(facts: dict[str, Any]) -> str:
    """SHA-256 of what decides about a result, whatever the order of its names."""
    return hashlib.sha256(
        msgspec.json.encode({"schema": SCHEMA, **facts}, order="sorted")
    ).hexdigest()


def decode_result(data: bytes | str) -> Result:
    """A result from JSON; it may be from a store that somebody else wrote.

    Raises:
        msgspec.MsgspecError: it is not one.
    """
    return msgspec.json.decode(data, type=Result)

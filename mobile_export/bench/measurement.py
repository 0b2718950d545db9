"""One measurement: everything that is needed to believe it, or to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ..errors import StoreError
from .device import DeviceInfo, State

__all__ = ["EXCLUDING_MARKS", "MARKS", "SCHEMA", "Check", "Measurement"]

SCHEMA = 1
"""Of the records that this version writes; `Measurement.from_dict` reads all older ones."""

MARKS: Mapping[str, str] = {
    "contended": "other processes had the cores",
    "failed": "the runner or the device failed; what came before is kept",
    "interrupted": "stopped by hand before the interval was narrow enough",
    "throttled": "the device lowered its clocks",
    "too_hot": "the device was hot before the first run",
    "unchecked": "the output could not be compared with the expected one",
    "unsettled": "the warm-up never became stable",
    "wide_interval": "the time limit came before the interval was narrow enough",
    "wrong_output": "the output is not the model's",
}
"""What a measurement may be marked with, and what that means."""

EXCLUDING_MARKS = frozenset({"contended", "failed", "throttled", "too_hot", "wrong_output"})
"""A measurement with one of these is left out of tables unless it is asked for."""


@dataclass(frozen=True)
class Check:
    """The output on the device against the expected one of the manifest.

    Attributes:
        max_rel: largest error relative to the largest magnitude expected; None when not computed.
        tolerance: allowed.
        compared: number of values.
    """

    passed: bool
    max_rel: float | None
    tolerance: float
    compared: int


@dataclass(frozen=True)
class Measurement:
    """One artifact on one device under one runner.

    Attributes:
        time: UTC, ISO 8601, of the first timed run.
        run: the same for all measurements that were interleaved with each other.
        label: the user's own, to compare runs by.
        model: the source as `mobile-export` names it (``emo_2m``, ``timm/resnet18``).
        artifact: file, format, precision, sha256 (and of companions), bytes, input shape.
        parity: of the export, from the manifest.
        runner: name, version, threads, cores, backend, precision, features.
        versions: of this tool, of Python here, and of what wrote the artifact.
        unit: of samples, ``ns`` or ``instructions``.
        samples: every timed run in the order of execution.
        blocks: lengths of the runs that were back to back; their sum is ``len(samples)``.
        warmup: runs before, not among the samples.
        summary: of a tool without raw samples, see `RawResult`.
        load_ns, peak_memory: time from file to ready, bytes of the whole process.
        marks: keys of `MARKS`, sorted.
        notes: sentences for people.
    """

    time: str
    run: str
    model: str
    artifact: Mapping[str, Any]
    device: DeviceInfo
    runner: Mapping[str, Any]
    unit: str = "ns"
    samples: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    warmup: int = 0
    summary: Mapping[str, float] = field(default_factory=dict)
    load_ns: int | None = None
    peak_memory: int | None = None
    label: str | None = None
    parity: Mapping[str, Any] = field(default_factory=dict)
    check: Check | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    before: State = field(default_factory=State)
    after: State = field(default_factory=State)
    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def believable(self) -> bool:
        """False when a mark says that the figure is not the device's."""
        return not EXCLUDING_MARKS & set(self.marks)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it back."""
        return {
            "schema": SCHEMA,
            **vars(self),
            "device": self.device.to_dict(),
            "check": None if self.check is None else dict(vars(self.check)),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """The opposite of `to_dict`, for this and every older schema.

        Raises:
            StoreError: the record is of a newer schema, or lacks what every record has.
        """
        schema = facts.get("schema")
        if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
            raise StoreError(
                f"A record has schema {schema!r}; this version reads 1 to {SCHEMA}.",
                hint="Update mobile-export, or use another file with --store.",
            )
        try:
            known = {key: facts[key] for key in cls.__dataclass_fields__ if key in facts}
            check = facts.get("check")
            return cls(
                **known
                | {
                    "device": DeviceInfo.from_dict(facts["device"]),
                    "check": None if check is None else Check(**check),
                    "before": State.from_dict(facts.get("before", {})),
                    "after": State.from_dict(facts.get("after", {})),
                }
                | {
                    key: tuple(facts.get(key, ()))
                    for key in ("samples", "blocks", "marks", "notes")
                }
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoreError(
                f"A record of schema {schema} cannot be read: {type(error).__name__}: {error}.",
                hint="The file was edited by hand or by another tool; restore that line.",
            ) from error

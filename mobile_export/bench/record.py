"""One measurement: everything that is needed to believe it, or to repeat it."""

from __future__ import annotations

import itertools
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NotRequired, Self, TypedDict

import msgspec
from msgspec import Meta

from ..artifacts.fields import Count, Dim, Name, Number, Text, explain
from ..artifacts.manifest import Manifest
from ..errors import StoreError
from .devices.device import DeviceInfo, State
from .runners.runner import Job, Loaded, RawResult

__all__ = ["Check", "EXCLUDING_FLAGS", "FLAGS", "Measurement", "SCHEMA", "make_measurement"]

SCHEMA = 1
"""Of the records that this version writes; `Measurement.from_json` reads all older ones."""

FLAGS: Mapping[str, str] = {
    "contended": "its threads did not have a core each, all the time",
    "failed": "the runner or the device failed; what came before is kept",
    "interrupted": "ended by Ctrl-C, a signal or a kill; what it had finished is kept",
    "throttled": "the device lowered its clocks, or the runs became slower",
    "too_hot": "the device was hot before the first run",
    "unchecked": "the output could not be compared with the expected one",
    "unsettled": "the warm-up never became stable",
    "wide_interval": "too few starts or too little time for the interval that was asked for",
    "wrong_output": "the output is not the model's",
}
"""What a measurement may be flagged with, and what that means."""

EXCLUDING_FLAGS = frozenset({"contended", "failed", "throttled", "too_hot", "wrong_output"})
"""A measurement with one of these is left out of tables unless it is asked for."""

Sample = Annotated[int, Meta(ge=1, le=2**62)]
"""Of one run, in the unit of the measurement."""


@dataclass(frozen=True)
class Check:
    """The output on the device against the expected one of the manifest.

    It proves that the device computes what the manifest expects, not that the manifest, which
    travels with the file, is honest; that is for `mobile-export verify`.

    Attributes:
        max_rel: largest error relative to the largest magnitude expected; None when not computed.
        tolerance: allowed.
        compared: number of values.
    """

    passed: bool
    max_rel: Number | None
    tolerance: Number
    compared: Count


class ArtifactFacts(TypedDict):
    """The file that was measured; a record without a later key is still read."""

    file: Name
    format: Name
    precision: Name
    sha256: Name
    input_shape: Annotated[list[Dim], Meta(max_length=16)]
    companions: NotRequired[dict[Name, Name]]
    bytes: NotRequired[Count]
    weights: NotRequired[Name | None]
    classes: NotRequired[Count | None]
    """Asked for instead of the model's own number."""


class RunnerFacts(TypedDict):
    """What executed it, and how."""

    name: Name
    version: Name
    threads: Count
    cores: Annotated[list[Count], Meta(max_length=65536)] | None
    backend: Name
    precision: Name
    features: NotRequired[Annotated[list[Name], Meta(max_length=1000)]]


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
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
        blocks: lengths of the runs that were back to back, in turns; their sum is ``len(samples)``.
        starts: of the process, how many of the blocks each did; their sum is ``len(blocks)``. Empty
            in records of before there were several: one start did them all.
        warmup: runs before, not among the samples.
        summary: of a tool without raw samples, see `RawResult`.
        printed: the same of each of its starts.
        load_ns, peak_memory: time from file to ready, bytes of the whole process.
        flags: keys of `FLAGS`, sorted; the store calls them ``marks``, as its first version did.
        notes: sentences for people.
    """

    time: Name
    run: Name
    model: Name
    artifact: ArtifactFacts
    device: DeviceInfo
    runner: RunnerFacts
    unit: Name = "ns"
    samples: tuple[Sample, ...] = ()
    blocks: tuple[Count, ...] = ()
    starts: tuple[Count, ...] = ()
    warmup: Count = 0
    summary: Mapping[Name, Number] = msgspec.field(default_factory=dict)
    printed: Annotated[tuple[dict[Name, Number], ...], Meta(max_length=10_000)] = ()
    load_ns: Count | None = None
    peak_memory: Count | None = None
    label: Name | None = None
    parity: Mapping[str, Any] = msgspec.field(default_factory=dict)
    check: Check | None = None
    versions: Mapping[Name, Name] = msgspec.field(default_factory=dict)
    before: State = msgspec.field(default_factory=State)
    after: State = msgspec.field(default_factory=State)
    flags: Annotated[tuple[Name, ...], Meta(max_length=100)] = msgspec.field(
        default=(), name="marks"
    )
    notes: Annotated[tuple[Text, ...], Meta(max_length=1000)] = ()
    extra: Mapping[str, Any] = msgspec.field(default_factory=dict)

    @property
    def trusted(self) -> bool:
        """False when a flag says that the figure is not the device's."""
        return not EXCLUDING_FLAGS & set(self.flags)

    @property
    def turns(self) -> list[tuple[int, ...]]:
        """The samples of each block."""
        edges = list(itertools.accumulate(self.blocks, initial=0))
        return [self.samples[a:b] for a, b in itertools.pairwise(edges)]

    @property
    def samples_of_starts(self) -> list[tuple[int, ...]]:
        """The samples of each start of the process that has any."""
        turns = self.turns
        edges = list(itertools.accumulate(self.starts or (len(turns),), initial=0))
        starts = [
            tuple(s for turn in turns[a:b] for s in turn) for a, b in itertools.pairwise(edges)
        ]
        return [start for start in starts if start]

    @property
    def start_medians(self) -> list[float]:
        """The median of each start, measured or printed by the tool, or the mean that it prints."""
        if self.samples:
            return [statistics.median(start) for start in self.samples_of_starts]
        found = [one.get("median", one.get("mean")) for one in self.printed or (self.summary,)]
        return [value for value in found if value is not None]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_json` reads it back."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        states = {"before": self.before.to_dict(), "after": self.after.to_dict()}
        return {"schema": SCHEMA, **facts, **states}

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """A record of this or an older schema; unknown keys of a newer version are left out.

        Raises:
            StoreError: it is no JSON, of a newer schema, or a field is missing or not valid; the
                message is the end of a sentence that begins with the place of the record.
        """
        try:
            schema = msgspec.json.decode(line, type=_Version).schema
            if schema > SCHEMA:
                raise StoreError(f"has schema {schema}; this version reads 1 to {SCHEMA}")
            return msgspec.json.decode(line, type=cls)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as problem:
            raise StoreError(explain(problem)) from None


class _Version(msgspec.Struct):
    schema: Annotated[int, Meta(ge=1, le=2**31)]


def make_measurement(
    job: Job,
    runner: str,
    loaded: Sequence[Loaded],
    starts: Sequence[Sequence[RawResult]],
    info: DeviceInfo,
    *,
    flags: Mapping[str, str],
    time: str,
    **rest: Any,
) -> Measurement:
    """The record of one artifact.

    Args:
        loaded: what was known of the file after every start of the process.
        starts: what each of them measured; those without a result are left out.
        flags: keys of `FLAGS`, each with its reason.
        time: of the first timed run, empty when there was none.
        rest: the other fields of `Measurement`.
    """
    artifact = job.artifact
    starts = [start for start in starts if start]
    results = [result for start in starts for result in start]
    last = results[-1] if results else RawResult(())
    loads = [one.load_ns for one in loaded if one.load_ns is not None]
    return Measurement(
        time=time or datetime.now(UTC).isoformat(timespec="milliseconds"),
        model=artifact.model,
        artifact=artifact.facts(),
        parity=_parity(artifact.manifest),
        device=info,
        runner={
            "name": runner,
            "version": loaded[0].version,
            "threads": job.threads,
            "cores": None if job.cores is None else list(job.cores),
            "backend": job.backend,
            "precision": loaded[0].precision,
            "features": list(loaded[0].features),
        },
        versions=_versions(artifact.manifest),
        unit=last.unit,
        samples=tuple(sample for result in results for sample in result.samples),
        blocks=tuple(len(result.samples) for result in results),
        starts=tuple(len(start) for start in starts),
        summary=_summary(results),
        printed=tuple(dict(result.summary) for result in results if result.summary),
        load_ns=round(statistics.median(loads)) if loads else None,
        peak_memory=max((r.peak_memory for r in results if r.peak_memory), default=None),
        flags=tuple(sorted(flags)),
        notes=tuple(f"{flag}: {why}" for flag, why in sorted(flags.items())),
        extra={
            "waited_ns": sum(result.waited_ns or 0 for result in results),
            "overhead_ns": _overhead(results),
            **last.extra,
        },
        **rest,
    )


def _summary(results: Sequence[RawResult]) -> dict[str, float]:
    """Of a tool that prints summaries: the median of each figure over its starts; counts add up."""
    keys = {key for result in results for key in result.summary}
    found = {
        key: statistics.median(r.summary[key] for r in results if key in r.summary)
        for key in sorted(keys)
    }
    if "count" in found:
        found["count"] = sum(r.summary.get("count", 0) for r in results)
    return found


def _overhead(results: Sequence[RawResult]) -> int | None:
    """Of the loop, nanoseconds per run."""
    timed = [r for r in results if r.wall_ns is not None and r.samples and r.unit == "ns"]
    runs = sum(len(r.samples) for r in timed)
    spent = sum((r.wall_ns or 0) - sum(r.samples) for r in timed)
    return round(spent / runs) if runs else None


def _parity(manifest: Manifest) -> dict[str, Any]:
    parity = manifest.parity
    return {
        "verdict": None if parity is None else parity.status,
        "max_rel": None if parity is None else parity.max_rel,
        "tolerance": None if parity is None else parity.tolerance,
        "runtime": None if parity is None else parity.runtime,
    }


def _versions(manifest: Manifest) -> dict[str, str]:
    from .. import __version__

    tools = {f"export:{name}": version for name, version in manifest.tools.items()}
    return {"mobile-export": __version__, "python": platform.python_version(), **tools}

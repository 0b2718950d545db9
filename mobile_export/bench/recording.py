"""From the results of one run to the record that is kept."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .device import DeviceInfo
from .measurement import Measurement
from .runner import Job, Loaded, RawResult

__all__ = ["make_measurement"]


def make_measurement(
    job: Job,
    runner: str,
    loaded: Loaded,
    results: Sequence[RawResult],
    info: DeviceInfo,
    *,
    marks: Mapping[str, str],
    time: str,
    **rest: Any,
) -> Measurement:
    """The record of one artifact.

    Args:
        marks: keys of `measurement.MARKS`, each with its reason.
        time: of the first timed run, empty when there was none.
        rest: the other fields of `Measurement`.
    """
    artifact = job.artifact
    last = results[-1] if results else RawResult(())
    return Measurement(
        time=time or datetime.now(UTC).isoformat(timespec="milliseconds"),
        model=artifact.model,
        artifact=artifact.facts(),
        parity={
            key: artifact.manifest.get("parity", {}).get(key)
            for key in ("verdict", "max_rel", "tolerance", "runtime")
        },
        device=info,
        runner={
            "name": runner,
            "version": loaded.version,
            "threads": job.threads,
            "cores": None if job.cores is None else list(job.cores),
            "backend": job.backend,
            "precision": loaded.precision,
            "features": list(loaded.features),
        },
        versions=_versions(artifact.manifest),
        unit=last.unit,
        samples=tuple(sample for result in results for sample in result.samples),
        blocks=tuple(len(result.samples) for result in results),
        summary=_summary(results),
        load_ns=loaded.load_ns,
        peak_memory=last.peak_memory,
        marks=tuple(sorted(marks)),
        notes=tuple(f"{mark}: {why}" for mark, why in sorted(marks.items())),
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


def _versions(manifest: Mapping[str, Any]) -> dict[str, str]:
    from .. import __version__

    tools = {f"export:{name}": version for name, version in manifest.get("tools", {}).items()}
    return {"mobile-export": __version__, "python": platform.python_version(), **tools}

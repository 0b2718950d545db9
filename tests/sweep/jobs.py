"""Jobs and results for tests that export nothing."""

from __future__ import annotations

from typing import Any

from mobile_export.sweep.job import Job, Measured, Result, StepResult, cell_hash
from mobile_export.sweep.plan import Plan

__all__ = ["make_job", "make_plan", "make_result"]


def make_job(model: str = "emo_1m", **changes: Any) -> Job:
    """An export as ONNX."""
    version = changes.pop("version", "1")
    facts: dict[str, Any] = {
        "model": model, "format": "onnx", "precision": None, "size": None, "device": None,
        "steps": ("export",), "model_words": (), "words": {"export": ()}, "files": {},
        "folder": None, "time_limit": 60.0, "memory_limit": None, "versions": {}, **changes,
    }  # fmt: skip
    kind = cell_hash({"model": model, "steps": facts["steps"], "device": facts["device"]})
    return Job(cell=cell_hash({"kind": kind, "version": version}), kind=kind, **facts)


def make_plan(*jobs: Job) -> Plan:
    """A sweep of these."""
    measured = tuple(job for job in jobs if job.device)
    return Plan("tried", tuple(job for job in jobs if not job.device), measured)


def make_result(
    job: Job, status: Any = "passed", *, reason: str | None = None, size: int | None = 1000,
    measured: tuple[Measured, ...] = (), worker: str = "host:1", problem: str | None = None,
) -> Result:  # fmt: skip
    """The result of a job, of one step."""
    step = StepResult("export", status, 1.0, reason=reason, bytes=size, measured=measured)
    return Result(
        job.cell, job.attempt, status, (step,), 1.0, worker, "2026-11-29T00:00:00+00:00", problem
    )

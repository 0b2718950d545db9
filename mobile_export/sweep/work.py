"""What a worker does with a job: its steps, each a process of its own within one limit of time.

``mobile-export FORMAT MODEL`` writes the file into a temporary folder, ``verify``, ``evaluate`` and
``mobile-bench run`` are given that file. A step that does not pass ends the job.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import SweepError
from ..system.versions import version_of
from .cell import Status, outcome, second_outcome, told
from .code import code_digest
from .job import FileRef, Job, Measured, Result, StepResult
from .processes import Done, Processes

__all__ = ["here", "run_job", "versions_here"]

_BENCH = "mobile_export.bench"
_MOST_TOLD = 1000
"""Characters of what a step says that it was executed by."""
_NO_ROOM = ("No space left on device", "Disk quota exceeded", "disk is full")


def here() -> str:
    """This process, for people: host and number."""
    return f"{platform.node() or 'unknown'}:{os.getpid()}"


def versions_here(names: Mapping[str, str]) -> dict[str, str]:
    """What is installed here of what a job names, and the code of this project."""
    found = {name: version_of(name) or "not installed" for name in names}
    return {**found, **code_digest(), "python": platform.python_version()}


def run_job(
    job: Job,
    processes: Processes,
    fetch: Callable[[FileRef, Path], Path] = lambda ref, folder: Path(ref.path),
) -> Result:
    """Run the steps of a job until one does not pass.

    Args:
        fetch: makes a file of the job be there, in a folder if it likes; gives its path.
    """
    started = time.monotonic()
    steps: list[StepResult] = []
    problem = _other_versions(job)
    if problem is None:
        try:
            with tempfile.TemporaryDirectory(prefix="mobile-export-sweep-") as scratch:
                _Run(job, processes, Path(scratch), started, steps).all(fetch)
        except SweepError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{here()}: {error.strerror or error}"
    status: Status = next((each.status for each in steps if each.status != "passed"), "passed")
    return Result(
        job.cell,
        job.attempt,
        status,
        tuple(steps),
        round(time.monotonic() - started, 2),
        here(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        problem,
    )


def _other_versions(job: Job) -> str | None:
    """In words, what this worker has of another version than the job was planned with."""
    found = versions_here(job.versions)
    differ = [
        f"{name} {found.get(name)} (the sweep has {wanted})"
        for name, wanted in job.versions.items()
        if found.get(name) != wanted
    ]
    return f"worker {here()} is refused: it has {', '.join(differ)}" if differ else None


class _Run:
    """A job under way; ``steps`` is filled."""

    def __init__(
        self, job: Job, processes: Processes, scratch: Path, started: float,
        steps: list[StepResult],
    ) -> None:  # fmt: skip
        self._job, self._processes, self._scratch = job, processes, scratch
        self._until, self._steps = started + job.time_limit, steps
        self._paths: dict[str, str] = {}
        self._file = ""

    def all(self, fetch: Callable[[FileRef, Path], Path]) -> None:
        """Fetch the files, then run one step after the other."""
        for slot, ref in self._job.files.items():
            self._paths[slot] = str(fetch(ref, self._scratch / "in"))
        for step in self._job.steps:
            began = time.monotonic()
            try:
                facts = getattr(self, f"_{step}")()
            except subprocess.TimeoutExpired:
                facts = {
                    "status": "timeout", "reason": f"not done in {self._job.time_limit:g} s"
                }  # fmt: skip
            seconds = round(time.monotonic() - began, 2)
            self._steps.append(StepResult(step=step, seconds=seconds, **facts))
            if facts["status"] != "passed":
                return

    def _run(self, *words: str, module: str = "mobile_export") -> Done:
        done = self._processes.run(
            words, module=module, until=self._until, memory=self._job.memory_limit,
            folder=self._job.folder,
        )  # fmt: skip
        if done.code not in (0, 1) and any(text in done.stderr for text in _NO_ROOM):
            raise SweepError(f"{here()}: no space is left on its disk.")
        return done

    def _typed(self, *words: str) -> list[str]:
        """Words with the paths of the files that are here."""
        slots = {f"{{{slot}}}": path for slot, path in self._paths.items()}
        return [slots.get(word, word) for word in words]

    def _model(self) -> str:
        return self._paths.get("model", self._job.model)

    def _export(self) -> dict[str, Any]:
        job, out = self._job, self._scratch / "out"
        words = self._typed(*job.model_words, *job.words.get("export", ()))
        done = self._run(job.format, self._model(), "-o", str(out), "--json", *words)
        facts = outcome(done.code, done.stdout, done.stderr)
        if facts["status"] == "passed":
            self._file = json.loads(done.stdout)["artifacts"][0]["path"]
        return facts

    def _verify(self) -> dict[str, Any]:
        job = self._job
        words = self._typed(*job.model_words, *job.words.get("verify", ()))
        done = self._run("verify", self._file, self._model(), "--json", *words)
        return second_outcome(done.code, done.stdout, done.stderr)

    def _evaluate(self) -> dict[str, Any]:
        job = self._job
        words = self._typed(*job.words["evaluate"], *job.model_words)
        store = str(self._scratch / "evaluation.jsonl")
        done = self._run(
            "evaluate", self._file, "--model", self._model(), "-o", store, "--json", *words
        )
        return told(done.code, done.stdout, done.stderr, evaluated)

    def _placement(self) -> dict[str, Any]:
        done = self._run("placement", self._file, "--json")
        return told(done.code, done.stdout, done.stderr, placed)

    def _bench(self) -> dict[str, Any]:
        store = str(self._scratch / "bench.jsonl")
        words = self._typed(*self._job.words["bench"])
        done = self._run("run", self._file, "--store", store, "--json", *words, module=_BENCH)
        return told(done.code, done.stdout, done.stderr, benched)


def evaluated(found: dict[str, Any]) -> dict[str, Any]:
    """The fields of a step, from what ``evaluate --json`` printed."""
    figures = tuple(
        Measured(
            figure["name"], figure["unit"], figure["value"], figure["low"], figure["high"],
            "high",
        )
        for figure in found["rows"][0]["figures"]
    )  # fmt: skip
    facts = {"measured": figures, "runtime": found["rows"][0]["runtime"]}
    if found["left_out"]:
        reason = f"{len(found['left_out'])} pictures could not be judged"
        return {"status": "failed", "reason": reason, **facts}
    return {"status": "passed", **facts}


def placed(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The fields of a step, from what ``placement --json`` printed.

    An accelerator of which nothing could be found out (no device, no library, a file that it takes
    in part only) is inconclusive, never a pass.

    Raises:
        ValueError: it is about no accelerator.
    """
    if not found:
        raise ValueError("a report about no accelerator")
    figures, wrong, unknown, ran = [], [], [], []
    for row in found:
        if row["share"] is not None:
            share = round(100 * row["share"], 2)
            figures.append(
                Measured(f"nodes on {row['accelerator']}", "%", share, share, share, "high")
            )
        elif row["run"] is None:
            unknown.append(f"{row['title']}: {row['problem']}")
        if row["run"] is not None:
            ran.append(f"{row['said_by']} on {row['run']['device']}")
        if row["run"] is not None and not row["run"]["passed"]:
            wrong.append(f"{row['title']}: not the model's outputs, {row['run']['max_rel']} off")
    status: Status = "failed" if wrong else "inconclusive" if unknown else "passed"
    facts: dict[str, Any] = {"status": status, "measured": tuple(figures)}
    facts |= {"runtime": "; ".join(ran)[:_MOST_TOLD]} if ran else {}
    return facts | ({"reason": "; ".join(wrong + unknown)} if wrong + unknown else {})


def benched(found: dict[str, Any]) -> dict[str, Any]:
    """The fields of a step, from what ``mobile-bench run --json`` printed."""
    from ..bench.record import EXCLUDING_FLAGS

    figures: list[Measured] = []
    reasons: list[str] = [each["error"] for each in found["failures"]]
    status: Status = "refused" if reasons else "passed"
    for row in found["measurements"]:
        name = f"{row['runner']} {row['backend']}"
        figures.append(
            Measured(
                name, "ms", row["median_ms"], row["low_ms"], row["high_ms"], "low",
                tuple(row["flags"]),
            )
        )  # fmt: skip
        distrusted = sorted(EXCLUDING_FLAGS & set(row["flags"]))
        if "wrong_output" in row["flags"]:
            status = "failed"
        elif distrusted and status == "passed":
            status = "inconclusive"
        reasons += [f"{name}: {', '.join(distrusted)}"] if distrusted else []
    facts: dict[str, Any] = {"status": status, "measured": tuple(figures)}
    return facts | ({"reason": "; ".join(reasons)} if reasons else {})

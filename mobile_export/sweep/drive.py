"""A sweep from its plan to its store: only what is missing or has changed is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from .code import code_digest
from .engine import Engine
from .job import Job, Result
from .ledger import Ledger
from .plan import Plan

__all__ = ["Outcome", "run_sweep"]

_BATCH_SECONDS = 0.5
"""Results of so long are added in one transaction, which waits for the disk once."""


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        run: its number in the store.
        cells: it wanted; done: of those, that had a result before.
        added: results that it added.
        problems: by cell, why it has no result: its worker's fault, not its own.
    """

    run: int
    cells: int
    done: int
    added: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def run_sweep(
    plan: Plan,
    ledger: Ledger,
    engine: Engine,
    *,
    retry: bool = False,
    begin: Callable[[int, int], None] = lambda total, done: None,
    finished: Callable[[Job, Result], None] = lambda job, result: None,
) -> Outcome:
    """Run the jobs of a plan that the store has no result of, and add each result at once.

    Args:
        retry: run those again whose result is not "passed".
        begin: told how many cells there are, and how many of them are done.
        finished: told every result.

    Raises:
        SweepError: the store cannot be written, or the engine is gone; what was added is kept.
        KeyboardInterrupt: the same.
    """
    last = ledger.last()
    run = ledger.begin(plan.name, plan.jobs, code_digest()["mobile-export"])
    due = {
        stage: [found for job in jobs if (found := _due(job, last, retry)) is not None]
        for stage, jobs in (("run", plan.exports), ("measure", plan.measurements))
    }
    waiting = sum(map(len, due.values()))
    outcome = Outcome(run, len(plan.jobs), len(plan.jobs) - waiting)
    begin(outcome.cells, outcome.done)
    try:
        for stage, jobs in due.items():
            if jobs:
                _stage(getattr(engine, stage), jobs, ledger, outcome, finished)
    finally:
        engine.close()
    return outcome


def _due(job: Job, last: dict[str, tuple[int, str]], retry: bool) -> Job | None:
    """The job, with its attempt, when it is to be run."""
    if job.cell not in last:
        return job
    attempt, status = last[job.cell]
    if not retry or status == "passed":
        return None
    return msgspec.structs.replace(job, attempt=attempt + 1)


def _stage(
    start: Callable[[Iterable[Job]], Iterator[Result]],
    jobs: Sequence[Job],
    ledger: Ledger,
    outcome: Outcome,
    finished: Callable[[Job, Result], None],
) -> None:
    """Run the jobs of one stage; results are added in batches of half a second."""
    by_cell = {job.cell: job for job in jobs}
    batch: list[Result] = []
    written = time.monotonic()

    def write() -> None:
        ledger.add(batch)
        outcome.added += len(batch)
        batch.clear()

    try:
        for result in start(iter(jobs)):
            if result.problem is not None:
                outcome.problems[result.cell] = result.problem
            else:
                batch.append(result)
            finished(by_cell[result.cell], result)
            if time.monotonic() - written > _BATCH_SECONDS:
                write()
                written = time.monotonic()
    finally:
        write()

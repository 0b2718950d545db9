"""A sweep from plan to store: what is run, what is kept when something ends it.

Tests sweep/engine.py and sweep/drive.py with work that exports nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mobile_export.errors import SweepError
from mobile_export.sweep import drive
from mobile_export.sweep.drive import Outcome, run_sweep
from mobile_export.sweep.engine import Local
from mobile_export.sweep.job import Job, Result
from mobile_export.sweep.ledger import Ledger, open_ledger
from tests.sweep.jobs import make_job, make_plan, make_result

JOBS = [make_job(f"m{n}") for n in range(20)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(tmp_path / "s.sqlite", write=True) as opened:
        yield opened


def swept(
    ledger: Ledger, jobs: list[Job], work: Callable[[Job], Result] = make_result, **options: Any
) -> tuple[Outcome, list[str]]:
    """What a run did, and the models that were run."""
    ran: list[str] = []

    def noted(job: Job) -> Result:
        ran.append(job.model)
        return work(job)

    return run_sweep(make_plan(*jobs), ledger, Local(2, noted), **options), ran


def test_only_what_is_missing_or_changed_runs(ledger: Ledger) -> None:
    outcome, ran = swept(ledger, JOBS[:10])
    assert (outcome.cells, outcome.done, outcome.added) == (10, 0, 10)
    assert sorted(ran) == sorted(job.model for job in JOBS[:10])
    outcome, ran = swept(ledger, JOBS)
    assert (outcome.cells, outcome.done, outcome.added) == (20, 10, 10)
    assert sorted(ran) == sorted(job.model for job in JOBS[10:])
    newer = [make_job("m3", version="2"), *JOBS[4:]]
    assert swept(ledger, newer)[1] == ["m3"]
    assert swept(ledger, JOBS)[1] == []


def test_retry_runs_again_what_did_not_pass(ledger: Ledger) -> None:
    swept(
        ledger, JOBS[:3], lambda job: make_result(job, "crashed" if job.model == "m1" else "passed")
    )
    assert swept(ledger, JOBS[:3])[1] == []
    outcome, ran = swept(ledger, JOBS[:3], retry=True)
    assert (ran, outcome.added) == (["m1"], 1)
    assert ledger.last()[JOBS[1].cell] == (1, "passed")


def test_measurements_come_last_and_one_at_a_time(ledger: Ledger) -> None:
    running, most, order = [0], [0], []
    lock = threading.Lock()

    def work(job: Job) -> Result:
        with lock:
            order.append(job.device)
            running[0] += 1
            if job.device:
                most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return make_result(job)

    measured = [make_job(f"b{n}", device="local", needs={"measure": 1.0}) for n in range(4)]
    swept(ledger, [*measured, *JOBS[:4]], work)
    assert order == [None] * 4 + ["local"] * 4
    assert most == [1]


def test_a_workers_problem_is_no_result(ledger: Ledger) -> None:
    def full(job: Job) -> Result:
        return make_result(job, problem="host:1: no space is left on its disk.")

    outcome, _ = swept(ledger, JOBS[:2], full)
    assert (outcome.added, len(outcome.problems), ledger.last()) == (0, 2, {})
    assert swept(ledger, JOBS[:2])[0].added == 2


def test_what_was_done_is_kept_when_it_is_interrupted(ledger: Ledger) -> None:
    """Ctrl-C, or an error of the engine, in the middle."""

    def finished(job: Job, result: Result) -> None:
        if job.model == "m7":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swept(ledger, JOBS, finished=finished)
    kept = ledger.last()
    assert JOBS[7].cell in kept
    outcome, ran = swept(ledger, JOBS)
    assert outcome.added == len(ran) == 20 - len(kept)
    assert len(ledger.last()) == 20


def test_a_full_disk_ends_the_sweep_and_nothing_is_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "_BATCH_SECONDS", -1.0)
    ledger.add([])
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages + 30}")

    def large(job: Job) -> Result:
        return make_result(job, "failed", reason="x" * 20_000)

    with pytest.raises(SweepError, match="disk is full"):
        swept(ledger, JOBS, large)
    kept = len(ledger.last())
    assert 0 < kept < 20
    ledger._db.execute("PRAGMA max_page_count = 100000")
    assert swept(ledger, JOBS, large)[0].added == 20 - kept


def test_an_engine_asks_for_few_jobs_at_a_time() -> None:
    asked = [0]

    def jobs() -> Iterator[Job]:
        for job in JOBS * 50:
            asked[0] += 1
            yield job

    done = 0
    for _ in Local(2, make_result).run(jobs()):
        done += 1
        assert asked[0] - done <= 5
    assert done == 1000

"""Two runs compared: what is a regression, and what cannot be told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mobile_export.sweep.diff import Diff, compare_runs
from mobile_export.sweep.job import Measured, Result, StepResult
from mobile_export.sweep.ledger import Entry, _facts_of
from tests.sweep.jobs import make_job, make_result

JOB = make_job()


def entry(result: Result | None, job: Any = JOB) -> Entry:
    return Entry(job.cell, _facts_of(job), result)


def compared(before: Result | None, after: Result | None, **options: Any) -> Diff:
    return compare_runs([entry(before)], [entry(after)], **options)


def ms(low: float | None, high: float | None, *flags: str) -> Any:
    middle = None if low is None or high is None else (low + high) / 2
    return (Measured("ort cpu", "ms", middle, low, high, "low", flags),)


def whats(diff: Diff) -> list[str]:
    return [change.what for change in diff.changes]


@pytest.mark.parametrize(
    ("before", "after", "what", "code"),
    [
        ({}, {}, [], 0),
        ({}, {"status": "failed", "reason": "error 1e-1"}, ["failure"], 1),
        ({}, {"status": "timeout"}, ["failure"], 1),
        ({"status": "failed"}, {"status": "crashed"}, [], 0),
        ({"status": "failed"}, {}, ["mended"], 0),
        ({"size": 1000}, {"size": 1010}, [], 0),
        ({"size": 1000}, {"size": 1011}, ["larger"], 1),
        ({"size": 1000}, {"size": 900}, [], 0),
        ({"measured": ms(1.0, 1.1)}, {"measured": ms(1.05, 1.2)}, [], 0),
        ({"measured": ms(1.0, 1.1)}, {"measured": ms(1.11, 1.2)}, ["slower"], 1),
        ({"measured": ms(1.0, 1.1)}, {"measured": ms(0.5, 0.6)}, [], 0),
    ],
)
def test_one_cell(
    before: dict[str, Any], after: dict[str, Any], what: list[str], code: int
) -> None:
    diff = compared(make_result(JOB, **before), make_result(JOB, **after))
    assert (whats(diff), diff.exit_code, diff.compared) == (what, code, 1)


def test_what_cannot_be_told_is_counted() -> None:
    was = make_result(JOB, measured=ms(1.0, 1.1))
    for figures in (ms(2.0, 2.1, "contended"), ms(None, None)):
        diff = compared(was, make_result(JOB, measured=figures))
        assert (diff.changes, diff.untold, diff.exit_code) == ((), 1, 0)


def test_latencies_of_two_machines_are_not_compared() -> None:
    was = make_result(JOB, measured=ms(1.0, 1.1), worker="a:1")
    assert not compared(was, make_result(JOB, measured=ms(2.0, 2.1), worker="b:1")).changes
    assert whats(compared(was, make_result(JOB, measured=ms(2.0, 2.1), worker="a:2"))) == ["slower"]


def test_accuracy_is_worse_when_it_is_lower() -> None:
    def percent(low: float, high: float) -> Any:
        return (Measured("top-1", "%", (low + high) / 2, low, high, "high"),)

    was = make_result(JOB, measured=percent(70, 72))
    assert whats(compared(was, make_result(JOB, measured=percent(60, 62)))) == ["less accurate"]
    assert not compared(was, make_result(JOB, measured=percent(80, 82))).changes


def test_a_smaller_share_on_an_accelerator_is_worse() -> None:
    def placed(share: float) -> Result:
        figures = (Measured("nodes on gpu", "%", share, share, share, "high"),)
        step = StepResult("placement", "passed", 1.0, measured=figures)
        made = make_result(JOB)
        return msgspec.structs.replace(made, steps=(*made.steps, step))

    assert whats(compared(placed(95.0), placed(90.0))) == ["less accelerated"]
    assert not compared(placed(90.0), placed(95.0)).changes
    assert not compared(placed(90.0), placed(90.0)).changes


def test_missing_cells_are_no_success() -> None:
    other = make_job("emo_2m")
    result = make_result(JOB)
    assert (whats(compared(result, None)), compared(result, None).exit_code) == (["not run"], 3)
    gone = compare_runs([entry(result)], [])
    assert (whats(gone), gone.exit_code) == (["gone"], 3)
    new = compare_runs([], [entry(make_result(other, "failed"), other)])
    assert (whats(new), new.exit_code) == (["new"], 0)


def test_versions_do_not_matter() -> None:
    newer = make_job(version="2")
    assert newer.cell != JOB.cell
    diff = compare_runs([entry(make_result(JOB))], [entry(make_result(newer, "failed"), newer)])
    assert whats(diff) == ["failure"]
    assert diff.to_dict()["changes"][0]["model"] == "emo_1m"

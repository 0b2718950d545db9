"""Two runs side by side: what fails now, what is slower, less accurate or larger, what is gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .job import Measured, Result, StepResult
from .ledger import Entry, Facts

__all__ = ["LARGER", "Change", "Diff", "compare_runs"]

LARGER = 0.01
"""Share by which a file may grow without being told: names and versions in it change."""

What = Literal[
    "failure", "slower", "less accurate", "less accelerated", "larger", "not run", "gone",
    "mended", "new",
]  # fmt: skip
_REGRESSIONS = ("failure", "slower", "less accurate", "less accelerated", "larger")


@dataclass(frozen=True)
class Change:
    """One cell that is not as it was.

    Attributes:
        before, after: in words.
    """

    what: What
    model: str
    column: str
    before: str
    after: str


@dataclass(frozen=True)
class Diff:
    """All changes from one run to another.

    Attributes:
        compared: cells that have a result on both sides.
        untold: measurements that cannot be compared, because one is not to be trusted.
    """

    changes: tuple[Change, ...]
    compared: int
    untold: int

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Those that are worse."""
        return tuple(each for each in self.changes if each.what in _REGRESSIONS)

    @property
    def exit_code(self) -> int:
        """1 with a regression, 3 when a cell has no result to compare, 0 otherwise."""
        if self.regressions:
            return 1
        return 3 if any(each.what in ("not run", "gone") for each in self.changes) else 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "compared": self.compared,
            "untold": self.untold,
            "regressions": len(self.regressions),
            "changes": [asdict(each) for each in self.changes],
        }


def compare_runs(
    before: Iterable[Entry], after: Iterable[Entry], *, larger: float = LARGER
) -> Diff:
    """Compare cells that ask the same question (`Job.kind`), in whatever versions.

    Args:
        larger: share by which a file must have grown to be told.
    """
    old = {entry.facts.kind: entry for entry in before}
    changes: list[Change] = []
    compared, untold, seen = 0, 0, set()
    for entry in after:
        facts, now = entry.facts, entry.result
        seen.add(facts.kind)
        was = old.get(facts.kind)
        if was is None:
            changes.append(_change("new", facts, "", _status(now)))
        elif now is None or was.result is None:
            if was.result is not None:
                changes.append(_change("not run", facts, _status(was.result), "no result"))
        else:
            compared += 1
            found, lost = _compared(facts, was.result, now, larger)
            changes += found
            untold += lost
    changes += [
        _change("gone", entry.facts, _status(entry.result), "not in this run")
        for kind, entry in old.items()
        if kind not in seen
    ]
    return Diff(tuple(changes), compared, untold)


def _change(what: What, facts: Facts, before: str, after: str) -> Change:
    return Change(what, facts.row, facts.column, before, after)


def _status(result: Result | None) -> str:
    if result is None:
        return "no result"
    return f"{result.status}: {result.reason}" if result.reason else result.status


def _compared(facts: Facts, was: Result, now: Result, larger: float) -> tuple[list[Change], int]:
    """Changes of one cell, and how many of its figures cannot be compared."""
    found: list[Change] = []
    if was.status == "passed" != now.status:
        found.append(_change("failure", facts, _status(was), _status(now)))
    elif now.status == "passed" != was.status:
        found.append(_change("mended", facts, _status(was), _status(now)))
    for step in was.steps:
        other = now.of(step.step)
        if other is None:
            continue
        if step.bytes and other.bytes and other.bytes > step.bytes * (1 + larger):
            sizes = (f"{step.bytes:,} bytes", f"{other.bytes:,} bytes")
            found.append(_change("larger", facts, *sizes))
    untold = 0
    for step_name, name, pair in _pairs(was, now):
        worse = _worse(*pair)
        untold += worse is None
        if worse:
            what: What = "slower" if pair[0].better == "low" else "less accurate"
            if step_name == "placement":
                what = "less accelerated"
            found.append(_change(what, facts, *(f"{name} {_said(each)}" for each in pair)))
    return found, untold


def _pairs(was: Result, now: Result) -> Iterator[tuple[str, str, tuple[Measured, Measured]]]:
    """Steps and figures of one name in both; latencies of one machine only."""
    for step in was.steps:
        other = now.of(step.step)
        if other is None:
            continue
        found = _named(other)
        for name, figure in _named(step).items():
            if name in found and (figure.better != "low" or _host(was) == _host(now)):
                yield step.step, name, (figure, found[name])


def _named(step: StepResult) -> dict[str, Measured]:
    return {each.name: each for each in step.measured}


def _host(result: Result) -> str:
    return result.worker.rpartition(":")[0]


def _worse(was: Measured, now: Measured) -> bool | None:
    """Whether the intervals are apart on the bad side; None when that cannot be told."""
    sides = (was.low, was.high, now.low, now.high)
    if None in sides or _distrusted(was) or _distrusted(now):
        return None
    low, high, new_low, new_high = (float(side) for side in sides if side is not None)
    return new_low > high if was.better == "low" else new_high < low


def _distrusted(figure: Measured) -> bool:
    from ..bench.record import EXCLUDING_FLAGS

    return bool(EXCLUDING_FLAGS & set(figure.flags))


def _said(figure: Measured) -> str:
    if figure.value is None:
        return "none"
    exact = figure.low is None or figure.low == figure.high
    around = "" if exact else f" ({figure.low:.4g} to {figure.high:.4g})"
    return f"{figure.value:.4g} {figure.unit}{around}"

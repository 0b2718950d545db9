"""The measuring loop: load, check, warm up, run interleaved until the intervals are narrow, record.

All models of one call take turns, a block of runs each, forward in one round and backward in the
next (A B C, C B A, …), so that drift of the machine meets all of them alike. A model that fails
leaves the turns; what it had done is kept. Ctrl-C ends the turns; what was measured is kept.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..errors import BenchError, RunnerError
from . import stats
from .check import check_outputs
from .conditions import contention, crowding, heat, throttling
from .devices.device import Device, DeviceInfo, State
from .record import Check, Measurement, make_measurement
from .runners import RunnerRow
from .runners.runner import Job, RawResult, Runner, RunnerSession

__all__ = ["Limits", "RunnerJob", "measure"]

Progress = Callable[[str], None]
_WINDOW_SECONDS = 0.05
_RUNS_OF_A_TOOL = 50
_ROUNDS_OF_A_TOOL = 3


@dataclass(frozen=True)
class Limits:
    """When to stop.

    Attributes:
        interval: half-width of the median's 95 % interval, relative, that is narrow enough.
        seconds: of timed runs per model, at most.
        warmup_seconds: per model, at most.
        block_seconds: of one model's turn, about; at least one run.
        restart_seconds: the same for a tool that is started anew for each turn.
        rounds: fewest.
        samples: fewest per model, and most.
    """

    interval: float = 0.02
    seconds: float = 20.0
    warmup_seconds: float = 5.0
    block_seconds: float = 0.1
    restart_seconds: float = 1.0
    rounds: int = 10
    samples: tuple[int, int] = (30, 20_000)


@dataclass(frozen=True)
class RunnerJob:
    """One artifact under one runner.

    Attributes:
        runner: that of ``row``; all jobs of a run with the same row share it.
    """

    row: RunnerRow
    job: Job
    runner: Runner

    @property
    def title(self) -> str:
        """For progress and messages."""
        return f"{self.job.artifact.path.name} in {self.row.title}"


@dataclass
class _Entry:
    """A work under way."""

    work: RunnerJob
    session: RunnerSession
    check: Check | None = None
    warmup: int = 0
    block: int = 1
    results: list[RawResult] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)
    started: str = ""
    cpu_ns: int = 0

    def run(self, count: int) -> RawResult:
        """``count`` runs, of which the processor time is kept."""
        result = self.session.run(count)
        self.cpu_ns += result.cpu_ns or 0
        return result

    @property
    def samples(self) -> list[int]:
        return [sample for result in self.results for sample in result.samples]

    @property
    def alive(self) -> bool:
        return not {"failed", "wrong_output"} & set(self.flags)

    def measurement(self, info: DeviceInfo, **shared: Any) -> Measurement:
        """What is kept of it."""
        return make_measurement(
            self.work.job,
            self.work.row.name,
            self.session.loaded,
            self.results,
            info,
            flags=self.flags,
            check=self.check,
            warmup=self.warmup,
            time=self.started,
            **shared,
        )

    def fail(self, error: BenchError) -> None:
        self.flags["failed"] = error.message


def measure(
    device: Device,
    jobs: Sequence[RunnerJob],
    limits: Limits,
    *,
    label: str | None = None,
    progress: Progress = lambda stage: None,
    record: Callable[[Measurement], None] = lambda measurement: None,
    failed: Callable[[RunnerJob, RunnerError], None] = lambda work, error: None,
) -> list[Measurement]:
    """Measure all jobs, interleaved.

    Args:
        label: the user's own, kept in every measurement.
        record: told every measurement, also when the run is interrupted.
        failed: told every work whose file could not be loaded; the others go on.

    Raises:
        RunnerError: the only file could not be loaded.
        DeviceError: the device was gone before anything ran.
        KeyboardInterrupt: after what was measured had been recorded.
    """
    info = device.describe()
    with contextlib.ExitStack() as stack:
        before = device.state()
        entries = _open_all(device, jobs, stack, progress, failed)
        course = _take_turns(device, entries, limits, progress)
        found = _flags_of_device(before, course, info.cores)
        _set_flags(entries, found, limits, interrupted=course.interrupted)
        after = course.states[-1] if course.states else before
        run = uuid.uuid4().hex[:12]
        made = [
            entry.measurement(info, run=run, label=label, before=before, after=after)
            for entry in entries
            if entry.results or not course.interrupted
        ]
        for measurement in made:
            record(measurement)
    if course.interrupted:
        raise KeyboardInterrupt
    return made


def _open_all(
    device: Device,
    jobs: Sequence[RunnerJob],
    stack: contextlib.ExitStack,
    progress: Progress,
    failed: Callable[[RunnerJob, RunnerError], None],
) -> list[_Entry]:
    """Load every file; ``stack`` closes the sessions.

    Raises:
        RunnerError: the only file could not be loaded; of several, ``failed`` is told.
    """
    entries: list[_Entry] = []
    for work in jobs:
        try:
            progress(f"loading {work.title}")
            session = stack.enter_context(work.runner.open(device, work.job))
            entries.append(_Entry(work, session))
        except RunnerError as error:
            if len(jobs) == 1:
                raise
            failed(work, error)
    return entries


@dataclass
class _Course:
    """How the turns went.

    Attributes:
        clock: since the first turn.
        states: of the device, before the first round and after each.
        interrupted: by Ctrl-C.
    """

    clock: _Clock
    states: list[State] = field(default_factory=list)
    interrupted: bool = False


def _take_turns(
    device: Device, entries: Sequence[_Entry], limits: Limits, progress: Progress
) -> _Course:
    """Check and warm up every model, then run all rounds; Ctrl-C and a lost device end them."""
    course = _Course(_Clock(entries))
    try:
        for entry in entries:
            _prepare(entry, limits, progress)
        course.states.append(device.state())
        course.clock = _Clock(entries)
        for state in _rounds(device, entries, limits, progress):
            course.states.append(state)
    except KeyboardInterrupt:
        course.interrupted = True
    except BenchError as error:  # the device is gone, and with it all that still ran
        for entry in entries:
            if entry.alive:
                entry.fail(error)
    return course


def _flags_of_device(before: State, course: _Course, cores: int) -> dict[str, str | None]:
    """The flags that all measurements of one run share, with the reason or None."""
    found = {"too_hot": heat(before)}
    if course.states:
        first, *later = course.states
        found["throttled"] = throttling(later)
        found["contended"] = crowding(first, course.states[-1], *course.clock.spent(), cores)
    return found


def _prepare(entry: _Entry, limits: Limits, progress: Progress) -> None:
    """Check the output, warm up, and choose the length of a block."""
    try:
        progress(f"checking {entry.work.title}")
        entry.check = check_outputs(entry.session, entry.work.job.artifact)
        if entry.check is None:
            entry.flags["unchecked"] = (
                "the file returns detections, which only mobile-export compares"
                if entry.work.job.artifact.suppresses
                else f"{entry.work.row.title} gives no outputs"
            )
        elif not entry.check.passed:
            entry.flags["wrong_output"] = _how_wrong(entry.check)
            return
        progress(f"warming up {entry.work.title}")
        _warm_up(entry, limits)
    except RunnerError as error:
        entry.fail(error)


def _how_wrong(check: Check) -> str:
    if check.max_rel is None:
        return "the output has a wrong shape, or is not finite"
    return f"{check.max_rel:.1e} of the output range off, allowed is {check.tolerance:.0e}"


def _warm_up(entry: _Entry, limits: Limits) -> None:
    """Run windows of 50 ms and at least 5 runs until `stats.is_settled` or the time limit."""
    start = time.monotonic()
    windows: list[tuple[int, ...]] = []
    first = entry.run(1)
    entry.warmup = 1
    if first.unit != "ns":  # a count has nothing to settle
        return
    if not first.samples:
        entry.block = _RUNS_OF_A_TOOL
        return
    if not entry.session.loaded.resident:
        entry.block = _runs_in(limits.restart_seconds, first.samples[0])
        return
    length = 5
    while True:
        result = entry.run(length)
        entry.warmup += length
        windows.append(result.samples)
        typical = sorted(result.samples)[length // 2]
        if stats.is_settled(windows):
            break
        if time.monotonic() - start > limits.warmup_seconds:
            entry.flags["unsettled"] = f"after {entry.warmup} runs of warm-up"
            break
        length = max(5, _runs_in(_WINDOW_SECONDS, typical))
    entry.block = _runs_in(limits.block_seconds, typical)


def _runs_in(seconds: float, typical_ns: float) -> int:
    return max(1, min(1000, round(seconds * 1e9 / max(1.0, typical_ns))))


def _rounds(
    device: Device, entries: Sequence[_Entry], limits: Limits, progress: Progress
) -> Iterator[State]:
    """Give every model its turn until all are done; yields the device's state after each round."""
    start = time.monotonic()
    number = 0
    while turns := [entry for entry in entries if entry.alive]:
        for entry in turns if number % 2 == 0 else reversed(turns):
            _turn(entry)
        number += 1
        yield device.state()
        spent = time.monotonic() - start
        if all(_is_done(entry, number, limits) for entry in turns if entry.alive):
            return
        if spent > limits.seconds * len(turns):
            return
        progress(_progress_line(number, spent, turns))


def _turn(entry: _Entry) -> None:
    """One block; the run before it, which finds cold caches, is not counted."""
    try:
        if entry.session.loaded.resident:
            entry.run(1)
        if not entry.started:
            entry.started = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry.results.append(entry.run(entry.block))
    except RunnerError as error:
        entry.fail(error)


def _is_done(entry: _Entry, rounds: int, limits: Limits) -> bool:
    if entry.results[-1].unit != "ns" or not entry.results[-1].samples:
        return rounds >= _ROUNDS_OF_A_TOOL
    samples = entry.samples
    fewest, most = limits.samples
    if rounds < limits.rounds or len(samples) < fewest:
        return False
    return len(samples) >= most or stats.summarise(samples).half_width <= limits.interval


def _progress_line(number: int, spent: float, turns: Sequence[_Entry]) -> str:
    widths = [
        stats.summarise(entry.samples).half_width for entry in turns if len(entry.samples) >= 6
    ]
    widest = f", widest interval ±{max(widths):.1%}" if widths else ""
    return f"round {number}, {spent:.0f} s{widest}"


class _Clock:
    """Wall time and processor time, ours and the models', since it was made."""

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._entries = entries
        self._start = self._now()

    def spent(self) -> tuple[float, float]:
        """Seconds of wall time and of processor time."""
        wall, cpu = self._now()
        return wall - self._start[0], cpu - self._start[1]

    def _now(self) -> tuple[float, float]:
        models = sum(entry.cpu_ns for entry in self._entries)
        return time.monotonic(), time.process_time() + models / 1e9


def _set_flags(
    entries: Sequence[_Entry],
    shared: Mapping[str, str | None],
    limits: Limits,
    *,
    interrupted: bool,
) -> None:
    """Say of every measurement what keeps it from being believed.

    Args:
        shared: flags of the device, with the reason or None.
    """
    for entry in entries:
        if not entry.results:
            continue
        own = contention(entry.results)
        found = {**shared, "contended": own or shared.get("contended")}
        entry.flags.update({flag: why for flag, why in found.items() if why is not None})
        if interrupted:
            entry.flags["interrupted"] = "stopped by hand"
        samples = entry.samples
        if samples and entry.results[0].unit == "ns":
            width = stats.summarise(samples).half_width
            if width > limits.interval and entry.alive:
                entry.flags["wide_interval"] = f"±{width:.1%} after {len(samples)} runs"

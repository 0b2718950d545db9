"""The measuring loop: load, check, warm up, run interleaved; and again with new processes.

The process of every model is started several times, because two processes of one program may differ
by a percent. In each start all models of one call take turns, a block of runs each, forward in one
round and backward in the next (A B C, C B A, …), so that drift of the machine meets all of them
alike. How many starts there are is decided after the first ones (`stats.starts_needed`).

A model that fails leaves the turns; what it had done is kept. A lost connection ends a start: the
device is looked for again, and a new start goes on. Ctrl-C ends everything; what was measured is
kept, also by any other exception.
"""

from __future__ import annotations

import contextlib
import statistics
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from ..errors import BenchError, DeviceError, RunnerError, StoreError
from . import stats
from .check import check_outputs
from .conditions import busy_cores, contention, crowding, heat, slower_runs, throttling
from .devices.device import Device, DeviceInfo, State
from .record import Check, Measurement, make_measurement
from .runners import RunnerRow
from .runners.runner import Job, Loaded, RawResult, Runner, RunnerSession

__all__ = ["Keeper", "Limits", "RunnerJob", "measure", "wait_until_cool"]

Progress = Callable[[str], None]
_WINDOW_SECONDS = 0.05
_LATER_WARMUP = 1.0
_RUNS_OF_A_TOOL = 50
_ROUNDS_OF_A_COUNT = 3
_STATE_SHARE = 0.05
"""Of the time that may go into asking a device for its state: it does nothing else meanwhile."""
_COOLING_POLL = 5.0
_COOLED = 2.0
"""Degrees above the temperature at the beginning that count as cool again."""


@dataclass(frozen=True)
class Limits:
    """When to stop.

    Attributes:
        interval: half-width of the 95 % interval, relative, that is narrow enough.
        seconds: of timed runs per model, at most.
        warmup_seconds: per model, at most, in the first start.
        block_seconds: of one model's turn, about; at least one run.
        restart_seconds: the same for a tool that is started anew for each turn.
        starts: of every process, fewest; fewer than `stats.FEWEST_STARTS` give no interval.
        turns: in one start.
        cool_seconds: how long a hot device is waited for.
        retry_seconds: pauses before a lost device is looked for again, one after the other.
    """

    interval: float = 0.02
    seconds: float = 20.0
    warmup_seconds: float = 5.0
    block_seconds: float = 0.1
    restart_seconds: float = 1.0
    starts: int = stats.FEWEST_STARTS
    turns: int = 9
    cool_seconds: float = 120.0
    retry_seconds: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


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


class Keeper(Protocol):
    """What is told everything as soon as it is done (`journal.Journal`)."""

    def begin(self, measurements: Sequence[Measurement]) -> None:
        """All that is known before the first run."""

    def add(self, entry: int, start: int, result: RawResult) -> None:
        """One finished block of one of them."""

    def end(self) -> None:
        """All is recorded elsewhere."""


class _NoKeeper:
    def begin(self, measurements: Sequence[Measurement]) -> None: ...

    def add(self, entry: int, start: int, result: RawResult) -> None: ...

    def end(self) -> None: ...


@dataclass
class _Entry:
    """A job under way.

    Attributes:
        session: of the current start.
        loaded: what every start said.
        starts: the results of every start.
    """

    work: RunnerJob
    session: RunnerSession | None = None
    loaded: list[Loaded] = field(default_factory=list)
    starts: list[list[RawResult]] = field(default_factory=list)
    check: Check | None = None
    warmup: int = 0
    block: int = 0
    typical_ns: float = 0.0
    flags: dict[str, str] = field(default_factory=dict)
    started: str = ""
    cpu_ns: int = 0

    @property
    def running(self) -> RunnerSession:
        assert self.session is not None, "asked between two starts"
        return self.session

    def run(self, count: int) -> RawResult:
        """``count`` runs, of which the processor time is kept."""
        result = self.running.run(count)
        self.cpu_ns += result.cpu_ns or 0
        return result

    @property
    def results(self) -> list[RawResult]:
        return [result for start in self.starts for result in start]

    @property
    def turns(self) -> list[tuple[int, ...]]:
        return [result.samples for result in self.results if result.samples]

    @property
    def alive(self) -> bool:
        return not {"failed", "wrong_output"} & set(self.flags)

    @property
    def counts(self) -> bool:
        """It counts instead of timing, so there is nothing to repeat."""
        results = self.results
        return bool(results) and results[-1].unit != "ns"

    def measurement(self, info: DeviceInfo, **shared: Any) -> Measurement:
        """What is kept of it."""
        return make_measurement(
            self.work.job,
            self.work.row.name,
            self.loaded,
            self.starts,
            info,
            flags=self.flags,
            check=self.check,
            warmup=self.warmup,
            time=self.started,
            **shared,
        )

    def fail(self, error: BaseException) -> None:
        said = (
            error.message if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        )
        self.flags["failed"] = said


@dataclass
class _Course:
    """How it went.

    Attributes:
        clock: since the first turn.
        states: of the device, from before the first round on.
        dropped: how often the connection was lost and found again.
        interrupted: by Ctrl-C or a signal; error: anything that nobody expects.
    """

    clock: _Clock
    states: list[State] = field(default_factory=list)
    state_seconds: float = 0.0
    dropped: int = 0
    interrupted: bool = False
    error: Exception | None = None


@dataclass
class _Run:
    """One call of `measure`; see there.

    Attributes:
        kept: told every finished block.
        info: of the device; known: what all measurements share.
        begun: ``kept`` knows the measurements.
    """

    device: Device
    limits: Limits
    progress: Progress
    failed: Callable[[RunnerJob, RunnerError], None]
    kept: Keeper
    info: DeviceInfo
    known: Mapping[str, Any]
    course: _Course
    begun: bool = False

    def begin(self, entries: Sequence[_Entry]) -> None:
        """Keep what is known before the first run."""
        self.begun = True
        after = self.known["before"]
        self.kept.begin([e.measurement(self.info, after=after, **self.known) for e in entries])


def measure(
    device: Device,
    jobs: Sequence[RunnerJob],
    limits: Limits,
    *,
    label: str | None = None,
    progress: Progress = lambda stage: None,
    record: Callable[[Measurement], None] = lambda measurement: None,
    failed: Callable[[RunnerJob, RunnerError], None] = lambda work, error: None,
    keeper: Callable[[str], Keeper] = lambda run: _NoKeeper(),
) -> list[Measurement]:
    """Measure all jobs, interleaved.

    Args:
        label: the user's own, kept in every measurement.
        record: told every measurement, whatever ended the run.
        failed: told every job whose file could not be loaded; the others go on.
        keeper: makes, from the name of the run, what is told every finished block.

    Raises:
        RunnerError: the only file could not be loaded.
        DeviceError: the device was gone before anything ran.
        KeyboardInterrupt: after what was measured had been recorded; so does any other exception.
    """
    info = device.describe()
    before = wait_until_cool(device, limits.cool_seconds, progress)
    run = uuid.uuid4().hex[:12]
    entries = [_Entry(work) for work in jobs]
    course = _Course(_Clock(entries, here=device.here))
    kept = keeper(run)
    known = {"run": run, "label": label, "before": before}
    try:
        whole = _Run(device, limits, progress, failed, kept, info, known, course)
        _all_starts(whole, entries)
    except KeyboardInterrupt:
        course.interrupted = True
    except RunnerError:
        if len(jobs) == 1:
            kept.end()
            raise
    except BenchError as error:  # the device is gone for good, or the store is full
        _fail_all(entries, error)
        if isinstance(error, StoreError) or not any(entry.loaded for entry in entries):
            course.error = error
    except Exception as error:  # noqa: BLE001 (a bug of ours or a runtime's; what was done is kept)
        _fail_all(entries, error)
        course.error = error
    made = _finish(entries, course, limits, info, known)
    for measurement in made:
        record(measurement)
    kept.end()
    if course.interrupted:
        raise KeyboardInterrupt
    if course.error is not None:
        raise course.error
    return made


def _fail_all(entries: Sequence[_Entry], error: Exception) -> None:
    for entry in entries:
        if entry.alive:
            entry.fail(error)


def _finish(
    entries: Sequence[_Entry],
    course: _Course,
    limits: Limits,
    info: DeviceInfo,
    known: Mapping[str, Any],
) -> list[Measurement]:
    """The records of all entries that were loaded."""
    shared: dict[str, str | None] = {"too_hot": heat(known["before"])}
    if len(course.states) > 1:
        spent = course.clock.spent()
        shared["contended"] = crowding(course.states[0], course.states[-1], *spent, info.cores)
    for entry in entries:
        _set_flags(entry, shared, course, limits)
    after = course.states[-1] if course.states else known["before"]
    return [
        entry.measurement(info, after=after, **known)
        for entry in entries
        if entry.loaded and (entry.results or not course.interrupted)
    ]


def _all_starts(run: _Run, entries: list[_Entry]) -> None:
    """Start all processes as often as it takes."""
    start = time.monotonic()
    number = 0
    limits = run.limits
    while turns := [entry for entry in entries if entry.alive and _wants(entry, limits)]:
        try:
            with contextlib.ExitStack() as stack:
                for entry in turns:
                    _open(run, entry, stack, alone=len(entries) == 1)
                turns = [entry for entry in turns if entry.session is not None]
                entries[:] = [entry for entry in entries if entry.loaded]
                for entry in turns:
                    _prepare(entry, limits, run.course, run.progress)
                if not run.begun:  # their checks are known now
                    run.begin(entries)
                turns = [entry for entry in turns if entry.alive]
                left = limits.seconds * len(entries) - (time.monotonic() - start)
                _one_start(run, entries, turns, left)
        except DeviceError as error:
            _find_again(run.device, limits, run.course, error, run.progress)
        finally:
            for entry in entries:
                entry.session = None
        number += 1
        if number >= limits.starts and time.monotonic() - start > limits.seconds * len(entries):
            return


def _wants(entry: _Entry, limits: Limits) -> bool:
    """Whether another start of its process is needed."""
    done = [start for start in entry.starts if start]
    if entry.counts and done:
        return False
    if len(done) < limits.starts:
        return True
    if limits.starts < stats.FEWEST_STARTS or not done[0][0].samples:
        return False
    medians = [_median(start) for start in done]
    first = medians[: stats.FEWEST_STARTS]
    return len(done) < stats.starts_needed(first, limits.interval)


def _median(start: Sequence[RawResult]) -> float:
    return statistics.median(sample for result in start for sample in result.samples)


def _open(run: _Run, entry: _Entry, stack: contextlib.ExitStack, *, alone: bool) -> None:
    """Start the process of one entry; ``stack`` ends it.

    Raises:
        RunnerError: the only file could not be loaded; of several, ``failed`` is told.
    """
    run.progress(f"loading {entry.work.title}")
    try:
        entry.session = stack.enter_context(entry.work.runner.open(run.device, entry.work.job))
    except RunnerError as error:
        if entry.loaded:  # it could be loaded before
            entry.fail(error)
            return
        if alone:
            raise
        entry.fail(error)
        run.failed(entry.work, error)
        return
    entry.loaded.append(entry.session.loaded)


def _prepare(entry: _Entry, limits: Limits, course: _Course, progress: Progress) -> None:
    """Check the output, warm up, and choose the length of a block."""
    try:
        progress(f"checking {entry.work.title}")
        entry.check = check_outputs(entry.running, entry.work.job.artifact)
        if entry.check is None:
            entry.flags["unchecked"] = (
                "the file gives the objects that are left after overlapping ones were dropped; a "
                "device may keep another of two equal ones, so they are not compared here. "
                "mobile-export verify compares them on this machine"
                if entry.work.job.artifact.suppresses
                else f"{entry.work.row.title} gives no outputs"
            )
        elif not entry.check.passed:
            entry.flags["wrong_output"] = _how_wrong(entry.check)
            return
        progress(f"warming up {entry.work.title}")
        if not entry.block:
            _warm_up(entry, limits, course)
        elif entry.running.loaded.resident:
            _warm_up_again(entry, limits)
    except RunnerError as error:
        entry.fail(error)


def _how_wrong(check: Check) -> str:
    if check.max_rel is None:
        return "the output has a wrong shape, or is not finite"
    return f"{check.max_rel:.1e} of the output range off, allowed is {check.tolerance:.0e}"


def _warm_up(entry: _Entry, limits: Limits, course: _Course) -> None:
    """Run windows of 50 ms and at least 5 runs until `stats.is_settled` or the time limit."""
    first = entry.run(1)
    entry.warmup = 1
    if first.unit != "ns":  # a count has nothing to settle
        entry.block = 1
        return
    if not first.samples:
        entry.block = _RUNS_OF_A_TOOL
        return
    entry.typical_ns = first.samples[0]
    if not entry.running.loaded.resident:
        entry.block = _runs_in(limits.restart_seconds, entry.typical_ns)
        return
    if not _settle(entry, limits.warmup_seconds, fewest=5):
        entry.flags["unsettled"] = f"after {entry.warmup} runs of warm-up"
    turn = max(limits.block_seconds, 2 * course.state_seconds)
    entry.block = _runs_in(turn, entry.typical_ns)


def _warm_up_again(entry: _Entry, limits: Limits) -> None:
    """The same in a later start: the length of a block is known."""
    _settle(entry, min(_LATER_WARMUP, limits.warmup_seconds), fewest=1)


def _settle(entry: _Entry, seconds: float, *, fewest: int) -> bool:
    """Run windows until they agree (True) or the time is over."""
    start = time.monotonic()
    windows: list[tuple[int, ...]] = []
    while not stats.is_settled(windows):
        if windows and time.monotonic() - start > seconds:
            return False
        length = max(fewest, _runs_in(_WINDOW_SECONDS, entry.typical_ns) if windows else 0)
        result = entry.run(length)
        entry.warmup += length
        windows.append(result.samples)
        entry.typical_ns = statistics.median(result.samples)
    return True


def _runs_in(seconds: float, typical_ns: float) -> int:
    return max(1, min(1000, round(seconds * 1e9 / max(1.0, typical_ns))))


def _one_start(run: _Run, entries: Sequence[_Entry], turns: Sequence[_Entry], left: float) -> None:
    """All rounds of one start.

    Args:
        left: seconds until the time limit, which all starts that are still to come share.
    """
    course, limits = run.course, run.limits
    if not course.states:
        _ask(run.device, course)
        course.clock.restart()
    for entry in turns:
        entry.starts.append([])
    done = min((len(entry.starts) - 1 for entry in turns), default=0)
    share = left / max(1, limits.starts - done)
    start = asked = time.monotonic()
    paused = True
    for number in range(limits.turns):
        for entry in turns if number % 2 == 0 else reversed(turns):
            if entry.alive and number < _rounds_of(entry, limits):
                warm = 2 * course.state_seconds if paused else 0.0
                _turn(entry, run.kept, entries.index(entry), warm_seconds=warm)
        now = time.monotonic()
        paused = course.state_seconds <= _STATE_SHARE * (now - asked)
        if paused:
            _ask(run.device, course)
            asked = time.monotonic()
        run.progress(_progress_line(turns, course.clock.seconds()))
        if now - start > share:
            break
    _ask(run.device, course)


def _rounds_of(entry: _Entry, limits: Limits) -> int:
    """In one start: a tool that is started anew for every turn has one."""
    if entry.counts:
        return _ROUNDS_OF_A_COUNT
    return limits.turns if entry.running.loaded.resident else 1


def _ask(device: Device, course: _Course) -> None:
    """Keep the device's state, and how long it takes to tell it."""
    start = time.monotonic()
    course.states.append(device.state())
    course.state_seconds = time.monotonic() - start


def _turn(entry: _Entry, kept: Keeper, index: int, *, warm_seconds: float) -> None:
    """One block; the runs before it are not counted.

    Args:
        warm_seconds: of runs before it, after a pause in which clocks fell; at least one run, which
            finds cold caches.
    """
    try:
        if entry.running.loaded.resident:
            entry.run(_runs_in(warm_seconds, entry.typical_ns) if warm_seconds else 1)
        if not entry.started:
            entry.started = datetime.now(UTC).isoformat(timespec="milliseconds")
        result = entry.run(entry.block)
        entry.starts[-1].append(result)
    except RunnerError as error:
        entry.fail(error)
        return
    kept.add(index, len(entry.starts) - 1, result)


def _find_again(
    device: Device, limits: Limits, course: _Course, error: DeviceError, progress: Progress
) -> None:
    """Connect again after a drop.

    Raises:
        DeviceError: the one that said so, when the device does not come back.
    """
    for pause in limits.retry_seconds:
        progress(f"{device.spec} was lost; looking for it again in {pause:g} s")
        time.sleep(pause)
        try:
            device.reconnect()
        except DeviceError:
            continue
        course.dropped += 1
        if course.dropped > len(limits.retry_seconds):
            break
        return
    raise error


def wait_until_cool(
    device: Device,
    seconds: float,
    progress: Progress = lambda stage: None,
    like: State | None = None,
) -> State:
    """The device's state, once it is not hot, or after ``seconds``.

    Args:
        like: it must also be as cool as it was then, within two degrees.
    """
    end = time.monotonic() + seconds
    while True:
        state = device.state()
        warm = like is not None and (
            (state.thermal_status or 0) > (like.thermal_status or 0)
            or (
                state.temperature_c is not None
                and like.temperature_c is not None
                and state.temperature_c > like.temperature_c + _COOLED
            )
        )
        if not (warm or heat(state)) or time.monotonic() >= end:
            return state
        degrees = "" if state.temperature_c is None else f" ({state.temperature_c:.0f} °C)"
        progress(f"{device.spec} is hot{degrees}; waiting")
        time.sleep(min(_COOLING_POLL, max(0.0, end - time.monotonic())))


def _progress_line(turns: Sequence[_Entry], seconds: float) -> str:
    starts = max((len(entry.starts) for entry in turns), default=0)
    rounds = max((len(entry.results) for entry in turns), default=0)
    return f"start {starts}, round {rounds}, {seconds:.0f} s"


class _Clock:
    """Wall time, and the processor time of what is measured on the device.

    Args:
        here: the device is this machine, so this process counts, too.
    """

    def __init__(self, entries: Sequence[_Entry], *, here: bool) -> None:
        self._entries, self._here = entries, here
        self._start = self._now()

    def restart(self) -> None:
        """Count from now on."""
        self._start = self._now()

    def seconds(self) -> float:
        """Of wall time."""
        return time.monotonic() - self._start[0]

    def spent(self) -> tuple[float, float]:
        """Seconds of wall time and of processor time on the device."""
        wall, cpu = self._now()
        return wall - self._start[0], cpu - self._start[1]

    def _now(self) -> tuple[float, float]:
        models = sum(entry.cpu_ns for entry in self._entries) / 1e9
        return time.monotonic(), models + (time.process_time() if self._here else 0.0)


def _set_flags(
    entry: _Entry, shared: Mapping[str, str | None], course: _Course, limits: Limits
) -> None:
    """Say what keeps one measurement from being believed.

    Args:
        shared: flags of the device, with the reason or None.
    """
    if not entry.results:
        return
    job = entry.work.job
    timed = not entry.counts
    cores = busy_cores(course.states, job.cores)
    found = {
        **shared,
        "contended": contention(entry.results, job.threads) or shared.get("contended"),
        "throttled": throttling(course.states[1:], cores)
        or (slower_runs(entry.turns) if timed else None),
        "interrupted": "ended by Ctrl-C or a signal" if course.interrupted else None,
    }
    entry.flags.update({flag: why for flag, why in found.items() if why is not None})
    if entry.turns and timed and entry.alive:
        medians = [_median(start) for start in entry.starts if start]
        interval = stats.mean_interval(medians)
        if interval is None:
            entry.flags["wide_interval"] = (
                f"{len(medians)} starts of the process; an interval takes {stats.FEWEST_STARTS}"
            )
        else:
            width = (interval[1] - interval[0]) / (interval[1] + interval[0])
            if width > limits.interval:
                entry.flags["wide_interval"] = f"±{width:.1%} after {len(medians)} starts"

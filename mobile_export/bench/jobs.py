"""From what the user named to what is measured: files, runners, cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from ..errors import RunnerError, UsageError
from .devices.device import Device, DeviceInfo
from .files import BenchArtifact, find_artifacts
from .measure import RunnerJob
from .runners import RUNNERS, RunnerRow, get_runner
from .runners.runner import Job

__all__ = ["RunOptions", "make_jobs", "parse_cores"]


_FASTER = 1.1
_CORE_DIGITS = 5
"""Of the number of a core; no machine has a hundred thousand."""


@dataclass(frozen=True)
class RunOptions:
    """How files are executed.

    Attributes:
        runners: by name; empty takes the preferred one of every format.
        cores: ``0-3,6``, ``big`` or ``little``; None leaves the choice to the scheduler.
        model, weights: of runners that build the model from its code, see `runners.runner.Job`.
        backends: of the runners, each a measurement of its own; empty takes the default ones.
        operators: see `runners.runner.Job`.
        size: (height, width) of the images, of files of several sizes; None is the first one.
        pin: without ``cores``, take the fastest ones of a device that has several kinds.
    """

    runners: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    threads: int = 1
    cores: str | None = None
    backends: tuple[str, ...] = ()
    precision: str | None = None
    binary: Path | None = None
    timeout: float = 300.0
    model: str | None = None
    weights: Path | None = None
    pin: bool = True
    operators: bool = False
    size: tuple[int, int] | None = None


def make_jobs(
    device: Device, names: Sequence[str], options: RunOptions
) -> tuple[list[RunnerJob], tuple[str, ...]]:
    """Every artifact that ``names`` stand for under every runner for it.

    Returns:
        The jobs, and notes: on what was left out, and on what will spoil the figures.
    Raises:
        ArtifactError: a file is missing or does not deserve trust.
        RunnerError: nothing can run there.
        UsageError: an option does not fit.
    """
    if options.threads < 1:
        raise UsageError(f"--threads {options.threads} is not valid.", hint="Valid is 1 or more.")
    rows = _rows_on(device, options)
    formats = {
        f for row in rows for f in row.formats if not options.formats or f in options.formats
    }
    if not formats:
        asked = ", ".join(options.formats)
        known = ", ".join(sorted({f for row in rows for f in row.formats}))
        raise UsageError(
            f"Nothing on {device.spec} runs files of the format {asked}.",
            hint=f"Valid there: {', '.join(sorted(known))}.",
        )
    cores = _cores(device, options)
    runners = {row.name: row.runner() for row in rows}
    jobs: list[RunnerJob] = []
    notes: list[str] = []
    for artifact in _at_size(find_artifacts(names, sorted(formats)), options.size):
        for row, backend in _with_backends(_rows_for(artifact, rows, device, options), options):
            job = _job(artifact, row, backend, cores, options)
            sized = options.size is not None
            problem = _not_fed(artifact, row, sized=sized) or runners[row.name].missing(device, job)
            if problem is None:
                jobs.append(RunnerJob(row, job, runners[row.name]))
            else:
                notes.append(f"{artifact.path.name} is not measured: {problem}")
    if not jobs:
        raise RunnerError(notes[0], hint="\n".join(notes[1:]) or None)
    return jobs, (*notes, *_too_many_threads(device.describe(), options.threads, cores))


def _at_size(
    artifacts: Sequence[BenchArtifact], size: tuple[int, int] | None
) -> list[BenchArtifact]:
    """The files for images of another of their sizes.

    Raises:
        UsageError: a file does not take it.
    """
    if size is None:
        return list(artifacts)
    return [replace(each, manifest=each.manifest.at_size(size)) for each in artifacts]


def _too_many_threads(
    info: DeviceInfo, threads: int, cores: tuple[int, ...] | None
) -> Iterator[str]:
    """A note, where threads must wait for one another: the figure will be that of no setting."""
    known = cores or [core for cluster in info.clusters for core in cluster.cores]
    if known and threads > len(known):
        few = "1 core" if len(known) == 1 else f"{len(known)} cores"
        chosen = "that were chosen" if cores else f"of {info.spec}"
        yield (
            f"{threads} threads share the {few} {chosen}: they wait for one another, and the "
            f"measurement will be flagged contended. Stop it, and ask for --threads {len(known)}"
        )


def _not_fed(artifact: BenchArtifact, row: RunnerRow, *, sized: bool) -> str | None:
    """Why a runner that feeds one image, of the file's first size, cannot run a file of other
    inputs; None where it can.

    Args:
        sized: a size was asked for.
    """
    if row.any_inputs or (artifact.manifest.takes_one_picture and not sized):
        return None
    able = ", ".join(each.name for each in RUNNERS if each.any_inputs)
    if artifact.manifest.takes_one_picture:
        return f"{row.name} runs the first size of a file only; these run any of them: {able}"
    return (
        f"it takes {artifact.manifest.taken}, and {row.name} is given one image here; "
        f"these feed all: {able}"
    )


def _cores(device: Device, options: RunOptions) -> tuple[int, ...] | None:
    """Those that were asked for; on a device with kinds of cores, else the fastest ones.

    Left to the scheduler, a model wanders between slow and fast cores, and a figure is of neither.
    """
    info = device.describe()
    if options.cores is not None or not options.pin or not _has_kinds(info):
        return parse_cores(options.cores, info)
    chosen: list[int] = []
    for cluster in reversed(info.clusters):
        if len(chosen) < options.threads:
            chosen += cluster.cores
    return tuple(sorted(chosen))


def _has_kinds(info: DeviceInfo) -> bool:
    """Its clusters differ in their highest clock by a tenth or more, as ARM's big and little do."""
    clocks = [cluster.max_mhz for cluster in info.clusters if cluster.max_mhz]
    return len(clocks) > 1 and clocks[-1] > _FASTER * clocks[0]


def _rows_on(device: Device, options: RunOptions) -> list[RunnerRow]:
    rows = [get_runner(name) for name in options.runners] or list(RUNNERS)
    there = [row for row in rows if device.kind in row.devices]
    for row in rows:
        if options.runners and row not in there:
            raise UsageError(
                f"The runner {row.name} does not run on {device.spec}.",
                hint=f"It runs on: {', '.join(row.devices)}. See: mobile-bench runners",
            )
    if not there:
        raise RunnerError(
            f"There is no runner for {device.spec}.", hint="See: mobile-bench runners"
        )
    return there


def _rows_for(
    artifact: BenchArtifact, rows: Sequence[RunnerRow], device: Device, options: RunOptions
) -> list[RunnerRow]:
    found = [row for row in rows if artifact.format in row.formats]
    if not found:
        everywhere = [row for row in RUNNERS if artifact.format in row.formats]
        kinds = sorted({kind for row in everywhere for kind in row.devices})
        raise RunnerError(
            f"Nothing that was asked for on {device.spec} runs {artifact.path.name}.",
            hint=f"A {artifact.format} file runs on: {', '.join(kinds) or 'no device yet'}; "
            "see: mobile-bench runners",
        )
    if options.runners:
        return found
    if options.binary is not None:
        return [row for row in found if row.binary == options.binary.name] or _which_tool(found)
    return [row for row in found if row.binary is None][:1] or found[:1]


def _which_tool(rows: Sequence[RunnerRow]) -> NoReturn:
    names = ", ".join(f"--runner {row.name} ({row.binary})" for row in rows if row.binary)
    raise UsageError(
        "--binary does not say what kind of tool that is.",
        hint=f"Say it with {names}." if names else "Leave --binary out: no tool is needed there.",
    )


def _with_backends(
    rows: Sequence[RunnerRow], options: RunOptions
) -> Iterator[tuple[RunnerRow, str]]:
    """Every runner with each of its backends that was asked for, the default one otherwise.

    Raises:
        UsageError: a runner has none of those that were asked for.
    """
    for row in rows:
        chosen = [name for name in options.backends if name in row.backends]
        if options.backends and not chosen:
            raise UsageError(
                f"{row.title} has no backend {', '.join(map(repr, options.backends))}.",
                hint=f"Valid: {', '.join(row.backends)}.",
            )
        for backend in chosen or row.backends[:1]:
            yield row, backend


def _job(
    artifact: BenchArtifact,
    row: RunnerRow,
    backend: str,
    cores: tuple[int, ...] | None,
    options: RunOptions,
) -> Job:
    if options.precision is not None and options.precision not in row.precisions:
        choices = ", ".join(row.precisions) or f"leave --precision out for {row.name}"
        raise UsageError(
            f"{row.title} does not compute in {options.precision} on demand.",
            hint=f"Valid: {choices}.",
        )
    return Job(
        artifact=artifact,
        threads=options.threads,
        cores=cores,
        backend=backend,
        precision=options.precision,
        binary=options.binary,
        timeout=options.timeout,
        model=options.model,
        weights=options.weights,
        operators=options.operators,
    )


def parse_cores(text: str | None, info: DeviceInfo) -> tuple[int, ...] | None:
    """``0-3,6`` -> (0, 1, 2, 3, 6); ``big`` and ``little`` are the fastest and slowest cluster.

    Raises:
        UsageError: it is no such list, or the device has no such core.
    """
    if text is None:
        return None
    clusters = info.clusters
    if text in ("big", "little"):
        if len(clusters) < 2:
            raise UsageError(
                f"{info.spec} has one kind of cores only, so far as it tells.",
                hint="Name cores by number: --cores 0-3",
            )
        return clusters[-1 if text == "big" else 0].cores
    cores: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(
                f"--cores {text!r} is not valid.", hint="Valid: 0-3,6 or big or little."
            )
        if len(first) > _CORE_DIGITS or len(last) > _CORE_DIGITS:
            raise UsageError(f"{info.spec} has no such cores: {text[:80]}.", hint="Valid: 0-3,6.")
        cores |= set(range(int(first), int(last or first) + 1))
    known = {core for cluster in clusters for core in cluster.cores}
    if not cores or (known and not cores <= known):
        listed = ", ".join(map(str, sorted(known)))
        raise UsageError(f"{info.spec} has no such cores: {text}.", hint=f"It has: {listed}.")
    return tuple(sorted(cores))

"""The command that measures: ``mobile-bench [run] --device SPEC MODEL...``."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import BenchError, DeviceError, RunnerError
from ...system.messages import typed_error
from ...system.options import Range
from ...system.typed import number
from .options import FLAGS, AsJson, Backends, Devices, Label, Models, Store, Verbose, words_of

if TYPE_CHECKING:
    from ..jobs import RunOptions
    from ..measure import Limits, RunnerJob
    from ..record import Measurement

__all__ = ["run"]

_SECONDS = Range(0, 30 * 24 * 3600, above=True)


def run(
    models: Models,
    device: Devices = None,
    runner: Annotated[
        list[str] | None,
        typer.Option(
            help="See `mobile-bench runners`; may be given again. The preferred one of each "
            "format by default.",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="onnx, tflite, …; may be given again. All by default.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[int, number(within=Range(1, 1024, whole=True), help="CPU threads.")] = 1,
    cores: Annotated[
        str | None,
        typer.Option(help="Only these cores: 4-7, big, little.", show_default=False),
    ] = None,
    pin: Annotated[
        bool,
        typer.Option(
            help="Without --cores: the fastest cores of a device that has several kinds, which "
            "the record names."
        ),
    ] = True,
    backend: Backends = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of the arithmetic, where the runner has the choice: fp32 or fp16.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Of the images, of files that take several: 256 or 192x256 (height x width); the "
            "first one by default.",
            show_default=False,
        ),
    ] = None,
    binary: Annotated[
        Path | None,
        typer.Option(help="The tool, for a runner that needs one.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Source of the model, for --runner torch-eager, which runs its code: the one it "
            "was exported from.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of --model, if it has one.", show_default=False),
    ] = None,
    interval: Annotated[
        float,
        number(
            within=Range(0, 1, above=True, below=True),
            help="Stop when the median's 95 % interval is within ± this share.",
        ),
    ] = 0.02,
    time_limit: Annotated[
        float, number(within=_SECONDS, help="Stop after this many seconds of runs per model.")
    ] = 20.0,
    starts: Annotated[
        int,
        number(
            within=Range(1, 10_000, whole=True),
            help="Start every process so often, at least; fewer than 6 give no interval.",
        ),
    ] = 6,
    timeout: Annotated[
        float,
        number(within=_SECONDS, help="Give up a step that takes longer than this many seconds."),
    ] = 300.0,
    fixed_performance: Annotated[
        bool,
        typer.Option(
            "--fixed-performance",
            help="Hold the device's clocks steady meanwhile, where it can; restored afterwards.",
        ),
    ] = False,
    operators: Annotated[
        bool,
        typer.Option(
            "--operators",
            help="Also the time of every kind of operator, where the runner can tell it (LiteRT's "
            "benchmark_model), from runs of their own; see table --operators.",
        ),
    ] = False,
    label: Label = None,
    store: Store = Path("mobile-bench.jsonl"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure files: check their output, warm up, run them interleaved, keep every sample."""
    from ...sources.request import parse_size
    from ...system.terminal import progress_line
    from ..devices import require_spec
    from ..jobs import RunOptions
    from ..journal import recover
    from ..measure import Limits
    from ..store import require_store
    from .console import print_notes

    limits = Limits(interval=interval, seconds=time_limit, starts=starts)
    devices = list(dict.fromkeys(device or ["local"]))
    for one in devices:
        require_spec(one)
    require_store(store)
    options = RunOptions(
        runners=tuple(runner or ()),
        formats=tuple(format_ or ()),
        threads=threads,
        cores=cores,
        backends=words_of(backend),
        precision=precision,
        binary=binary,
        timeout=timeout,
        model=model,
        weights=weights,
        pin=pin,
        operators=operators,
        size=None if size is None else parse_size(size),
    )
    outcome = _Outcome(store, notes=list(recover(store)))
    with signals_interrupt(), progress_line(enabled=not as_json) as progress:
        for one in devices:
            try:
                _on_device(
                    one, models, options, limits, outcome,
                    label=label, fixed_performance=fixed_performance, progress=progress,
                )  # fmt: skip
            except (DeviceError, RunnerError) as error:
                if len(devices) == 1:
                    raise
                outcome.failures.append(_Failure("", "", one, error))
    print_notes(outcome.notes)
    _report(outcome, as_json=as_json)
    if outcome.failures or any("failed" in m.flags for m in outcome.measured):
        raise typer.Exit(2)
    if any("wrong_output" in m.flags for m in outcome.measured):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Failure:
    """What could not be measured: a file under a runner, or everything on a device."""

    file: str
    runner: str
    device: str
    error: BenchError

    def to_dict(self) -> dict[str, str | None]:
        """JSON-ready."""
        facts = {"file": self.file, "runner": self.runner, "device": self.device}
        said = typed_error(self.error, FLAGS)
        return facts | {"error": said.message, "hint": said.hint}


@dataclass
class _Outcome:
    """Of a run on one or several devices, one after the other."""

    store: Path
    notes: list[str]
    measured: list[Measurement] = field(default_factory=list)
    failures: list[_Failure] = field(default_factory=list)

    def record(self, measurement: Measurement) -> None:
        """Into the store, at once."""
        from ..store import append

        self.notes.extend(append(self.store, measurement))
        self.measured.append(measurement)


def _on_device(
    spec: str,
    models: list[str],
    options: RunOptions,
    limits: Limits,
    outcome: _Outcome,
    *,
    label: str | None,
    fixed_performance: bool,
    progress: Callable[[str], None],
) -> None:
    """Measure everything on one device.

    Raises:
        BenchError: the device is not there, or nothing can be measured on it.
    """
    from ..devices import connect
    from ..jobs import make_jobs
    from ..journal import Journal
    from ..measure import measure
    from .console import print_notes

    def failed(work: RunnerJob, error: RunnerError) -> None:
        file = work.job.artifact.path.name
        outcome.failures.append(_Failure(file, work.row.name, spec, error))

    with contextlib.ExitStack() as stack:
        progress(f"connecting to {spec}")
        connected = connect(spec)
        stack.callback(connected.close)
        jobs, notes = make_jobs(connected, models, options)
        print_notes(notes)  # before anything that takes time
        if fixed_performance:
            stack.enter_context(connected.fixed_performance())
        for group in _groups(jobs):
            measure(
                connected,
                group,
                limits,
                label=label,
                progress=progress,
                record=outcome.record,
                failed=failed,
                keeper=lambda run: Journal(outcome.store, run),
            )


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: what was measured is kept."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


_MOST_TOGETHER = 8
"""Models that take turns; each holds its memory meanwhile."""


def _groups(jobs: list[RunnerJob]) -> list[list[RunnerJob]]:
    return [jobs[i : i + _MOST_TOGETHER] for i in range(0, len(jobs), _MOST_TOGETHER)]


def _report(outcome: _Outcome, *, as_json: bool) -> None:
    from ...system.terminal import print_error
    from ..tables import make_rows
    from .console import print_rows

    rows, _ = make_rows(outcome.measured, flagged=True, history=True)
    if as_json:
        facts: dict[str, Any] = {
            "measurements": [row.to_dict() | {"notes": row.measurement.notes} for row in rows],
            "failures": [failure.to_dict() for failure in outcome.failures],
        }
        typer.echo(json.dumps(facts, indent=2))
    else:
        print_rows(rows)
    for failure in outcome.failures:
        print_error(typed_error(failure.error, FLAGS))

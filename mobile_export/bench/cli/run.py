"""The command that measures: ``mobile-bench [run] --device SPEC MODEL...``."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AsJson, Device, Label, Models, Store, Verbose

if TYPE_CHECKING:
    from ...errors import RunnerError
    from ..measure import Limits, RunnerJob
    from ..record import Measurement

__all__ = ["run"]


def run(
    models: Models,
    device: Device = "local",
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
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
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
    backend: Annotated[
        str | None,
        typer.Option(
            help="Of the runner; see `mobile-bench runners`. Several, one measurement each: "
            "cpu,gpu,nnapi.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of the arithmetic, where the runner has the choice: fp32 or fp16.",
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
        float, typer.Option(help="Stop when the median's 95 % interval is within ± this share.")
    ] = 0.02,
    time_limit: Annotated[
        float, typer.Option(help="Stop after this many seconds of runs per model.")
    ] = 20.0,
    starts: Annotated[
        int,
        typer.Option(help="Start every process so often, at least; fewer than 6 give no interval."),
    ] = 6,
    timeout: Annotated[
        float, typer.Option(help="Give up a step that takes longer than this many seconds.")
    ] = 300.0,
    fixed_performance: Annotated[
        bool,
        typer.Option(
            "--fixed-performance",
            help="Hold the device's clocks steady meanwhile, where it can; restored afterwards.",
        ),
    ] = False,
    label: Label = None,
    store: Store = Path("mobile-bench.jsonl"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure files: check their output, warm up, run them interleaved, keep every sample."""
    from ...system.terminal import progress_line
    from ..devices import connect
    from ..jobs import RunOptions, make_jobs
    from ..journal import Journal, recover
    from ..measure import measure
    from ..store import append, require_store
    from .console import print_notes

    limits = _limits(interval, time_limit, timeout, starts)
    require_store(store)
    options = RunOptions(
        runners=tuple(runner or ()),
        formats=tuple(format_ or ()),
        threads=threads,
        cores=cores,
        backends=tuple(dict.fromkeys(word.strip() for word in (backend or "").split(",") if word)),
        precision=precision,
        binary=binary,
        timeout=timeout,
        model=model,
        weights=weights,
        pin=pin,
    )
    failures: list[tuple[RunnerJob, RunnerError]] = []
    measured: list[Measurement] = []
    notes: list[str] = list(recover(store))

    def record(measurement: Measurement) -> None:
        notes.extend(append(store, measurement))
        measured.append(measurement)

    with signals_interrupt(), contextlib.ExitStack() as stack:
        progress = stack.enter_context(progress_line(enabled=not as_json))
        progress(f"connecting to {device}")
        connected = connect(device)
        stack.callback(connected.close)
        jobs, left_out = make_jobs(connected, models, options)
        notes.extend(left_out)
        if fixed_performance:
            stack.enter_context(connected.fixed_performance())
        for group in _groups(jobs):
            measure(
                connected,
                group,
                limits,
                label=label,
                progress=progress,
                record=record,
                failed=lambda work, error: failures.append((work, error)),
                keeper=lambda run: Journal(store, run),
            )
    print_notes(notes)
    _report(measured, failures, as_json=as_json)
    if failures or any("failed" in m.flags for m in measured):
        raise typer.Exit(2)
    if any("wrong_output" in m.flags for m in measured):
        raise typer.Exit(1)


def _limits(interval: float, time_limit: float, timeout: float, starts: int) -> Limits:
    from ...errors import UsageError
    from ..measure import Limits

    if not 0 < interval < 1 or time_limit <= 0 or timeout <= 0 or starts < 1:
        raise UsageError(
            "--interval, --time-limit, --timeout and --starts must be above 0, --interval below 1.",
            hint="Valid: --interval 0.02 --time-limit 20 --timeout 300 --starts 6",
        )
    return Limits(interval=interval, seconds=time_limit, starts=starts)


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


def _report(
    measured: list[Measurement], failures: list[tuple[RunnerJob, RunnerError]], *, as_json: bool
) -> None:
    from ...system.terminal import print_error
    from ..tables import make_rows
    from .console import print_rows

    rows, _ = make_rows(measured, flagged=True, history=True)
    if as_json:
        facts: dict[str, Any] = {
            "measurements": [row.to_dict() | {"notes": row.measurement.notes} for row in rows],
            "failures": [
                {
                    "file": work.job.artifact.path.name,
                    "runner": work.row.name,
                    "error": error.message,
                    "hint": error.hint,
                }
                for work, error in failures
            ],
        }
        typer.echo(json.dumps(facts, indent=2))
    else:
        print_rows(rows)
    for _, error in failures:
        print_error(error)

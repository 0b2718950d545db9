"""The command for hours without a person: ``mobile-bench queue FILE|FOLDER… --device A``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...system.options import Range
from ...system.typed import number
from .options import AsJson, Backends, Devices, Label, Store, words_of

if TYPE_CHECKING:
    from ..queue import Event, Task

__all__ = ["queue"]


def queue(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|FOLDER...",
            help="Exported files, or folders that hold them.",
            show_default=False,
        ),
    ],
    device: Devices = None,
    backend: Backends = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="Passed to `mobile-bench run`, as --option=--threads=4; may be given again.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        float,
        number(
            within=Range(0, 30 * 24 * 60),
            help="Minutes that a device that is away, hot or empty is waited for.",
        ),
    ] = 30.0,
    battery: Annotated[
        float,
        number(
            within=Range(0, 100), help="Percent that its battery must have without external power."
        ),
    ] = 20.0,
    label: Label = None,
    store: Store = Path("mobile-bench.jsonl"),
    as_json: AsJson = False,
) -> None:
    """Measure many files on many devices, one after the other and side by side; resumes."""
    from ..devices import full_spec
    from ..journal import read_all, recover
    from ..queue import Patience, Queue, Task, claim, is_done
    from ..store import require_store
    from .run import signals_interrupt

    require_store(store)
    backends = words_of(backend) or (None,)
    devices = dict.fromkeys(full_spec(spec) for spec in device or ["local"])
    tasks = [
        Task(path, sha256, one, each)
        for path, sha256 in _found(files)
        for one in devices
        for each in backends
    ]

    def command(task: Task) -> list[str]:
        words = [sys.executable, "-m", "mobile_export.bench.cli", "run", "--json"]
        words += [f"--device={task.device}", f"--store={store}"]
        words += [] if label is None else [f"--label={label}"]
        words += [] if task.backend is None else [f"--backend={task.backend}"]
        return [*words, *(option or ()), "--", str(task.file)]

    def tell(event: Event) -> None:
        if as_json:
            typer.echo(json.dumps(event))
        else:
            typer.echo(_sentence(event), err=True)

    def waits() -> None:
        typer.echo(f"Waits for what another queue measures for {store} …", err=True)

    with signals_interrupt(), claim(store, waits) as held:
        recover(store)
        kept = read_all(store).measurements
        todo = [task for task in tasks if not is_done(task, kept, label)]
        if not as_json and len(todo) < len(tasks):
            typer.echo(
                f"{len(tasks) - len(todo)} of {len(tasks)} are in {store} already.", err=True
            )
        patience = Patience(60 * wait, battery=battery)
        results = Queue(todo, command, tell, patience, held=held).run()
    if any(result["event"] == "failed" for result in results):
        raise typer.Exit(2)


def _found(files: list[Path]) -> list[tuple[Path, str]]:
    """Every exported file with its hash.

    Raises:
        UsageError: a folder has none.
        ArtifactError: a file does not deserve trust.
    """
    from ...errors import UsageError
    from ..files import read_artifact

    paths: list[Path] = []
    for file in files:
        inside = sorted(file.glob("*.manifest.json")) if file.is_dir() else []
        beside = Path(f"{file}.manifest.json")  # of a Core ML package, which is a folder, too
        if file.is_dir() and not beside.exists():
            if not inside:
                raise UsageError(
                    f"{file} holds no exported file.", hint="Write some: mobile-export all MODEL"
                )
            paths += [one.with_name(one.name.removesuffix(".manifest.json")) for one in inside]
        else:
            paths.append(file)
    return [(path, read_artifact(path).manifest.sha256) for path in dict.fromkeys(paths)]


def _sentence(event: Event) -> str:
    """One event for a person."""
    from ...system.terminal import printable

    backend = f" ({event['backend']})" if event["backend"] else ""
    left = event["seconds_left"]
    rest = "" if left is None else f", about {left // 60} min {left % 60} s left"
    where = f"[{event['finished']}/{event['tasks']}{rest}] {Path(event['file']).name}{backend}"
    said = {
        "started": "started",
        "waiting": f"waits: {event.get('reason')}",
        "failed": f"failed: {event.get('error')}",
        "done": ", ".join(f"{row['median_ms']:.2f} ms" for row in event.get("measurements", ())
                          if row["median_ms"] is not None),
    }[event["event"]]  # fmt: skip
    return printable(f"{where} on {event['device']}: {said}")

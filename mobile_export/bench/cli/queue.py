"""The command for hours without a person: ``mobile-bench queue FILE|FOLDER… --device A``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from ...sources.request import parse_size
    from ..devices import full_spec
    from ..journal import read_all, recover
    from ..queue import Asked, Patience, Queue, Task, claim, is_done
    from ..store import require_store
    from .run import signals_interrupt

    require_store(store)
    chosen = _chosen(option or [])
    asked = Asked(
        runners=tuple(chosen["runner"] or ()),
        threads=chosen["threads"],
        cores=chosen["cores"],
        precision=chosen["precision"],
        operators=chosen["operators"],
    )
    size = None if chosen["size"] is None else parse_size(chosen["size"])
    backends = words_of(backend) or (None,)
    devices = dict.fromkeys(full_spec(spec) for spec in device or ["local"])
    tasks = [
        Task(path, sha256, one, each, None if size is None else (*shape[:-2], *size))
        for path, sha256, shape in _found(files)
        for one in devices
        for each in backends
    ]

    def command(task: Task) -> list[str]:
        words = [sys.executable, "-m", "mobile_export.bench", "run", "--json"]
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
        todo = [task for task in tasks if not is_done(task, kept, label, asked)]
        if not as_json and len(todo) < len(tasks):
            typer.echo(
                f"{len(tasks) - len(todo)} of {len(tasks)} are in {store} already.", err=True
            )
        patience = Patience(60 * wait, battery=battery)
        results = Queue(todo, command, tell, patience, held=held).run()
    if any(result["event"] == "failed" for result in results):
        raise typer.Exit(2)


_QUEUES_OWN = {"models": "FILE", "device": "--device", "backend": "--backend",
               "label": "--label", "store": "--store", "as_json": "--json"}  # fmt: skip
"""What `run` takes and the queue itself gives it."""


def _chosen(words: list[str]) -> dict[str, Any]:
    """What ``words``, options of `run`, say, before anything is waited for.

    Raises:
        UsageError: `run` has no such option or value, or the queue has it itself.
    """
    from ...errors import UsageError
    from .run import run

    app = typer.Typer()
    app.command()(run)
    command = typer.main.get_command(app)
    typed = [*words, "--", "FILE"]
    hint = "Valid: options of mobile-bench run, as --option=--threads=4."
    try:
        context = command.make_context("mobile-bench run", typed, help_option_names=[])
    except typer.TyperException as error:
        raise UsageError(f"--option: {error.format_message()}", hint=hint) from None
    values: dict[str, Any] = context.params
    for name, own in _QUEUES_OWN.items():
        typed_it = getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
        given = values[name] != ["FILE"] if name == "models" else typed_it
        if given:
            raise UsageError(f"--option gives {own}.", hint=f"Give {own} to the queue itself.")
    return values


def _found(files: list[Path]) -> list[tuple[Path, str, tuple[int, ...]]]:
    """Every exported file with its hash and the shape of its input.

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
    read = [(path, read_artifact(path)) for path in dict.fromkeys(paths)]
    return [(path, each.manifest.sha256, each.input_shape) for path, each in read]


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

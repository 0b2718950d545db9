"""What a hostile file can be given to: every argument and path of every command of both programs.

`SLOTS` says for each of them which kinds of the corpus are tried there and how the rest of the
command line reads; `typed_paths` finds them in the commands themselves, so that a test sees a new
one that has no row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

__all__ = ["NO_FILES", "SLOTS", "Slot", "typed_commands", "typed_paths"]


@dataclass(frozen=True)
class Slot:
    """A place on a command line where a file is named.

    Attributes:
        kinds: of the corpus, tried there.
        words: what is typed; ``{}`` is the file, ``{out}`` the folder that may be written to,
            ``{good}`` the folder of good files.
        slow: seconds even when the file is refused; tried less often.
    """

    program: str
    command: str
    parameter: str
    kinds: tuple[str, ...]
    words: str
    slow: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """Program, command and parameter."""
        return self.program, self.command, self.parameter


EXPORT = "mobile-export"
BENCH = "mobile-bench"
FILES = ("artifact", "package")
NET = "hostile_net:build"
_RUN = "run --interval 0.5 --time-limit 0.1 --timeout 60"


def _slots() -> Iterator[Slot]:
    for name in ("onnx", "coreml", "tflite", "ncnn", "tnn", "all"):
        where = "--size 32 -o {out} --json"
        yield Slot(EXPORT, name, "model", ("program",), f"{name} {{}} -o {{out}}")
        yield Slot(EXPORT, name, "weights", ("checkpoint",), f"{name} {NET} --weights {{}} {where}")
        yield Slot(EXPORT, name, "labels", ("labels",), f"{name} {NET} --labels {{}} {where}", True)
        yield Slot(
            EXPORT, name, "samples", ("pictures",), f"{name} {NET} --samples {{}} {where}", True
        )
        whole = f"{name} {NET} --precision int8 --calibration synthetic --plan {{}} {where}"
        yield Slot(EXPORT, name, "plan", ("labels", "matrix"), whole, True)
        rest = f"{NET} --size 32 --force --name x"
        yield Slot(EXPORT, name, "out_dir", ("models",), f"{name} {rest} -o {{}}", True)
    prepare = f"prepare {NET} --size 32"
    yield Slot(EXPORT, "prepare", "model", ("program",), "prepare {} -o {out}/x.pt2")
    yield Slot(
        EXPORT, "prepare", "weights", ("checkpoint",), f"{prepare} --weights {{}} -o {{out}}/x.pt2"
    )
    yield Slot(EXPORT, "prepare", "file", ("program",), f"{prepare} --force -o {{}}", True)
    yield Slot(
        EXPORT,
        "prepare",
        "samples",
        ("pictures",),
        f"{prepare} --samples {{}} -o {{out}}/x.pt2",
        True,
    )
    verify = f"{NET} --size 32"
    yield Slot(
        EXPORT, "verify", "samples", ("pictures",),
        f"verify {{good}}/tiny.onnx {verify} --samples {{}}", True,
    )  # fmt: skip
    yield Slot(EXPORT, "verify", "file", FILES, f"verify {{}} {verify}", True)
    yield Slot(EXPORT, "verify", "file", FILES, "verify {} --json", True)  # of its manifest's model
    yield Slot(EXPORT, "verify", "model", ("program",), "verify {good}/tiny.onnx {}", True)
    yield Slot(
        EXPORT, "verify", "weights", ("checkpoint",),
        f"verify {{good}}/tiny.onnx {verify} --weights {{}} --json", True,
    )  # fmt: skip
    yield Slot(EXPORT, "inspect", "file", FILES, "inspect {}")
    yield Slot(EXPORT, "run", "target", FILES, "run {} {good}/photo.png --json")
    yield Slot(EXPORT, "run", "target", ("program",), "run {} {good}/photo.png", True)
    yield Slot(EXPORT, "run", "pictures", ("labels", "program"), "run {good}/tiny.onnx {} --json")
    yield Slot(
        EXPORT, "run", "weights", ("checkpoint",),
        f"run {NET} {{good}}/photo.png --size 32 --weights {{}} --json", True,
    )  # fmt: skip
    yield Slot(EXPORT, "run", "out", ("labels",), "run {good}/tiny.onnx {good}/photo.png -o {}")
    evaluate = "--data {good}/pictures -o {out}/e.jsonl --json"
    yield Slot(EXPORT, "evaluate", "targets", FILES, f"evaluate {{}} --no-model {evaluate}")
    yield Slot(EXPORT, "evaluate", "targets", ("program",), f"evaluate {{}} {evaluate}", True)
    yield Slot(
        EXPORT, "evaluate", "weights", ("checkpoint",),
        f"evaluate {NET} --size 32 --weights {{}} {evaluate}", True,
    )  # fmt: skip
    file = "evaluate {good}/classes.onnx --no-model"
    yield Slot(EXPORT, "evaluate", "labels", ("labels",), f"{file} --labels {{}} {evaluate}")
    yield Slot(EXPORT, "evaluate", "data", ("pictures",), f"{file} --data {{}} -o {{out}}/e.jsonl")
    yield Slot(
        EXPORT, "evaluate", "annotations", ("labels", "matrix"),
        f"{file} --annotations {{}} {evaluate}",
    )  # fmt: skip
    yield Slot(
        EXPORT, "evaluate", "out", ("store",), f"{file} --data {{good}}/pictures -o {{}} --force"
    )
    yield Slot(EXPORT, "placement", "files", FILES, "placement {} --json")
    yield Slot(EXPORT, "snippet", "file", FILES, "snippet {}")
    for system in ("android", "ios"):
        app = f"app {system}"
        yield Slot(EXPORT, app, "models", FILES, f"{app} {{}} -o {{out}}/app --json")
        yield Slot(EXPORT, app, "out", ("models",), f"{app} {{good}}/tiny.onnx -o {{}} --force")
    yield Slot(EXPORT, "list", "pattern", ("labels",), "list {}")
    yield Slot(EXPORT, "info", "model", ("program",), "info {}")
    formats = "--formats onnx --jobs 1 --time-limit 60"
    yield Slot(
        EXPORT, "matrix", "models", ("program",), f"matrix {{}} {formats} -o {{out}}/m.json", True
    )
    yield Slot(
        EXPORT, "matrix", "list_file", ("models",),
        "matrix --models {} --formats nothing -o {out}/m.json",
    )  # fmt: skip
    yield Slot(
        EXPORT, "matrix", "out", ("matrix",),
        f"matrix nets:no_such {formats} -o {{}}", True,
    )  # fmt: skip
    yield Slot(EXPORT, "sweep run", "spec", ("spec",), "sweep {} --store {out}/s.sqlite --json")
    yield Slot(
        EXPORT, "sweep run", "store", ("sweep",), "sweep run {good}/one.toml --store {}", True
    )
    yield Slot(EXPORT, "sweep status", "store", ("sweep",), "sweep status {}")
    yield Slot(EXPORT, "sweep status", "store", ("sweep",), "sweep status {} --json")
    yield Slot(
        EXPORT, "sweep diff", "before", ("sweep",), "sweep diff {} {good}/sweep.sqlite --json"
    )
    yield Slot(EXPORT, "sweep report", "store", ("sweep",), "sweep report {} -o {out}/x.html")
    yield Slot(
        EXPORT, "sweep report", "out", ("labels",),
        "sweep report {good}/sweep.sqlite -o {} --force",
    )  # fmt: skip
    yield Slot(EXPORT, "sweep diff", "after", ("sweep",), "sweep diff {good}/sweep.sqlite {}")
    yield Slot(BENCH, "run", "models", FILES, f"{_RUN} {{}} --store {{out}}/s.jsonl")
    yield Slot(BENCH, "run", "models", ("program",), f"{_RUN} {{}} --store {{out}}/s.jsonl --json")
    yield Slot(
        BENCH, "run", "binary", ("labels", "program"),
        f"{_RUN} {{good}}/tiny.tflite --runner benchmark-model --binary {{}} "
        "--store {out}/s.jsonl",
    )  # fmt: skip
    yield Slot(
        BENCH, "run", "weights", ("checkpoint",),
        f"{_RUN} {{good}}/tiny.pt2 --runner torch-eager --model {NET} --weights {{}} "
        "--store {out}/s.jsonl", True,
    )  # fmt: skip
    yield Slot(BENCH, "run", "store", ("store",), f"{_RUN} {{good}}/tiny.onnx --store {{}}", True)
    quick = "--wait 0 --option=--time-limit=0.2 --option=--starts=1"
    yield Slot(
        BENCH, "queue", "files", ("labels",), f"queue {{}} --store {{out}}/s.jsonl {quick}", True
    )
    yield Slot(
        BENCH, "queue", "store", ("store",), f"queue {{good}}/tiny.onnx --store {{}} {quick}", True
    )
    for shown in ("terminal", "markdown", "csv", "latex", "html"):
        yield Slot(
            BENCH, "table", "store", ("store",), f"table --store {{}} --as {shown} --all --history"
        )
    yield Slot(BENCH, "table", "store", ("store",), "table --store {} --all --history --json")
    yield Slot(BENCH, "table", "store", ("store",), "table --store {} --all --paper --as html")
    yield Slot(
        BENCH, "table", "plot", ("labels",), "table --store {good}/store.jsonl --plot {} --force"
    )
    yield Slot(
        BENCH, "table", "accuracy", ("labels", "store"),
        "table --store {good}/store.jsonl --accuracy {}",
    )  # fmt: skip
    yield Slot(BENCH, "table", "out", ("labels",), "table --store {good}/store.jsonl -o {}")
    yield Slot(
        BENCH, "compare", "baseline", ("store",), "compare {} {good}/store.jsonl --all --json"
    )
    yield Slot(BENCH, "compare", "candidate", ("store",), "compare {good}/store.jsonl {} --all")
    yield Slot(BENCH, "compare", "store", ("store",), "compare emo_2m emo_1m --store {} --all")
    yield Slot(BENCH, "pareto", "models", FILES, "pareto {} --store {good}/store.jsonl")
    yield Slot(BENCH, "pareto", "store", ("store",), "pareto {good}/tiny.onnx --store {} --json")
    for word in ("out", "plot"):
        yield Slot(
            BENCH, "pareto", word, ("labels",),
            f"pareto {{good}}/tiny.onnx --store {{good}}/store.jsonl --{word} {{}}",
        )  # fmt: skip
    yield Slot(BENCH, "import", "file", ("store",), "import {} --store {out}/s.jsonl --json")
    yield Slot(BENCH, "import", "store", ("store",), "import {good}/store.jsonl --store {}")
    yield Slot(BENCH, "build-runner", "sdist", ("labels", "program"), "build-runner --sdist {}")
    yield Slot(BENCH, "prepare-qemu", "folder", ("prepared",), "prepare-qemu --folder {}")
    soc = "--soc snapdragon-865"
    yield Slot(BENCH, "estimate", "models", FILES, f"estimate {{}} {soc} --folder {{good}}")
    yield Slot(
        BENCH,
        "estimate",
        "folder",
        ("prepared",),
        f"estimate {{good}}/tiny.onnx {soc} --folder {{}}",
    )


SLOTS = tuple(slot for slot in _slots())
NO_FILES = {
    (EXPORT, "doctor"),
    (BENCH, "devices"),
    (BENCH, "published"),
    (BENCH, "runners"),
    (BENCH, "rank"),
}
"""Commands that take no file."""


def typed_commands(app: typer.Typer) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command of an app as it is typed, those of its groups (``app android``) too."""
    for info in app.registered_commands:
        assert info.callback is not None
        yield info.name or info.callback.__name__.replace("_", "-"), info.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command, callback in typed_commands(group.typer_instance):
            yield f"{group.name} {command}", callback


def typed_paths(program: str, app: typer.Typer) -> Iterator[tuple[str, str, str]]:
    """Program, command and parameter of everything in an app that may name a file."""
    for command, callback in typed_commands(app):
        hints = get_type_hints(callback, include_extras=True)
        for name, parameter in inspect.signature(callback).parameters.items():
            hint: Any = hints.get(name, parameter.annotation)
            kind, said = get_args(hint)[:2] if get_origin(hint) is Annotated else (hint, None)
            if "Path" in str(kind) or isinstance(said, typer.models.ArgumentInfo):
                yield program, command, name

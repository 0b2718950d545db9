"""The command ``evaluate``: accuracy of files, and of their models, on labelled pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..sources.request import ModelRequest
from ..system.options import Range
from ..system.typed import number
from .messages import said_of_options
from .options import (
    FORCE,
    JSON,
    VERBOSE,
    parameter,
    parameters_of,
    read_options,
    typed,
    with_parameters,
)

if TYPE_CHECKING:
    from ..evaluation.judge import Figure
    from ..evaluation.run import Evaluation, Row

__all__ = ["evaluate"]

_MOST = 20
"""Pictures of a file that are listed."""

_TARGETS = parameter(
    "targets",
    Annotated[
        list[str],
        typer.Argument(
            help="Exported files; or models: a zoo name, timm/NAME, package.module:factory.",
            show_default=False,
        ),
    ],
)
_DATA = parameter(
    "data",
    Annotated[
        Path,
        typer.Option(
            "--data",
            help="Folder: CLASS/x.jpg; images and masks; low and high; or COCO's with its JSON.",
            show_default=False,
        ),
    ],
)
_MODEL = parameter(
    "model",
    Annotated[
        str | None,
        typer.Option(
            "--model",
            help="What the files were exported from; by default what their manifests name.",
            show_default=False,
        ),
    ],
    None,
)
_ALONE = parameter(
    "alone",
    Annotated[bool, typer.Option("--no-model", help="Only the files; no model is built.")],
    False,
)
_ANNOTATIONS = parameter(
    "annotations",
    Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            help="COCO's JSON, where the folder does not have exactly one.",
            show_default=False,
        ),
    ],
    None,
)
_REDUCE = parameter(
    "reduce_zero",
    Annotated[
        bool,
        typer.Option("--reduce-zero", help="Mask 0 is no class, and k is class k - 1 (ADE20K)."),
    ],
    False,
)
_LIMIT = parameter(
    "limit",
    Annotated[
        int | None,
        number(
            "--limit",
            within=Range(1, 2**22, whole=True),
            help="Pictures at most, spread evenly over all.",
            show_default=False,
        ),
    ],
    None,
)
_OUT = parameter(
    "out",
    Annotated[
        Path, typer.Option("-o", "--out", help="Answers so far: a run that was killed goes on.")
    ],
    Path("evaluation.jsonl"),
)
_SOURCE = parameters_of(ModelRequest, without=("model",))
_WHERE = [_DATA, _MODEL, _ALONE, _ANNOTATIONS, _REDUCE, _LIMIT, _OUT]


@with_parameters([_TARGETS, *_WHERE, *_SOURCE, FORCE, JSON, VERBOSE])
def evaluate(**values: Any) -> None:
    """Measure the accuracy of files on labelled pictures, beside their models.

    What was answered is kept in the file of -o: a run that was stopped goes on where it was;
    --force begins anew. Exit code 1 when a picture could not be judged.
    """
    from ..exporters.table import is_named_as_file
    from ..sources.table import require_name

    named = [each for each in values["targets"] if not is_named_as_file(Path(each))]
    for model in filter(None, (*named, values["model"])):
        require_name(model)
    from ..evaluation.run import Data, evaluate, find_judge, gather, kind_of_all, spread
    from ..evaluation.store import Store
    from ..system.quiet import quiet, unwarned
    from ..system.terminal import progress_bar, progress_line
    from ..system.threads import one_thread

    as_json, verbose = values["as_json"], values["verbose"]
    out: Path = values["out"]
    _require_jsonl(out)
    shown = not as_json and not verbose
    given = read_options(ModelRequest, {**values, "model": None})
    data = Data(values["data"], values["annotations"], values["reduce_zero"], given.get("labels"))
    with (
        progress_line(enabled=shown, lines=verbose) as progress,
        quiet(not verbose),
        unwarned(not verbose),
    ):
        runners, notes = gather(*_asked(values, given), progress)
        progress(f"looking into {data.folder}")
        judge = find_judge(kind_of_all(runners), data)
        notes = [*(judge.admit(runner.machine) for runner in runners), *notes]
    items = spread(judge.items, values["limit"])
    with (
        Store(out, judge.kind, judge.settings, anew=values["force"]) as store,
        progress_bar(enabled=shown) as (begin, finished),
        quiet(not verbose),
        unwarned(not verbose),
        one_thread(),
    ):
        found = evaluate(
            runners, judge, store, items, data, notes=notes, begin=begin, finished=finished
        )
    if as_json:
        typer.echo(json.dumps(said_of_options(found.to_dict()), indent=2))
    else:
        _print(found, out)
    raise typer.Exit(1 if found.left_out else 0)


def _require_jsonl(out: Path) -> None:
    from ..errors import UsageError

    if out.suffix != ".jsonl":
        raise UsageError(f"{out} is not a .jsonl file.", hint="Write -o FILE.jsonl.")


def _asked(values: dict[str, Any], given: dict[str, Any]) -> tuple[Any, Any]:
    """The files, each with its model; and the models that were named without a file."""
    from ..artifacts.manifest import read_manifest
    from ..errors import UsageError
    from ..exporters.table import is_named_as_file
    from ..sources.again import request_again

    own = typed(ModelRequest, given)
    files: list[tuple[Path, ModelRequest | None]] = []
    models: list[ModelRequest] = []
    named = values["model"]
    if named is not None and values["alone"]:
        raise UsageError("--model and --no-model exclude each other.", hint="Give one.")
    for target in dict.fromkeys(values["targets"]):
        path = Path(target)
        if not is_named_as_file(path):
            models.append(ModelRequest(target, **given))
        elif values["alone"]:
            files.append((path, None))
        elif named is not None:
            files.append((path, ModelRequest(named, **_as_in_manifest(path, given))))
        else:
            again = request_again(
                read_manifest(path), path, own, "evaluate {file} --data FOLDER --model {model}"
            )
            files.append((path, again))
    return files, models


def _as_in_manifest(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The options of a model that was named: the file's size where none was typed."""
    from ..artifacts.manifest import read_manifest

    if "size" in given:
        return given
    height, width = read_manifest(path).input.shape[-2:]
    return {**given, "size": (height, width)}


def _print(found: Evaluation, out: Path) -> None:
    from ..system.tables import plain_table
    from ..system.terminal import escape, stderr_console, stdout_console

    console, err = stdout_console(), stderr_console()
    names = [each.name for each in found.rows[0].figures]
    figures = [f"{each.name} {each.unit}" for each in found.rows[0].figures]
    table = plain_table("file or model", "runs in", *figures, "differs", right=tuple(figures))
    for row in found.rows:
        cells = {each.name: _said(each) for each in row.figures}
        apart = "" if row.differences is None else f"{len(row.differences)} of {found.pictures}"
        table.add_row(
            escape(row.name), escape(row.runtime), *(cells[name] for name in names), apart
        )
    console.print(table)
    console.print(f"{found.pictures} pictures of {escape(found.data)}; in brackets 95 % intervals.")
    for row in found.rows:
        _print_differences(row)
    console.print(f"The answers are in {escape(str(out))}.", soft_wrap=True)
    for note in found.notes:
        err.print(f"[yellow]note:[/] {escape(said_of_options(note))}")
    for name, why in found.left_out[:_MOST]:
        err.print(f"[yellow]left out:[/] {escape(name)}: {escape(said_of_options(why))}")
    if found.left_out:
        err.print(f"{len(found.left_out)} pictures are in no figure.")


def _said(each: Figure) -> str:
    if each.value is None:
        return "none"
    if each.low is None or each.high is None:
        return f"{each.value:.2f}"
    return f"{each.value:.2f} ({each.low:.2f} to {each.high:.2f})"


def _print_differences(row: Row) -> None:
    from ..system.terminal import escape, stdout_console

    found: Sequence[Any] = row.differences or ()
    if not found:
        return
    console = stdout_console()
    console.print(f"{escape(row.name)} differs from its model on {len(found)} pictures:")
    for each in found[:_MOST]:
        console.print(f"  {escape(each.item)}: {escape(each.said)}", soft_wrap=True)
    if len(found) > _MOST:
        console.print(f"  and {len(found) - _MOST} more (--json has all)")

"""The command ``run``: the answer of a file, or of a model, on pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..sources.request import ModelRequest
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
    from ..answers.decode import Answer
    from ..answers.machine import Machine
    from ..answers.prepare import Prepared

__all__ = ["run"]

_TARGET = parameter(
    "target",
    Annotated[
        str,
        typer.Argument(
            help="An exported file; or a model: a zoo name, timm/NAME, package.module:factory.",
            show_default=False,
        ),
    ],
)
_PICTURES = parameter(
    "pictures",
    Annotated[list[Path], typer.Argument(help="PNG or JPEG files.", show_default=False)],
)
_OUT = parameter(
    "out",
    Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Draw the answer: a .png file, or a folder for several pictures.",
            show_default=False,
        ),
    ],
    None,
)
_COMPARE = parameter(
    "compare",
    Annotated[
        bool, typer.Option("--compare", help="Show the model of the file's manifest beside it.")
    ],
    False,
)
_SOURCE = parameters_of(ModelRequest, without=("model", "labels"))


@with_parameters([_TARGET, _PICTURES, _OUT, _COMPARE, *_SOURCE, FORCE, JSON, VERBOSE])
def run(**values: Any) -> None:
    """Show the answer on pictures, as an app would give it: classes, objects, a mask, an image."""
    from ..exporters.table import is_named_as_file
    from ..sources.table import require_name

    if not is_named_as_file(Path(values["target"])):
        require_name(values["target"])
    from ..system.quiet import quiet, unwarned
    from ..system.terminal import progress_line
    from ..system.threads import one_thread

    as_json, verbose = values["as_json"], values["verbose"]
    pictures: list[Path] = values["pictures"]
    places = _places(values["out"], pictures, force=values["force"])
    shown = not as_json and not verbose
    answers: list[tuple[Machine, list[tuple[Answer, Prepared]]]] = []
    with (
        progress_line(enabled=shown, lines=verbose) as progress,
        quiet(not verbose),
        unwarned(not verbose),
    ):
        for machine in _machines(values, progress):
            progress(f"{machine.runtime}: answering")
            with one_thread():
                answers.append((machine, _answers(machine, pictures, drawn_on=bool(places))))
    drawn = _drawn(answers, places)
    if as_json:
        typer.echo(json.dumps([_facts(*each, pictures) for each in answers], indent=2))
    else:
        from .answers import print_answers, print_notes

        for index, picture in enumerate(pictures):
            print_answers(picture, [(each, found[index]) for each, found in answers])
        print_notes([machine for machine, _ in answers])
    _write(drawn, said=not as_json)


def _answers(
    machine: Machine, pictures: Sequence[Path], *, drawn_on: bool
) -> list[tuple[Answer, Prepared]]:
    """The answers on pictures, which stay in memory only if they are drawn on."""
    from ..answers.machine import read_picture

    found = []
    for start in range(0, len(pictures), machine.batch):
        read = [(read_picture(each), each.name) for each in pictures[start : start + machine.batch]]
        for answer, prepared in machine.answer_images(read):
            found.append((answer, prepared if drawn_on else replace(prepared, picture=None)))
    return found


def _machines(values: dict[str, Any], progress: Any) -> list[Machine]:
    """The file or the model; with ``--compare`` also the model of the file."""
    from ..answers.machine import load_file, load_model
    from ..artifacts.manifest import read_manifest
    from ..errors import UsageError
    from ..exporters.table import is_named_as_file
    from ..sources.again import request_again
    from ..system.options import options_of

    target, given = values["target"], read_options(ModelRequest, values)
    path = Path(target)
    if not is_named_as_file(path):
        if values["compare"]:
            raise UsageError(
                f"`--compare` puts a model beside a file; {target!r} is a model.",
                hint="Give an exported file.",
            )
        progress(f"building {target}")
        return [load_model(ModelRequest(target, **given))]
    own = typed(ModelRequest, given)
    if own and not values["compare"]:
        flags = options_of(ModelRequest)
        named = ", ".join(sorted(f"`{flags[each].flag}`" for each in own))
        raise UsageError(
            f"{path} is a file, which runs as it is; {named} would build a model.",
            hint="Leave them out (of several sizes a file takes the one nearest to the picture's), "
            "or add --compare, which builds the file's model beside it.",
        )
    progress(f"reading {path.name}")
    found = [load_file(path)]
    if values["compare"]:
        manifest = read_manifest(path)
        request = request_again(manifest, path, own)
        progress(f"building {request.spec}")
        found.append(load_model(request, manifest))
    return found


def _places(out: Path | None, pictures: Sequence[Path], *, force: bool) -> list[Path]:
    """Where each drawing goes; none without ``out``. Checked before the work.

    Raises:
        UsageError: it cannot be written there.
    """
    from ..errors import UsageError
    from ..system.files import require_free_file

    if out is None:
        return []
    if out.suffix.lower() == ".png":
        if len(pictures) > 1:
            raise UsageError(
                f"{out} is one file for {len(pictures)} pictures.", hint="Give -o FOLDER."
            )
        places = [out]
    elif out.is_dir() or not (out.suffix or os.path.lexists(out)):  # `_write` makes the folder
        places = [out / f"{picture.stem}.answer.png" for picture in pictures]
    else:
        raise UsageError(
            f"{out} is neither a .png file nor a folder.", hint="Give -o x.png, or -o FOLDER."
        )
    if len(set(places)) < len(places):
        raise UsageError("Two of the pictures have one name.", hint="Draw them one by one.")
    for place in places if out.exists() else [out]:
        require_free_file(place, force=force, error=UsageError)
    return places


def _drawn(
    answers: Sequence[tuple[Machine, Sequence[tuple[Answer, Prepared]]]], places: Sequence[Path]
) -> list[tuple[Path, bytes]]:
    """The drawing of each picture: the answers of all machines beside each other."""
    if not places:
        return []
    from ..answers.draw import beside, draw, png

    found = []
    for index, place in enumerate(places):
        drawings = [(machine.runtime, draw(*own[index])) for machine, own in answers]
        found.append((place, png(beside(drawings))))
    return found


def _write(drawn: Sequence[tuple[Path, bytes]], *, said: bool) -> None:
    from ..errors import UsageError
    from ..system.files import write_whole
    from ..system.terminal import escape, stdout_console

    for place, content in drawn:
        try:
            place.parent.mkdir(exist_ok=True)
        except OSError as error:
            said_why = f"Cannot make {place.parent}: {error.strerror}."
            raise UsageError(said_why, hint="Draw into another folder.") from error
        write_whole(place, content, error=UsageError)
        if said:
            stdout_console().print(f"{escape(str(place))} written")


def _facts(
    machine: Machine, answers: Sequence[tuple[Answer, Prepared]], pictures: Sequence[Path]
) -> dict[str, Any]:
    return {
        "model": machine.name,
        "runtime": machine.runtime,
        "notes": list(machine.notes),
        "answers": [
            {"picture": str(picture), "prepared": prepared.rule, **answer.to_dict()}
            for picture, (answer, prepared) in zip(pictures, answers, strict=True)
        ],
    }

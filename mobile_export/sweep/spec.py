"""SPEC.toml: what a sweep runs, read into typed records; every mistake is named with its line."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from ..artifacts.fields import Name, explain
from ..errors import UsageError
from ..sources.names import near_matches
from ..system.files import MIB, read_regular_file
from .lines import line_of

__all__ = [
    "STEPS",
    "Bench",
    "Evaluate",
    "FormatChoice",
    "Models",
    "Spec",
    "SpecFile",
    "Step",
    "Verify",
    "read_spec",
]

Step = Literal["export", "verify", "evaluate", "placement", "bench"]
STEPS: tuple[Step, ...] = get_args(Step)
"""What may be done with a model in a format, in this order."""

_MOST_BYTES = MIB
_Names = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=10_000)]
_Few = Annotated[tuple[Name, ...], Meta(max_length=100)]
_Whole = Annotated[int, Meta(ge=0, le=2**31)]
_Seconds = Annotated[float, Meta(ge=1, le=30 * 24 * 3600)]
_Numbers = Annotated[tuple[float, ...], Meta(min_length=1, max_length=4096)]
Scalar = str | int | float | bool


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; a key that it does not know is refused."""


class Models(_Table, frozen=True):
    """``[[models]]``: names with the options that they share; each field is the option's name.

    Attributes:
        names: a name of the zoo, ``timm/NAME``, ``torchvision/NAME``, ``hf/ORG/NAME``, a file
            ``x.pt2``, or ``module:factory``; ``*`` and ``[...]`` choose among the zoo, timm,
            torchvision and files.
        sizes: each a cell of its own; the model's own size by default.
    """

    names: _Names
    sizes: Annotated[tuple[int | str, ...], Meta(max_length=100)] = ()
    weights: Name | None = None
    allow_missing: bool = False
    pretrained: bool = False
    num_classes: _Whole | None = None
    channels: _Whole | None = None
    batch: _Whole | None = None
    mean: _Numbers | None = None
    std: _Numbers | None = None
    labels: Name | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    outputs: _Few | None = None


class FormatChoice(_Table, frozen=True):
    """A format with precisions and options of its own, instead of ``"onnx:fp16"``.

    Attributes:
        options: of the format, by the names of `--help` with ``_`` for ``-``.
    """

    name: Name
    precisions: _Few = ()
    options: dict[str, Scalar | list[Scalar]] = {}


class Verify(_Table, frozen=True):
    """``[verify]``: the file is executed again in a process of its own.

    Attributes:
        runtime: another judge, such as ``openvino`` for ONNX; by default the format's own.
    """

    runtime: Name | None = None


class Evaluate(_Table, frozen=True):
    """``[evaluate]``: accuracy on labelled pictures.

    Attributes:
        data: folder, as for ``mobile-export evaluate``.
        limit: pictures at most.
    """

    data: Name
    limit: Annotated[int, Meta(ge=1, le=2**22)] | None = None
    reduce_zero: bool = False


class Bench(_Table, frozen=True):
    """``[bench]``: how ``mobile-bench run`` measures each file on each device.

    Attributes:
        devices: ``local`` or ``adb:SERIAL``, ``ssh://…``; each a cell of its own.
        interval: half-width of the 95 % interval that is narrow enough.
        seconds: of runs per file, at most.
    """

    devices: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1000)] = ("local",)
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    runner: Name | None = None
    backend: Name | None = None
    interval: Annotated[float, Meta(gt=0, lt=1)] = 0.02
    seconds: Annotated[float, Meta(gt=0, le=30 * 24 * 3600)] = 20.0
    starts: Annotated[int, Meta(ge=1, le=10_000)] = 6


class Spec(_Table, frozen=True):
    """The whole file.

    Attributes:
        formats: of every model; every installed format by default.
        precisions: of each format that names none itself; its default precision by default.
        steps: of `STEPS`; ``export`` is always done.
        no_passes: names of graph passes that are left out.
        time_limit: seconds of one cell.
        memory_limit: GiB that each process of a cell may write to (Linux).
    """

    models: Annotated[tuple[Models, ...], Meta(min_length=1, max_length=1000)]
    name: Name = ""
    formats: Annotated[tuple[Name | FormatChoice, ...], Meta(max_length=100)] = ()
    precisions: _Few = ()
    steps: Annotated[tuple[Step, ...], Meta(max_length=10)] = ("export",)
    no_passes: _Few = ()
    time_limit: _Seconds = 900.0
    memory_limit: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    verify: Verify = Verify()
    evaluate: Evaluate | None = None
    bench: Bench = Bench()


class SpecFile:
    """A specification, and where its fields stand.

    Attributes:
        folder: of the file, from which the files that it names are looked up.
    """

    def __init__(self, path: Path, text: str, spec: Spec) -> None:
        self.path, self._text, self.spec = path, text, spec
        self.folder = path.parent

    def error(self, where: Sequence[str | int], said: str, hint: str) -> UsageError:
        """A mistake at a field, such as ``("models", 0, "names")``."""
        return _error(self.path, self._text, where, said, hint)


def read_spec(path: Path) -> SpecFile:
    """Read a specification; it is data, and nothing of it is run here.

    Raises:
        UsageError: the file cannot be read, is no TOML, or a field is not known or not valid.
    """
    data = read_regular_file(path, limit=_MOST_BYTES, error=UsageError)
    hint = "docs/sweep.md shows a whole file."
    try:
        text = data.decode()
        found = tomllib.loads(text, parse_float=_finite)
    except UnicodeDecodeError as problem:
        raise UsageError(f"{path} is not text in UTF-8: {problem.reason}.", hint=hint) from None
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(f"{path} is not TOML: {problem}.", hint=hint) from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply.", hint=hint) from None
    try:
        spec = msgspec.convert(found, Spec)
    except msgspec.ValidationError as problem:
        raise _refused(path, text, problem) from None
    file = SpecFile(path, text, spec)
    if "evaluate" in spec.steps and spec.evaluate is None:
        raise file.error(
            ("steps",),
            "steps has evaluate, and there is no table [evaluate].",
            'Add it: [evaluate] with data = "FOLDER".',
        )
    for name in ("evaluate", "bench", "verify"):
        if name in found and name not in spec.steps:
            raise file.error(
                (name,),
                f"there is a table [{name}], and steps has no {name}.",
                f'Add it to steps, such as steps = ["export", "{name}"], or take the table away.',
            )
    return file


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UsageError(
            f"The specification has the number {text}.", hint="Only finite numbers are taken."
        )
    return value


def _refused(path: Path, text: str, problem: msgspec.ValidationError) -> UsageError:
    """The error for what msgspec refused: with the line, and the names that are spelt alike."""
    what, _, place = str(problem).partition(" - at ")
    where = _parts(place.strip("`"))
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL)
    if unknown:
        known = _fields_at(where)
        return _error(
            path, text, (*where, unknown[1]),
            f"{_shown((*where, unknown[1]))} is not known.", _meant(unknown[1], known),
        )  # fmt: skip
    choice = re.fullmatch(r"Invalid enum value '(.*)'", what, re.DOTALL)
    if choice:
        said = f"{_shown(where)} is {choice[1][:100]!r}, which is no step."
        return _error(path, text, where, said, _meant(choice[1], STEPS))
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing:
        said = f"{_shown(where) or 'the file'} lacks the field {missing[1]}."
        return _error(path, text, where, said, "docs/sweep.md has all fields.")
    said = explain(problem).removeprefix("is not valid at ")
    return _error(path, text, where, f"{said}.", "docs/sweep.md has all fields.")


def _meant(name: str, known: Sequence[str]) -> str:
    near = near_matches(name, known)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{guess}Valid are {', '.join(known)}."


def _parts(place: str) -> tuple[str | int, ...]:
    """``$.models[0].names[...]`` as keys and indices; an index that is not said ends it."""
    found: list[str | int] = []
    for key, index in re.findall(r"\.([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]", place):
        if index == "...":
            break
        found.append(key or int(index))
    return tuple(found)


def _shown(where: Sequence[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return text.removeprefix(".")[:200]


def _fields_at(where: Sequence[str | int]) -> tuple[str, ...]:
    """Names that the table at a place knows."""
    tables: dict[Any, type[_Table]] = {
        "models": Models,
        "formats": FormatChoice,
        "verify": Verify,
        "evaluate": Evaluate,
        "bench": Bench,
    }
    owner = tables[where[0]] if where else Spec
    return owner.__struct_fields__


def _error(path: Path, text: str, where: Sequence[str | int], said: str, hint: str) -> UsageError:
    line = line_of(text, where)
    place = f"{path}, line {line}" if line else str(path)
    return UsageError(f"{place}: {said}", hint=hint)

"""From a specification to the jobs of a sweep: every model, size, format, precision and device."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, UsageError
from ..exporters.row import Format
from ..exporters.table import available_formats, get_format
from ..placement.table import ACCELERATORS
from ..quantization.options import QuantizationOptions
from ..sources.names import near_matches
from ..sources.request import ModelRequest, parse_size
from ..system.files import GIB
from ..system.options import options_of
from ..system.versions import CORE, version_of
from .code import code_digest
from .job import FileRef, Job, cell_hash
from .models import expand, file_of, files_of_model, source_libraries
from .spec import STEPS, FormatChoice, Models, SpecFile, Step, read_spec

__all__ = ["Plan", "make_plan"]

MOST_CELLS = 1_000_000
_LISTED = ("mean", "std", "outputs")
_PLAIN = ("allow_missing", "pretrained", "num_classes", "channels", "batch", "seed")


@dataclass(frozen=True)
class Plan:
    """The jobs of a sweep, in the order in which they are shown.

    Attributes:
        exports: those that end with a file and what is said of it.
        measurements: those that end with a bench, each of which wants its worker for itself.
    """

    name: str
    exports: tuple[Job, ...]
    measurements: tuple[Job, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All of them."""
        return (*self.exports, *self.measurements)


@dataclass(frozen=True)
class _Model:
    """A model of the specification with its options."""

    name: str
    size: str | None
    words: tuple[str, ...]
    labels: tuple[str, ...]
    files: dict[str, FileRef]


@dataclass(frozen=True)
class _Column:
    """A format with its precision and its options as typed."""

    row: Format
    precision: str | None
    words: tuple[str, ...]


def make_plan(path: Path) -> Plan:
    """Read a specification and find its models, files and formats.

    Raises:
        UsageError: a field is not valid, or a name finds nothing.
        MissingExtraError: the libraries of a format are not installed.
    """
    file = read_spec(path)
    columns = _columns(file)
    models = list(_models(file))
    devices = file.spec.bench.devices if "bench" in file.spec.steps else ()
    count = len(models) * len(columns) * (1 + len(devices))
    if count > MOST_CELLS:
        raise UsageError(
            f"{path} asks for {count:,} cells; at most {MOST_CELLS:,} are run in one sweep.",
            hint="Make several specifications of it.",
        )
    shared = _Shared(file)
    pairs = list(itertools.product(models, columns))
    exports = [shared.job(model, column) for model, column in pairs]
    measured = [shared.job(model, column, device) for model, column in pairs for device in devices]
    return Plan(file.spec.name or path.stem, _once(exports), _once(measured))


def _once(jobs: Sequence[Job]) -> tuple[Job, ...]:
    return tuple({job.cell: job for job in jobs}.values())


class _Shared:
    """What all jobs of a specification share."""

    def __init__(self, file: SpecFile) -> None:
        spec = file.spec
        self._spec = spec
        self._steps = tuple(step for step in STEPS if step in {*spec.steps, "export"})
        self._folder = str(Path.cwd())
        self._versions: dict[tuple[str, ...], dict[str, str]] = {}
        self._verify = ("--runtime", spec.verify.runtime) if spec.verify.runtime else ()
        self._evaluate: tuple[str, ...] = ()
        self._data: dict[str, FileRef] = {}
        if spec.evaluate is not None:
            given = spec.evaluate
            self._data = {"data": file_of(file, ("evaluate", "data"), given.data)}
            limit = ("--limit", str(given.limit)) if given.limit else ()
            self._evaluate = (
                "--data", "{data}", *limit, *(("--reduce-zero",) if given.reduce_zero else ()),
            )  # fmt: skip

    def job(self, model: _Model, column: _Column, device: str | None = None) -> Job:
        """A cell; with a device, its file is measured there instead of verified."""
        spec = self._spec
        steps = ("export", "bench") if device else self._steps_of(column.row)
        precision = ("--precision", column.precision) if column.precision else ()
        words: dict[str, tuple[str, ...]] = {"export": (*column.words, *precision, *model.labels)}
        files = dict(model.files)
        if "verify" in steps:
            words["verify"] = (*precision, *self._verify)
        if "evaluate" in steps:
            words["evaluate"] = (*self._evaluate, *model.labels)
            files |= self._data
        if device:
            words["bench"] = _bench_words(spec.bench, device)
        facts: dict[str, Any] = {
            "model": model.name, "words": words, "model_words": model.words, "steps": steps,
            "format": column.row.name, "files": {slot: ref.name for slot, ref in files.items()},
        }  # fmt: skip
        versions = self._versions_of(column.row, model.name)
        hashes = {slot: ref.sha256 for slot, ref in files.items()}
        return Job(
            cell=cell_hash({**facts, "hashes": hashes, "versions": versions}),
            kind=cell_hash(facts),
            model=model.name,
            format=column.row.name,
            precision=column.precision,
            size=model.size,
            device=device,
            steps=steps,
            model_words=model.words,
            words=words,
            files=files,
            folder=self._folder,
            time_limit=spec.time_limit,
            memory_limit=None if spec.memory_limit is None else int(spec.memory_limit * GIB),
            versions=versions,
            needs=_needs(device),
        )

    def _steps_of(self, row: Format) -> tuple[Step, ...]:
        """Those that end with no measurement; `placement` where something here can say it."""
        asked = any(each.format == row.name for each in ACCELERATORS)
        left_out = {"bench"} if asked else {"bench", "placement"}
        return tuple(step for step in self._steps if step not in left_out)

    def _versions_of(self, row: Format, model: str) -> dict[str, str]:
        names = [library.distribution for library in (*CORE, *row.libraries)]
        key = (*names, *source_libraries(model))
        if key not in self._versions:
            found = {name: version_of(name) or "not installed" for name in key}
            python = {"python": platform.python_version()}
            self._versions[key] = {**found, **code_digest(), **python}
        return self._versions[key]


def _needs(device: str | None) -> dict[str, float]:
    """Resources of the worker on which a device is measured: a phone by its address, or this
    machine's processor as a whole."""
    if device is None:
        return {}
    return {"measure": 1.0} if device == "local" else {f"phone:{device.partition(':')[2]}": 1.0}


def _bench_words(bench: Any, device: str) -> tuple[str, ...]:
    words = ["--device", device, "--threads", str(bench.threads), "--starts", str(bench.starts)]
    words += ["--interval", str(bench.interval), "--time-limit", str(bench.seconds)]
    words += ["--runner", bench.runner] if bench.runner else []
    return (*words, *(("--backend", bench.backend) if bench.backend else ()))


def _models(file: SpecFile) -> Iterator[_Model]:
    for place, group in enumerate(file.spec.models):
        where = ("models", place)
        words, labels, files = _group(file, where, group)
        for name in expand(file, (*where, "names"), group.names):
            own = {**files, **files_of_model(file, (*where, "names"), name)}
            sizes: list[str | None] = [_size(file, where, size) for size in group.sizes]
            for size in sizes or [None]:
                sized = ("--size", size) if size else ()
                yield _Model(name, size, (*words, *sized), labels, own)


def _size(file: SpecFile, where: Sequence[str | int], size: int | str) -> str:
    try:
        parse_size(str(size))
    except UsageError as problem:
        said = f"sizes has {size!r}, which is no size."
        raise file.error((*where, "sizes"), said, problem.hint or "") from None
    return str(size)


def _group(
    file: SpecFile, where: Sequence[str | int], group: Models
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, FileRef]]:
    """The options of a group as typed, those of its labels, and its files."""
    flags = options_of(ModelRequest)
    words: list[str] = []
    files: dict[str, FileRef] = {}
    for name in _PLAIN:
        words += _typed(flags[name].flag, getattr(group, name))
    for name in _LISTED:
        value = getattr(group, name)
        if value is not None:
            words += [flags[name].flag, ",".join(map(str, value))]
    for name in ("weights", "labels"):
        value = getattr(group, name)
        if value is not None:
            files[name] = file_of(file, (*where, name), value)
    words += ["--weights", "{weights}"] if group.weights is not None else []
    labels = ("--labels", "{labels}") if group.labels is not None else ()
    return tuple(words), labels, files


def _typed(flag: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    return [flag] if value is True else [f"{flag}={value}"]


def _columns(file: SpecFile) -> list[_Column]:
    spec = file.spec
    chosen = spec.formats or tuple(row.name for row in available_formats())
    if not chosen:
        raise UsageError("No format is installed.", hint="Run: mobile-export doctor")
    found: list[_Column] = []
    for place, entry in enumerate(chosen):
        found += _of_format(file, ("formats", place), entry)
    return list({(c.row.name, c.precision, c.words): c for c in found}.values())


def _of_format(
    file: SpecFile, where: tuple[str | int, ...], entry: str | FormatChoice
) -> list[_Column]:
    choice = entry if isinstance(entry, FormatChoice) else _split(entry)
    passes = [word for name in file.spec.no_passes for word in ("--no-pass", name)]
    try:
        row = get_format(choice.name)
        row.require()
        precisions = choice.precisions or file.spec.precisions
        for precision in precisions:
            row.precision(precision)
    except MissingExtraError:
        raise
    except UsageError as problem:
        raise file.error(where, problem.message, problem.hint or "") from None
    words = (*passes, *_options(file, where, row, choice.options))
    return [_Column(row, precision, words) for precision in precisions or (None,)]


def _split(text: str) -> FormatChoice:
    name, _, precision = text.partition(":")
    return FormatChoice(name, (precision,) if precision else ())


def _options(
    file: SpecFile, where: tuple[str | int, ...], row: Format, given: dict[str, Any]
) -> list[str]:
    """Options of a format as typed.

    Raises:
        UsageError: it has none of that name.
    """
    known = {**options_of(row.options), **options_of(QuantizationOptions)}
    words: list[str] = []
    for name, value in given.items():
        if name not in known:
            near = near_matches(name, list(known))
            guess = f"Did you mean {' or '.join(near)}? " if near else ""
            raise file.error(
                (*where, "options", name),
                f"{row.title} has no option {name!r}.",
                f"{guess}Valid are {', '.join(known)}.",
            )
        for each in value if isinstance(value, list) else [value]:
            words += _typed(known[name].flag, each)
    return words

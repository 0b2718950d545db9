"""Every machine on every picture: the figures of files beside those of their models."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..answers.machine import Machine, load_file, machine_of
from ..errors import UsageError
from .judge import Difference, Figure, Item, Judge, Kind, kind_of
from .store import Store

if TYPE_CHECKING:
    from ..answers.decode import Answer
    from ..graph.source import Source
    from ..sources.request import ModelRequest

__all__ = [
    "Data",
    "Evaluation",
    "Row",
    "Runner",
    "evaluate",
    "find_judge",
    "gather",
    "kind_of_all",
    "spread",
]

_METHOD = 1
"""Changes when what is recorded of an answer does."""


@dataclass(frozen=True)
class Data:
    """Where the labelled pictures are.

    Attributes:
        folder: of the data set.
        annotations: COCO's JSON; None looks for it in the folder.
        reduce_zero: of masks: 0 is no class, and k is class k - 1.
        labels: names of the classes, in the model's order.

    Raises:
        UsageError: there is no such folder.
    """

    folder: Path
    annotations: Path | None = None
    reduce_zero: bool = False
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UsageError(
                f"There is no folder {self.folder}.", hint="Give one with `data='FOLDER'`."
            )


@dataclass(frozen=True)
class Runner:
    """A machine that is evaluated.

    Attributes:
        key: what its answers are kept under.
        model: the key of the model that a file is compared with; None of a model, or without one.
        is_model: of PyTorch.
    """

    machine: Machine
    key: str
    model: str | None = None
    is_model: bool = False


@dataclass(frozen=True)
class Row:
    """What came of one file or model.

    Attributes:
        is_model: of PyTorch.
        figures: with their intervals.
        differences: pictures on which a file differs from its model, the most different first; None
            of a model, and of a file without one.
    """

    name: str
    runtime: str
    is_model: bool
    figures: tuple[Figure, ...]
    differences: tuple[Difference, ...] | None


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        pictures: that every figure is of.
        left_out: pictures that could not be read or judged, and why: they are in no figure.
        notes: how classes were mapped, and what else a reader should know.
    """

    kind: Kind
    data: str
    pictures: int
    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        facts = asdict(self)
        facts["left_out"] = [{"picture": name, "reason": why} for name, why in self.left_out]
        return facts


def find_judge(kind: Kind, data: Data) -> Judge:
    """The data set in a folder, of the kind that the machines need.

    Raises:
        UsageError: there is none of it.
    """
    if kind == "classes":
        from .classes import find_classes

        return find_classes(data.folder, data.labels)
    if kind == "boxes":
        from .boxes import find_boxes

        return find_boxes(data.folder, data.annotations, data.labels)
    if kind == "masks":
        from .masks import find_masks

        return find_masks(data.folder, reduce_zero=data.reduce_zero)
    from .pairs import find_pairs

    return find_pairs(data.folder)


def gather(
    files: Sequence[tuple[Path, ModelRequest | None]],
    models: Sequence[ModelRequest],
    progress: Callable[[str], None] = lambda stage: None,
) -> tuple[list[Runner], list[str]]:
    """The machines, each model before its files; and what is not as the manifests say.

    Args:
        files: each with the model that it is compared with, or None.
        models: further ones.
    """
    from ..artifacts.manifest import read_manifest
    from ..sources.again import unlike_manifest
    from ..sources.table import load_source

    runners: list[Runner] = []
    notes: list[str] = []
    wanted: dict[Any, list[Path]] = {_same(request): [] for request in models}
    requests = {_same(request): request for request in models}
    for file, request in files:
        wanted.setdefault(_same(request), []).append(file)
        if request is not None:
            requests[_same(request)] = request
    for key, group in wanted.items():
        model = source = None
        if key is not None:
            request = requests[key]
            progress(f"building {request.spec}")
            request.require_one_size()
            source = load_source(request)
            machine = machine_of(source)
            model = _key("model", machine, _state_hash(source))
            runners.append(Runner(machine, model, is_model=True))
        for file in group:
            progress(f"reading {file.name}")
            machine = load_file(file)
            manifest = read_manifest(file)
            if source is not None:
                said = unlike_manifest(manifest, requests[key], source)
                notes += [f"{file}: {each}." for each in said]
            runners.append(Runner(machine, _key("file", machine, manifest.sha256), model))
    return runners, notes


def _same(request: ModelRequest | None) -> Any:
    """What two requests for one model have in common."""
    return None if request is None else repr(request)


def _key(kind: str, machine: Machine, content: str) -> str:
    """A name for a machine that changes with everything that its answers depend on."""
    facts = (_METHOD, kind, content, machine.runtime, machine.input, machine.outputs, machine.rule)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]


def _state_hash(source: Source) -> str:
    """SHA-256 of a model's name and of its weights."""
    digest = hashlib.sha256(source.spec.encode())
    for name, tensor in source.module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).numpy().tobytes())
    return digest.hexdigest()


def spread(items: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
    """``limit`` items, evenly over all: of every class about the same share."""
    if limit is None or limit >= len(items):
        return tuple(items)
    return tuple(items[k * len(items) // limit] for k in range(limit))


@dataclass
class _Run:
    """What is collected while pictures are answered on."""

    judge: Judge
    store: Store
    runners: Sequence[Runner]
    left_out: dict[str, str] = field(default_factory=dict)

    def kept(self, runner: Runner, item: Item) -> Any:
        """The record of a machine, None where there is none that can be used."""
        record = self.store.find(self.place(runner), item)
        return record if record is not None and self.judge.valid(record) else None

    def place(self, runner: Runner) -> str:
        """Where a machine's records are: with the model's name where they depend on it."""
        beside = self.judge.beside_model and runner.model
        return f"{runner.key}/{runner.model}" if beside else runner.key

    def answer(self, item: Item, finished: Callable[[str], None]) -> None:
        """Let every machine answer that has not."""
        answers: dict[str, Answer] = {}
        models = {each.key: each for each in self.runners if each.is_model}
        for runner in self.runners:
            if self.kept(runner, item) is not None:
                continue
            try:
                model = models[runner.model] if runner.model is not None else None
                if model is not None and self.judge.beside_model and model.key not in answers:
                    answers[model.key] = self.judge.answer(model.machine, item)[0]
                own = self.judge.answer(runner.machine, item)
                answers[runner.key] = own[0]
                record = self.judge.record(item, own, answers.get(runner.model or ""))
            except UsageError as error:
                self.left_out[item.name] = error.message
                finished(f"{item.name}: left out")
                return
            self.store.add(self.place(runner), item, record)
            finished(runner.machine.name)

    def row(self, runner: Runner, items: Sequence[Item]) -> Row:
        """The figures of a machine."""
        records = [self.kept(runner, item) for item in items]
        figures = self.judge.figures(runner.machine, items, records)
        differences = None
        if runner.model is not None:
            other = next(each for each in self.runners if each.key == runner.model)
            found = []
            for item, record in zip(items, records, strict=True):
                apart = self.judge.difference(runner.machine, item, record, self.kept(other, item))
                if apart is not None:
                    found.append(Difference(item.name, *apart))
            differences = tuple(sorted(found, key=lambda each: (-each.size, each.item)))
        return Row(
            runner.machine.name,
            runner.machine.runtime,
            runner.is_model,
            figures,
            differences,
        )


def evaluate(
    runners: Sequence[Runner],
    judge: Judge,
    store: Store,
    items: Sequence[Item],
    data: Data,
    *,
    notes: Sequence[str] = (),
    begin: Callable[[int, int], None] = lambda total, done: None,
    finished: Callable[[str], None] = lambda what: None,
) -> Evaluation:
    """Let the machines answer on ``items``, and compare them with the truth.

    Args:
        runners: that ``judge`` admitted.
        store: answers that are there are not asked for again.
        begin: told how many answers there are to be, and how many there are.
        finished: told each new one.

    Raises:
        UsageError: no picture could be judged.
    """
    run = _Run(judge, store, runners)
    own = [f"{each.machine.name}: {note}." for each in runners for note in each.machine.notes]
    done = sum(run.kept(runner, item) is not None for item in items for runner in runners)
    begin(len(items) * len(runners), done)
    for item in items:
        run.answer(item, finished)
    judged = [item for item in items if item.name not in run.left_out]
    if not judged:
        name, why = next(iter(run.left_out.items()))
        raise UsageError(
            f"None of the {len(items)} pictures could be judged; the first is {name}: {why}",
            hint="Give pictures that can be read, and what is true of them.",
        )
    return Evaluation(
        judge.kind,
        str(data.folder),
        len(judged),
        tuple(run.row(runner, judged) for runner in runners),
        tuple(run.left_out.items()),
        tuple(dict.fromkeys(filter(None, [*judge.notes, *own, *notes, *_suppression(runners)]))),
    )


def _suppression(runners: Sequence[Runner]) -> list[str]:
    return [
        f"{each.machine.name} suppresses boxes itself: what it leaves out is missed."
        for each in runners
        if each.machine.suppresses
    ]


def kind_of_all(runners: Sequence[Runner]) -> Kind:
    """The kind of data that judge all machines.

    Raises:
        UsageError: they need different kinds.
    """
    kinds: Mapping[Kind, str] = {kind_of(each.machine): each.machine.name for each in runners}
    if len(kinds) > 1:
        said = ", ".join(f"{name} needs {kind}" for kind, name in kinds.items())
        raise UsageError(
            f"The models are not judged by one kind of data: {said}.", hint="Evaluate them apart."
        )
    return next(iter(kinds))

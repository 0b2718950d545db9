"""What a kind of data set does: pictures with their truth, and figures of the answers on them."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..errors import UsageError
from ..system.pictures import SUFFIXES

if TYPE_CHECKING:
    from ..answers.decode import Answer
    from ..answers.machine import Machine
    from ..answers.prepare import Prepared

__all__ = [
    "Difference",
    "Figure",
    "Item",
    "Judge",
    "Kind",
    "class_name",
    "folder_named",
    "kind_of",
    "pictures_below",
    "stamp_of",
]

Kind = Literal["classes", "boxes", "masks", "pairs"]
MOST_ITEMS = 2**22
Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Item:
    """A picture and what is true of it.

    Attributes:
        name: below the data set's folder, with ``/``.
        truth: a class, a file, or an id, as the kind has it.
        stamp: size and time of change of its files: what they were when they were answered on.
    """

    name: str
    picture: Path
    truth: Any
    stamp: Stamp


@dataclass(frozen=True)
class Figure:
    """A figure of merit with its 95 % interval.

    Attributes:
        value: in ``unit``: percent or dB; None where there is none.
        low, high: None where the interval cannot be said.
    """

    name: str
    unit: str
    value: float | None
    low: float | None = None
    high: float | None = None


def figure(name: str, unit: str, value: float, interval: tuple[float, float] | None) -> Figure:
    """A figure of numbers that may not be finite."""
    if not math.isfinite(value):
        return Figure(name, unit, None)
    low, high = (None, None) if interval is None else interval
    return Figure(name, unit, value, low, high)


@dataclass(frozen=True)
class Difference:
    """A picture on which a file and its model do not say the same.

    Attributes:
        size: how far apart they are; the largest is listed first.
    """

    item: str
    said: str
    size: float


@dataclass
class Judge(ABC):
    """A data set on which machines of one kind are judged.

    Attributes:
        items: in a fixed order.
        notes: what a reader should know of the data set, one sentence each.
    """

    kind: ClassVar[Kind]
    beside_model: ClassVar[bool] = False
    """Whether the record of a file needs the model's answer: maps are too large to be kept."""

    items: tuple[Item, ...]
    notes: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the user, what changes a record."""
        return {}

    @abstractmethod
    def admit(self, machine: Machine) -> str:
        """What the classes of a machine are in the data set, in words; "" of no classes.

        Raises:
            UsageError: it cannot be judged on these data.
        """

    @abstractmethod
    def answer(self, machine: Machine, item: Item) -> tuple[Answer, Prepared]:
        """The machine's answer on an item.

        Raises:
            UsageError: one of the item's files cannot be read.
        """

    @abstractmethod
    def record(self, item: Item, own: tuple[Answer, Prepared], model: Answer | None) -> Any:
        """What is kept of an answer: JSON-ready, and enough for figures and differences.

        Args:
            model: the answer of the file's model, where the kind is `beside_model`.

        Raises:
            UsageError: the item's truth cannot be read.
        """

    @abstractmethod
    def valid(self, record: Any) -> bool:
        """Whether it can be what `record` made: it was read from a file."""

    @abstractmethod
    def figures(
        self, machine: Machine, items: Sequence[Item], records: Sequence[Any]
    ) -> tuple[Figure, ...]:
        """The accuracy of a machine on items."""

    @abstractmethod
    def difference(
        self, machine: Machine, item: Item, own: Any, model: Any
    ) -> tuple[str, float] | None:
        """What a file and its model say, in words, and how far apart that is; None: the same."""


def kind_of(machine: Machine) -> Kind:
    """Which data judge a machine, by what its outputs mean.

    Raises:
        UsageError: none do.
    """
    found = {each.meaning: each.shape for each in machine.outputs}
    scores = found.get("logits", found.get("probabilities"))
    if {"boxes", "scores"} <= set(found):
        return "boxes"
    if "labels" in found or (scores is not None and len(scores) == 4 and scores[1] > 1):
        return "masks"
    if scores is not None and len(scores) == 2:
        return "classes"
    if "upscaled" in found:
        return "pairs"
    said = ", ".join(f"{each.name} ({each.meaning or 'unknown'})" for each in machine.outputs)
    raise UsageError(
        f"{machine.name} cannot be evaluated: its outputs are {said}.",
        hint="Evaluated are classes, boxes and scores, classes of pixels, and upscaled pictures.",
    )


def class_name(index: int, names: Sequence[str] | None) -> str:
    """Of a class, by its index where nobody said its name."""
    return names[index] if names is not None and index < len(names) else f"class {index}"


def folder_named(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of these folders that is in ``folder``."""
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def stamp_of(*paths: Path) -> Stamp:
    """Size in bytes and time of change of files."""
    found: list[int] = []
    for path in paths:
        try:
            facts = os.stat(path)  # noqa: PTH116 (a str subclass is slower for millions)
        except (OSError, ValueError) as problem:
            raise UsageError(f"{path} cannot be read: {problem}.") from problem
        found += [facts.st_size, facts.st_mtime_ns]
    return tuple(found)


def pictures_below(folder: Path, *, deep: bool) -> Iterator[Path]:
    """The PNG and JPEG files of a folder, and with ``deep`` of those in it, sorted by name.

    Raises:
        UsageError: a folder cannot be read, or there are too many files.
    """
    count = 0
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as problem:
            raise UsageError(f"{place} cannot be read: {problem.strerror}.") from problem
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if deep and not entry.is_symlink():
                    waiting.append(Path(entry.path))
            elif Path(entry.name).suffix.lower() in SUFFIXES:
                count += 1
                if count > MOST_ITEMS:
                    raise UsageError(f"{folder} has more than {MOST_ITEMS:,} pictures.")
                yield Path(entry.path)

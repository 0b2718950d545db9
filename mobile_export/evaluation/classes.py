"""Folders of classes, as torchvision's ImageFolder reads them: top-1 and top-5 accuracy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import UsageError
from ..sources.labels import imagenet_labels
from .intervals import wilson
from .judge import Figure, Item, Judge, Kind, class_name, pictures_below, stamp_of

if TYPE_CHECKING:
    from ..answers.decode import Answer
    from ..answers.machine import Machine
    from ..answers.prepare import Prepared

__all__ = ["Classes", "find_classes", "map_folders", "wordnet_ids"]

_MOST_FOLDERS = 2**16
_SHOWN = 4


@dataclass
class Classes(Judge):
    """FOLDER/CLASS/picture.jpg.

    Attributes:
        folders: names of the classes' folders, sorted.
        labels: of the classes, given by the user in the order of the logits.
    """

    kind: ClassVar[Kind] = "classes"
    folders: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    _maps: dict[int, dict[str, int]] = field(default_factory=dict)

    def admit(self, machine: Machine) -> str:
        count = next(
            each.shape[1]
            for each in machine.outputs
            if each.meaning in ("logits", "probabilities") and len(each.shape) == 2
        )
        labels = self.labels or machine.labels
        found, said = map_folders(self.folders, count, labels, machine.name)
        self._maps[id(machine)] = found
        return said

    def answer(self, machine: Machine, item: Item) -> tuple[Answer, Prepared]:
        return machine.answer(item.picture)

    def record(self, item: Item, own: tuple[Answer, Prepared], model: Answer | None) -> Any:
        """Indices of the five likeliest classes, the likeliest first; none of no numbers."""
        return [each.index for each in own[0].classes]

    def valid(self, record: Any) -> bool:
        return isinstance(record, list) and all(type(each) is int for each in record)

    def figures(
        self, machine: Machine, items: Sequence[Item], records: Sequence[Any]
    ) -> tuple[Figure, ...]:
        truths = [self._maps[id(machine)][item.truth] for item in items]
        found = []
        for best in (1, 5):
            hits = sum(
                truth in record[:best] for truth, record in zip(truths, records, strict=True)
            )
            low, high = wilson(hits, len(items))
            share = 100 * hits / len(items)
            found.append(Figure(f"top-{best}", "%", share, 100 * low, 100 * high))
        return tuple(found)

    def difference(
        self, machine: Machine, item: Item, own: Any, model: Any
    ) -> tuple[str, float] | None:
        if own[:1] == model[:1]:
            return None
        names = self.labels or machine.labels
        said = [class_name(record[0], names) if record else "nothing" for record in (own, model)]
        size = float(model.index(own[0])) if own and own[0] in model else 5.0
        return f"{said[0]}, the model {said[1]}; it is {item.truth}", size


def find_classes(folder: Path, labels: tuple[str, ...] | None) -> Classes:
    """The pictures in the folders of ``folder``, each folder a class.

    Raises:
        UsageError: there is no such folder, or no picture in one.
    """
    names = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if len(names) > _MOST_FOLDERS:
        raise UsageError(f"{folder} has {len(names):,} folders, too many to be classes.")
    items: list[Item] = []
    empty = []
    for name in names:
        found = [
            Item(f"{name}/{path.name}", path, name, stamp_of(path))
            for path in pictures_below(folder / name, deep=False)
        ]
        empty += [] if found else [name]
        items += found
    if not items:
        raise UsageError(
            f"{folder} has no pictures in folders of classes.",
            hint=f"A classifier is evaluated on {folder}/CLASS/picture.jpg or .png.",
        )
    notes = [f"{len(empty)} folders have no picture: {_listed(empty)}."] if empty else []
    kept = tuple(name for name in names if name not in set(empty))
    return Classes(tuple(items), notes, folders=kept, labels=labels)


def map_folders(
    folders: Sequence[str], count: int, labels: Sequence[str] | None, who: str
) -> tuple[dict[str, int], str]:
    """The class of each folder, and in words how it was found: one rule for all of them.

    The rules, in this order: WordNet ids of ImageNet's 1000 classes; names of the classes; their
    indices; or, of a model whose classes have no names, as many folders as it has classes, sorted
    as torchvision's ImageFolder sorts them.

    Raises:
        UsageError: none of these holds for all folders.
    """
    if labels is not None and len(labels) != count:
        raise UsageError(
            f"{who} has {count} classes; {len(labels)} labels were given.",
            hint="Give one label for each class, in the order of the logits.",
        )
    imagenet = count == 1000 and (labels is None or tuple(labels) == imagenet_labels())
    rules: list[tuple[str, Mapping[str, int]]] = []
    if imagenet:
        rules.append(("WordNet ids of ImageNet's classes", wordnet_ids()))
    if labels is not None:
        rules.append(("names of the model's classes", _folded(labels)))
    rules.append(("indices of the model's classes", _Indices(count)))
    missing: dict[str, list[str]] = {}
    for said, known in rules:
        keys = {name: _fold(name) if said.startswith("names") else name for name in folders}
        missing[said] = [name for name, key in keys.items() if key not in known]
        if not missing[said]:
            found = {name: known[key] for name, key in keys.items()}
            return found, f"The folders' names are {said}."
    if labels is None and len(folders) == count:
        order = {name: index for index, name in enumerate(sorted(folders))}
        return order, (
            "The folders, sorted by name, are taken for the model's classes in order, as "
            "torchvision's ImageFolder does: nobody said their names."
        )
    said, left = min(missing.items(), key=lambda each: len(each[1]))
    raise UsageError(
        f"The folders' names are not the classes of {who}: {_listed(left)} of {len(folders)} are "
        f"not among the {said}.",
        hint=f"It has {count} classes"
        + (f" ({', '.join(labels[:_SHOWN])}, …)" if labels else "")
        + ". A folder is called by its class's index, name or, of ImageNet's, WordNet id; names "
        "are given with `labels`.",
    )


class _Indices(Mapping[str, int]):
    """The classes by index, written with or without zeros before it."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __getitem__(self, key: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", key, re.ASCII) or int(key) >= self._count:
            raise KeyError(key)
        return int(key)

    def __iter__(self) -> Any:
        return map(str, range(self._count))

    def __len__(self) -> int:
        return self._count


def wordnet_ids() -> dict[str, int]:
    """ImageNet's classes by WordNet id: the logits are in the order of the sorted ids."""
    place = resources.files("mobile_export.models.data").joinpath("imagenet1k_wordnet.txt")
    return {name: index for index, name in enumerate(place.read_text("utf-8").split())}


def _folded(labels: Sequence[str]) -> dict[str, int]:
    """Without those that are spelt alike but for case and spaces."""
    keys = [_fold(label) for label in labels]
    counts = Counter(keys)
    return {key: index for index, key in enumerate(keys) if counts[key] == 1}


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _listed(names: Sequence[str]) -> str:
    more = "" if len(names) <= _SHOWN else f" and {len(names) - _SHOWN} more"
    return ", ".join(name[:80] for name in names[:_SHOWN]) + more

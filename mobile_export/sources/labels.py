"""Class names in the order of the logits: those of public data sets, and those of a user's file.

``imagenet1k`` and ``coco80`` are torchvision's lists (``torchvision.models._meta``), ``ade20k150``
is mmsegmentation's (``mmseg/datasets/ade.py``), with which the official segmenters were trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from ..errors import UsageError
from ..system.files import MIB, read_regular_file

__all__ = [
    "check_labels",
    "distinct_labels",
    "imagenet_labels",
    "known_labels",
    "labels_for",
    "read_labels",
]

MAX_LABELS = 16 * MIB
"""Bytes of a file of labels"""


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 class names, all different.

    They are torchvision's, where the machine (517) is called "construction crane", so that it is
    told apart from 134, "crane bird", in every version; Core ML's dictionaries need unique keys.
    """
    return known_labels("imagenet1k")


def known_labels(name: str) -> tuple[str, ...]:
    """The names of the list ``name``, all different."""
    place = resources.files("mobile_export.models.data").joinpath(f"{name}.txt")
    return tuple(place.read_text("utf-8").splitlines())


def labels_for(num_classes: int | None) -> tuple[str, ...] | None:
    """ImageNet's names for a classifier of 1000 classes, None for any other."""
    return imagenet_labels() if num_classes == 1000 else None


def distinct_labels(names: Sequence[str]) -> tuple[str, ...]:
    """``names`` with a number behind each that was there before: COCO's 91 numbers of classes name
    some "N/A"."""
    found: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in found:
            candidate, number = f"{name} {number}", number + 1
        found.append(candidate)
    return tuple(found)


def check_labels(labels: Sequence[str], whose: str) -> None:
    """Refuse labels that name no class, or two classes alike.

    Args:
        whose: what the message says of them, for example ``The labels in FILE``.

    Raises:
        UsageError: there is no label, or one occurs twice.
    """
    repeated = sorted(label for label, count in Counter(labels).items() if count > 1)
    if not labels or repeated:
        problem = f"the label {repeated[0]!r} occurs more than once" if repeated else "it is empty"
        raise UsageError(
            f"{whose} cannot be used: {problem}.",
            hint="Valid is one distinct label a line, in the order of the logits.",
        )


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a text file, one a line; blank lines at the end are dropped.

    Raises:
        UsageError: the file cannot be read as UTF-8, is empty, or names a label twice.
    """
    content = read_regular_file(path, limit=MAX_LABELS, error=UsageError)
    try:
        lines = content.decode("utf-8").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"The labels in {path} cannot be read: {error}.",
            hint="Valid is a UTF-8 text file with one label a line.",
        ) from error
    labels = tuple(line.strip() for line in lines)
    check_labels(labels, f"The labels in {path}")
    return labels

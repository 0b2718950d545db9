"""Names of classes inside a file: no output shows that they are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from .report import ParityReport

__all__ = ["names_of_json", "with_class_names"]

_SHOWN = 40
"""Characters of a name in a note."""


def with_class_names(
    report: ParityReport,
    found: Mapping[str, Sequence[str]],
    wanted: Sequence[str] | None,
    *,
    kept: bool = False,
) -> ParityReport:
    """``report``, failed where a file has other names of the classes than it should, or has lost
    them.

    White space counts as one blank: a text file with one name a line cannot hold it otherwise.

    Args:
        found: what the file calls its classes, by where in the file that stands.
        wanted: names in the order of the classes; None when nobody knows them.
        kept: whether the file was written with them: then none at all are wrong, too.
    """
    if wanted is None:
        return report
    if kept and wanted and not found:
        note = f"wrong names of classes: the file has none, and was written with {len(wanted)}"
        return replace(report, status="failed", notes=(*report.notes, note))
    right = [_one_line(name) for name in wanted]
    wrong = []
    for where, names in found.items():
        said = [_one_line(name) for name in names]
        if said != right:
            wrong.append(f"wrong names of classes in {where}: {_difference(said, right)}")
    if not wrong:
        return report
    return replace(report, status="failed", notes=(*report.notes, *wrong))


def names_of_json(text: str, key: str | None = None) -> tuple[str, ...]:
    """A list of names as JSON; of anything else, the text itself as the one name.

    Args:
        key: the list is this one of an object.
    """
    try:
        if key is None:
            return msgspec.json.decode(text, type=tuple[str, ...])
        found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])[key]
        return msgspec.json.decode(found, type=tuple[str, ...])
    except (msgspec.DecodeError, KeyError, RecursionError):  # a ValidationError is a DecodeError
        return (text,)


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _difference(said: Sequence[str], right: Sequence[str]) -> str:
    if len(said) != len(right):
        return f"{len(said)}, and the model has {len(right)}"
    others = [index for index, name in enumerate(said) if name != right[index]]
    first = others[0]
    got, name = (repr(names[first][:_SHOWN]) for names in (said, right))
    return f"class {first} is {got}, not {name} ({len(others)} of {len(right)} differ)"

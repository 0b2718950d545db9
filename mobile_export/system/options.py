"""Options: fields of a dataclass that say how they are typed on the command line.

    @dataclass(frozen=True)
    class TFLiteOptions:
        layout: str = option("nhwc", help="Layout of the image input.", valid=("nhwc", "nchw"))

Each option is declared once. The command line, its help and its checks are made from the fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import UsageError

__all__ = ["Option", "check_options", "option", "option_of"]

_KEY = "option"


@dataclass(frozen=True)
class Option:
    """What the command line says of a field.

    Attributes:
        help: one sentence.
        flag: how it is typed, ``--image-input``; empty takes the field's name.
        valid: the valid values, where they can be listed.
    """

    help: str
    flag: str = ""
    valid: tuple[str, ...] = ()


def option(default: Any, *, help: str, flag: str = "", valid: Sequence[str] = ()) -> Any:
    """A dataclass field with ``default`` that is an option on the command line."""
    return field(default=default, metadata={_KEY: Option(help, flag, tuple(valid))})


def option_of(owner: Any, name: str) -> Option | None:
    """What the field ``name`` of a dataclass says of its option; None where it is none."""
    for each in fields(owner):
        if each.name == name:
            found: Option | None = each.metadata.get(_KEY)
            return found
    raise KeyError(name)


def check_options(value: Any) -> None:
    """Refuse a field whose value is not among its valid ones.

    Raises:
        UsageError: it names the field in backticks, as every message about an argument does; the
            command line writes the option in its place.
    """
    for each in fields(value):
        found: Option | None = each.metadata.get(_KEY)
        got = getattr(value, each.name)
        if found is not None and found.valid and got is not None and got not in found.valid:
            raise UsageError(
                f"`{each.name}` {got!r} is not known.",
                hint=f"Valid values: {', '.join(found.valid)}.",
            )

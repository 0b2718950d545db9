"""Options: fields of a dataclass that say how they are typed on the command line.

    @dataclass(frozen=True)
    class TFLiteOptions:
        layout: str = option("nhwc", help="Layout of the image input.", valid=("nhwc", "nchw"))

Each option is declared once. The command line, its help and its checks are made from the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import UsageError

__all__ = ["Option", "argument", "check_options", "option", "options_of"]

_KEY = "option"
_FROM_NAME = "--"


@dataclass(frozen=True)
class Option:
    """What the command line says of a field.

    Attributes:
        help: one sentence.
        flag: how it is typed, ``--image-input``; "" for an argument, which has no flag.
        valid: the valid values, where they can be listed.
        typed: the type of what is typed; None takes the field's.
        read: makes the field's value of what is typed; None takes it as it is.
    """

    help: str
    flag: str = ""
    valid: tuple[str, ...] = ()
    typed: Any = None
    read: Callable[[Any], Any] | None = None


def option(
    default: Any,
    *,
    help: str,
    flag: str = "",
    valid: Sequence[str] = (),
    typed: Any = None,
    read: Callable[[Any], Any] | None = None,
) -> Any:
    """A dataclass field with ``default`` that is an option on the command line.

    Args:
        flag: "" takes the field's name with dashes.

    The other arguments are the attributes of `Option`.
    """
    said = Option(help, flag or _FROM_NAME, tuple(valid), typed, read)
    return field(default=default, metadata={_KEY: said})


def argument(*, help: str) -> Any:
    """A dataclass field without default that is an argument on the command line, without a flag."""
    return field(metadata={_KEY: Option(help)})


def options_of(owner: Any) -> dict[str, Option]:
    """What the fields of a dataclass say of their options, by field; those that say nothing are not
    there."""
    found: dict[str, Option] = {}
    for each in fields(owner):
        said: Option | None = each.metadata.get(_KEY)
        if said is not None and said.flag == _FROM_NAME:
            said = replace(said, flag="--" + each.name.replace("_", "-"))
        if said is not None:
            found[each.name] = said
    return found


def check_options(value: Any) -> None:
    """Refuse a field whose value is not among its valid ones.

    Raises:
        UsageError: it names the field in backticks, as every message about an argument does; the
            command line writes the option in its place.
    """
    for name, said in options_of(value).items():
        got = getattr(value, name)
        if said.valid and got is not None and got not in said.valid:
            raise UsageError(
                f"`{name}` {got!r} is not known.", hint=f"Valid values: {', '.join(said.valid)}."
            )

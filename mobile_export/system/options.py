"""Options: fields of a dataclass that say how they are typed on the command line.

    @dataclass(frozen=True)
    class TFLiteOptions:
        layout: str = option("nhwc", help="Layout of the image input.", valid=("nhwc", "nchw"))

Each option is declared once. The command line, its help and its checks are made from the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any

from ..errors import UsageError

__all__ = [
    "Option",
    "Range",
    "argument",
    "check_options",
    "option",
    "options_of",
    "shortened",
]

_KEY = "option"
_FROM_NAME = "--"
_MOST_DIGITS = 40


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes: ``low`` to ``high``; NaN and infinity are in no range.

    Attributes:
        whole: integers only.
        above: ``low`` itself is not taken.
        below: ``high`` itself is not taken.
    """

    low: float
    high: float
    whole: bool = False
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, Integral if self.whole else Real):
            return False
        number: Any = value
        low = self.low < number if self.above else self.low <= number
        return bool(low and (number < self.high if self.below else number <= self.high))

    def __str__(self) -> str:
        low, high = (f"{each:,}" if self.whole else f"{each:g}" for each in (self.low, self.high))
        low = f"above {low}" if self.above else f"from {low}"
        high = f"below {high}" if self.below else f"up to {high}" if self.above else high
        word = "and" if self.above or self.below else "to"
        return f"{'a whole number' if self.whole else 'a number'} {low} {word} {high}"


@dataclass(frozen=True)
class Option:
    """What the command line says of a field.

    Attributes:
        help: one sentence.
        flag: how it is typed, ``--image-input``; "" for an argument, which has no flag.
        valid: the valid values, where they can be listed.
        within: the valid numbers, of each where there are several.
        typed: the type of what is typed; None takes the field's.
        read: makes the field's value of what is typed; None takes it as it is.
    """

    help: str
    flag: str = ""
    valid: tuple[str, ...] = ()
    within: Range | None = None
    typed: Any = None
    read: Callable[[Any], Any] | None = None


def option(
    default: Any,
    *,
    help: str,
    flag: str = "",
    valid: Sequence[str] = (),
    within: Range | None = None,
    typed: Any = None,
    read: Callable[[Any], Any] | None = None,
) -> Any:
    """A dataclass field with ``default`` that is an option on the command line.

    Args:
        flag: "" takes the field's name with dashes.

    The other arguments are the attributes of `Option`.
    """
    said = Option(help, flag or _FROM_NAME, tuple(valid), within, typed, read)
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
    """Refuse a field whose value is not among its valid ones, or a number out of its range.

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
        if said.within is not None and got is not None:
            _check_numbers(name, got, said.within)


def _check_numbers(name: str, got: Any, within: Range) -> None:
    for each in got if isinstance(got, tuple | list) else (got,):
        if each not in within:
            raise UsageError(f"`{name}` is {shortened(each)}.", hint=f"It must be {within}.")


def shortened(value: object) -> str:
    """A value for a message; a number may have thousands of digits."""
    try:
        text = str(value)
    except ValueError:  # an integer that Python does not print
        return "too large a number"
    return text if len(text) <= _MOST_DIGITS else f"{text[:_MOST_DIGITS]}…"

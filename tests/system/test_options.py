"""Options are declared in the fields that they fill."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mobile_export.errors import UsageError
from mobile_export.system.options import Option, argument, check_options, option, options_of


@dataclass(frozen=True)
class _Paint:
    shape: str = argument(help="What is painted.")
    colour: str | None = option("red", help="A colour.", valid=("red", "blue"))
    two_coats: bool = option(False, help="Twice.", flag="--again")
    thickness: int = option(1, help="In millimetres.")
    inner: int = 3

    def __post_init__(self) -> None:
        check_options(self)


def test_flags_follow_the_names() -> None:
    found = options_of(_Paint)
    assert list(found) == ["shape", "colour", "two_coats", "thickness"]
    assert [said.flag for said in found.values()] == ["", "--colour", "--again", "--thickness"]
    assert found["thickness"] == Option("In millimetres.", "--thickness")


def test_fields_are_ordinary_fields() -> None:
    assert _Paint("door") == _Paint("door", "red", False, 1, 3)
    with pytest.raises(TypeError):
        _Paint()  # type: ignore[call-arg]


def test_values_are_checked() -> None:
    assert _Paint("door", None).colour is None
    with pytest.raises(UsageError, match=r"`colour` 'green' is not known\.\nValid.*: red, blue"):
        _Paint("door", "green")

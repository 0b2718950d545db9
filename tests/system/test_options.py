"""Options are declared in the fields that they fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from mobile_export.errors import UsageError
from mobile_export.system.options import (
    Option,
    Range,
    argument,
    check_options,
    option,
    options_of,
    shortened,
)


@dataclass(frozen=True)
class _Paint:
    shape: str = argument(help="What is painted.")
    colour: str | None = option("red", help="A colour.", valid=("red", "blue"))
    two_coats: bool = option(False, help="Twice.", flag="--again")
    thickness: int = option(1, help="In millimetres.", within=Range(1, 2000, whole=True))
    shares: tuple[float, ...] = option((1.0,), help="Of it.", within=Range(0, 1, above=True))
    inner: int = 3

    def __post_init__(self) -> None:
        check_options(self)


def test_flags_follow_the_names() -> None:
    found = options_of(_Paint)
    assert list(found) == ["shape", "colour", "two_coats", "thickness", "shares"]
    flags = ["", "--colour", "--again", "--thickness", "--shares"]
    assert [said.flag for said in found.values()] == flags
    assert found["two_coats"] == Option("Twice.", "--again")


def test_fields_are_ordinary_fields() -> None:
    assert _Paint("door") == _Paint("door", "red", False, 1, (1.0,), 3)
    with pytest.raises(TypeError):
        _Paint()  # type: ignore[call-arg]


def test_values_are_checked() -> None:
    assert _Paint("door", None).colour is None
    with pytest.raises(UsageError, match=r"`colour` 'green' is not known\.\nValid.*: red, blue"):
        _Paint("door", "green")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"thickness": 0}, "`thickness` is 0.\nIt must be a whole number from 1 to 2,000."),
        ({"thickness": 1.5}, "`thickness` is 1.5.\n"),
        ({"thickness": 10**5000}, "`thickness` is too large a number.\n"),
        ({"shares": (0.5, 0.0)}, "`shares` is 0.0.\nIt must be a number above 0 and up to 1."),
        ({"shares": (float("nan"),)}, "`shares` is nan.\n"),
        ({"shares": (float("inf"),)}, "`shares` is inf.\n"),
        ({"shares": ("1",)}, "`shares` is 1.\n"),
    ],
)
def test_numbers_lie_in_their_range(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        _Paint("door", **change)
    assert str(caught.value).startswith(said)


def test_what_a_range_takes() -> None:
    half = Range(0, 1, below=True)
    assert [value in half for value in (0, 0.0, np.float32(0.5), 1, -1e-9)] == [True] * 3 + [
        False
    ] * 2
    assert str(half) == "a number from 0 and below 1"
    assert str(Range(0, 1, above=True, below=True)) == "a number above 0 and below 1"
    assert np.int64(3) in Range(1, 3, whole=True)
    assert 3.0 not in Range(1, 3, whole=True)


def test_a_long_number_is_shortened() -> None:
    assert shortened(10**45) == "1" + "0" * 39 + "…"

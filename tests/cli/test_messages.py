"""Messages name arguments where they are raised, and options where they are printed."""

from __future__ import annotations

import pytest

from mobile_export.cli.messages import said_of_options, typed_error
from mobile_export.errors import MobileExportError, SourceError, UsageError


@pytest.mark.parametrize(
    ("raised", "printed"),
    [
        ("`size` is 0x3.", "--size is 0x3."),
        ("`num_classes` is 0.", "--num-classes is 0."),
        ('give a file with `weights="FILE"`.', "give a file with --weights FILE."),
        ("add `allow_missing=True`", "add --allow-missing"),
        ("`iou_threshold` 2 is out of range.", "--nms-iou 2 is out of range."),
        ("`no_passes` leaves it out", "--no-pass leaves it out"),
        ("`image_input` and `classifier`", "--image-input and --classifier"),
        ("`normalise` is a function of yours", "`normalise` is a function of yours"),
    ],
)
def test_arguments_become_options(raised: str, printed: str) -> None:
    assert said_of_options(raised) == printed


def test_json_values_are_translated_too() -> None:
    facts = [{"error": "`size` is odd", "hint": None, "count": 3}]
    assert said_of_options(facts) == [{"error": "--size is odd", "hint": None, "count": 3}]


def test_an_error_keeps_its_exit_code() -> None:
    class Failed(SourceError):
        exit_code = 1

    said = typed_error(Failed("`size` is odd.", hint="Leave `size` out."))
    assert isinstance(said, MobileExportError)
    assert (said.message, said.hint, said.exit_code) == ("--size is odd.", "Leave --size out.", 1)
    assert typed_error(UsageError("No.")).hint is None

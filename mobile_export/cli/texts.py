"""The texts of command-line options, read and checked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..errors import UsageError
from ..sources.request import parse_size
from ..system.files import MIB, read_regular_file

__all__ = ["parse_numbers", "parse_size", "read_labels"]

MAX_LABELS = 16 * MIB
"""Bytes of a file of labels"""


def parse_numbers(text: str) -> tuple[float, ...]:
    """``0.5,0.5,0.5`` -> (0.5, 0.5, 0.5).

    Raises:
        UsageError: an item is no number.
    """
    try:
        return tuple(float(item) for item in text.split(","))
    except ValueError:
        raise UsageError(
            f"{text!r} is not a list of numbers.",
            hint="Valid is one number per channel, separated by commas: 0.485,0.456,0.406.",
        ) from None


def read_labels(path: Path) -> tuple[str, ...]:
    """One label a line; blank lines at the end are dropped.

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
    repeated = sorted(label for label, count in Counter(labels).items() if count > 1)
    if not labels or repeated:
        problem = f"the label {repeated[0]!r} occurs more than once" if repeated else "it is empty"
        raise UsageError(
            f"The labels in {path} cannot be used: {problem}.",
            hint="Valid is one distinct label a line, in the order of the logits.",
        )
    return labels

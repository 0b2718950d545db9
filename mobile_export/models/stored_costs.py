"""Parameters and MACs of the zoo, counted once and stored, so that listing needs no torch.

``data/costs.csv`` is written by ``python -m mobile_export.models.stored_costs`` after a change of
the zoo or of the seeds' rows; a test counts every model of the zoo and compares.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from .papers import seed_rows
from .table import entries

__all__ = ["StoredCost", "stored_cost"]


@dataclass(frozen=True)
class StoredCost:
    """What `cost.measure` counted for one image."""

    parameters: int
    macs: int


def stored_cost(name: str, size: tuple[int, int], classes: int | None) -> StoredCost | None:
    """The stored count of a zoo model at this size; None if it was never counted."""
    return _table().get((name, *size, classes))


@cache
def _table() -> dict[tuple[str, int, int, int | None], StoredCost]:
    text = resources.files("mobile_export.models.data").joinpath("costs.csv").read_text("utf-8")
    return {
        (
            row["name"],
            int(row["height"]),
            int(row["width"]),
            int(row["classes"]) if row["classes"] else None,
        ): StoredCost(int(row["parameters"]), int(row["macs"]))
        for row in csv.DictReader(text.splitlines())
    }


def _wanted() -> Iterator[tuple[str, int, int, int | None]]:
    classes = {entry.name: entry.num_classes for entry in entries()}
    for entry in entries():
        yield entry.name, *entry.size, entry.num_classes
    for row in seed_rows():
        if row.name in classes and row.size is not None:
            yield row.name, *row.size, row.classes or classes[row.name]


def _order(row: tuple[str, int, int, int | None]) -> tuple[str, int, int, int]:
    name, height, width, classes = row
    return name, height, width, classes or 0


def _write(path: Path) -> None:
    from .cost import measure_entry
    from .table import get

    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("name", "height", "width", "classes", "parameters", "macs"))
        for name, height, width, classes in sorted(set(_wanted()), key=_order):
            cost = measure_entry(get(name), (height, width), classes)
            writer.writerow((name, height, width, classes, cost.parameters, cost.macs))


if __name__ == "__main__":
    _write(Path(__file__).parent / "data" / "costs.csv")

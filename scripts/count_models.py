"""Write mobile_export/models/data/costs.csv: parameters and MACs of models.

    python scripts/count_models.py

Run it after a change of a model, of a row, or of the papers' tables: every built-in model is
counted at its default size, and every model at each size at which a row of a paper's table has it.
Those of timm are of the installed timm; it takes two minutes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from mobile_export.models import table
from mobile_export.models.cost import TIMM, Cost, measure_entry, measure_timm
from mobile_export.models.papers import paper_rows

COSTS = Path(__file__).parent.parent / "mobile_export" / "models" / "data" / "costs.csv"
COLUMNS = ("name", "height", "width", "classes", "parameters", "macs", "norm_macs")

Key = tuple[str, int, int, int | None]


def wanted() -> Iterator[Key]:
    """Name, height, width and number of classes (None: no classes) of every count to store."""
    classes = {entry.name: entry.num_classes for entry in table.entries()}
    for entry in table.entries():
        yield entry.name, *entry.size, entry.num_classes
    for row in paper_rows():
        if row.name in classes and row.size is not None:
            yield row.name, *row.size, row.classes or classes[row.name]
        elif row.name is not None and row.name.startswith(TIMM) and row.size is not None:
            yield row.name, *row.size, None


def counted(key: Key) -> Cost:
    name, height, width, classes = key
    if name.startswith(TIMM):
        return measure_timm(name, (height, width))
    return measure_entry(table.get(name), (height, width), classes)


def by_name_and_size(key: Key) -> tuple[str, int, int, int]:
    name, height, width, classes = key
    return name, height, width, classes or 0


def write(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key in sorted(set(wanted()), key=by_name_and_size):
            cost = counted(key)
            writer.writerow((*key, cost.parameters, cost.macs, cost.norm_macs))


if __name__ == "__main__":
    write(COSTS)

"""Write mobile_export/models/data/costs.csv: parameters and MACs of models.

    python scripts/count_models.py [--missing]

Run it after a change of a model, of a row, or of the papers' tables: every built-in model is
counted at its default size, and every model at each size at which a row of a paper's table has it.
Those of timm and torchvision are of the installed ones; it takes some minutes.
With ``--missing``, counts that are stored are taken as they are.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from mobile_export.models import table
from mobile_export.models.cost import Cost, default_classes, measure_named, stored_cost
from mobile_export.models.papers import paper_rows

COSTS = Path(__file__).parent.parent / "mobile_export" / "models" / "data" / "costs.csv"
COLUMNS = ("name", "height", "width", "classes", "parameters", "macs", "norm_macs")

Key = tuple[str, int, int, int | None]


def wanted() -> Iterator[Key]:
    """Name, height, width and number of classes (None: no classes) of every count to store."""
    for entry in table.entries():
        yield entry.name, *entry.size, entry.num_classes
    for row in paper_rows():
        if row.name is not None and row.size is not None:
            yield row.name, *row.size, row.classes or default_classes(row.name)


def counted(key: Key) -> Cost:
    name, height, width, classes = key
    return measure_named(name, (height, width), classes)


def by_name_and_size(key: Key) -> tuple[str, int, int, int]:
    name, height, width, classes = key
    return name, height, width, classes or 0


def write(path: Path, *, missing: bool) -> None:
    found: dict[Key, Cost] = {}
    for key in set(wanted()):
        stored = stored_cost(*_stored_key(key)) if missing else None
        found[key] = stored or counted(key)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key in sorted(found, key=by_name_and_size):
            cost = found[key]
            writer.writerow((*key, cost.parameters, cost.macs, cost.norm_macs))


def _stored_key(key: Key) -> tuple[str, tuple[int, int], int | None]:
    name, height, width, classes = key
    return name, (height, width), classes


if __name__ == "__main__":
    write(COSTS, missing="--missing" in sys.argv[1:])

"""The models that the tables of the seeds name, and what they are called here.

``data/seeds.csv`` has one row per model and printed row of the tables of seed 000 (FreeNet), 001
(EMO; "§3.3" is a table without a number) and 003 (SeaFormer++), ablations included. Left out are
the tables without a network: of operators (000's 2, 001's 1 and 2), of training alone (001's 6, the
recipes in its §3.1, 003's 18).
Seed 002 is a list of papers without tables: its rows are the networks for images and video that its
titles and abstracts name (of a family the variants that we have, else the smallest that timm has),
without printed figures and at the default size of the model here.
Cityscapes' input sizes are 512x1024 for "(h)" and 1024x2048 for "(f)": seed 003 gives the sizes of
training, but only these fit the FLOPs that it prints.
Importable without torch.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

__all__ = ["SeedRow", "seed_rows"]


@dataclass(frozen=True)
class SeedRow:
    """One row of a table, as printed there.

    Attributes:
        seed: "000", "001", "002" or "003".
        table: its number in the seed; in seed 002 "title" or "abstract".
        model: as the table spells it.
        head: what stands on the backbone; empty for a classifier.
        size: (height, width) of the input; None where the seed does not say.
        classes: that its segmentation head tells apart, where they are not the default.
        params_m: parameters in millions; macs_m: "FLOPs" in millions.
        metric, value: of the accuracy, in percent; empty and None where none is printed.
        name: of the same network here, in the zoo or ``timm/…``; None if there is none, and then
        reason: why.
        remark: further accuracies of the row, and why our count is more than 5 % off where it is.
    """

    seed: str
    table: str
    model: str
    head: str
    size: tuple[int, int] | None
    classes: int | None
    params_m: float | None
    macs_m: float | None
    metric: str
    value: float | None
    name: str | None
    reason: str
    remark: str


def seed_rows() -> tuple[SeedRow, ...]:
    """All rows, in the order of the seeds."""
    text = resources.files("mobile_export.models.data").joinpath("seeds.csv").read_text("utf-8")
    return tuple(_row(record) for record in csv.DictReader(text.splitlines(), restval=""))


def _row(record: dict[str, str]) -> SeedRow:
    return SeedRow(
        seed=record["seed"],
        table=record["table"],
        model=record["model"],
        head=record["head"],
        size=(int(record["height"]), int(record["width"])) if record["height"] else None,
        classes=int(record["classes"]) if record["classes"] else None,
        params_m=_number(record["params_m"]),
        macs_m=_number(record["macs_m"]),
        metric=record["metric"],
        value=_number(record["value"]),
        name=record["name"] or None,
        reason=record["reason"],
        remark=record["remark"],
    )


def _number(text: str) -> float | None:
    return float(text) if text else None

"""The models in the tables of the papers, as printed there, and what they are called here.

``data/papers.csv`` has one row for every model in every row of the tables of three papers: FreeNet,
EMO ("§3.3" is a table without a number) and SeaFormer++, ablations included. Left out are the
tables without a network: of operators (FreeNet's 2, EMO's 1 and 2) and of training alone (EMO's 6
and the recipes in its §3.1, SeaFormer++'s 18).

A fourth source, "related papers", is a list of titles and abstracts without tables. Its rows are
the networks for images and video that those name: of a family the variants that we have, else the
smallest that timm has. They have no printed figures, and the size is the default of the model here.

Cityscapes' input sizes are 512x1024 for "(h)" and 1024x2048 for "(f)": SeaFormer++ gives the sizes
of training, but only these fit the FLOPs that it prints. So with RetinaNet: 800x1344 (the training
size in multiples of 32), and 800x1280 of the rows that are taken from PVT's paper.

Importable without torch. What we count for these models is in `listing`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

__all__ = ["PAPERS", "PaperRow", "paper_rows"]

PAPERS = {
    "FreeNet": "FreeNet (AAAI 2025)",
    "EMO": "EMO (ICCV 2023, arXiv 2301.01146)",
    "related papers": "titles and abstracts of papers on mobile vision models",
    "SeaFormer++": "SeaFormer++ (IJCV 2025, arXiv 2301.13156)",
}
"""What each row's ``paper`` stands for, in the order of the rows."""


@dataclass(frozen=True)
class PaperRow:
    """One row of a table, as printed there.

    Attributes:
        paper: a key of `PAPERS`.
        table: its number in the paper; of the related papers "title" or "abstract".
        model: as the table spells it.
        head: what stands on the backbone; empty for a classifier.
        size: (height, width) of the input in pixels; None where the paper does not say, unless
            ``remark`` says that the printed FLOPs are those of this size.
        classes: that its segmentation head tells apart, where they are not the default.
        params_m: parameters in millions; None where none are printed.
        macs_m: "FLOPs" in millions; None where none are printed.
        metric: "top-1", "mIoU" or "box AP"; empty where no accuracy is printed.
        value: the accuracy in percent; None where none is printed.
        name: what the same network is called here: a built-in name, ``BACKBONE+HEAD`` or
            ``timm/…``; None: neither
            has it.
        reason: why there is no name.
        remark: further accuracies of the row, and why our count is more than 5 % off where it is.
    """

    paper: str
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

    @property
    def place(self) -> str:
        """Where it is printed: "SeaFormer++, Table 14" or "related papers, title"."""
        return f"{self.paper}, {'Table ' if self.table.isdecimal() else ''}{self.table}"


def paper_rows() -> tuple[PaperRow, ...]:
    """All rows, paper by paper."""
    text = resources.files("mobile_export.models.data").joinpath("papers.csv").read_text("utf-8")
    return tuple(_row(record) for record in csv.DictReader(text.splitlines(), restval=""))


def _row(record: dict[str, str]) -> PaperRow:
    return PaperRow(
        paper=record["paper"],
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

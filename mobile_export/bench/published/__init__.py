"""The latencies that the papers print, as data.

``latencies.csv`` has one row per printed figure: seed 000 (FreeNet; Tables 3 and 4), seed 001 (EMO;
Table 11 and its unnumbered table of MHSA in different stages, here table "stages") and seed 003
(SeaFormer++; Tables 2, 13, 14 and 16). ``columns.csv`` says under which conditions each column of a
table was measured, as far as the paper states them. What was ambiguous in the text, and what was
taken from another table of the same paper, stands in ``note``. Names of models are those of
``mobile_export.models.papers``. Importable without torch.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["PublishedLatency", "rows"]

_Record = dict[str, str]


@dataclass(frozen=True)
class PublishedLatency:
    """One printed figure and what it was measured on.

    Attributes:
        seed: "000", "001" or "003"; paper: its title.
        table: its number in the seed, or "stages"; column: which of the table's columns of latency.
        model: as the table spells it, without the marks for "searched" and "reparameterized".
        head: what stands on the backbone; empty for a classifier.
        name: of the same network here, in the zoo or ``timm/…``; None if there is none, and then
        reason: why.
        size: (height, width) of the input in pixels.
        device: as the paper names it, a SoC for phones; processor: "mobile CPU", "mobile GPU",
            "CPU", "GPU", or "phone" where Core ML chose.
        precision, threads, batch, framework: None where the paper does not say.
        value: as printed; None where the table has a dash.
        unit: "ms" per image or "images/s".
        params_m: parameters in millions; macs_m: "FLOPs" in millions.
        metric, accuracy: in percent.
        note: what a reader of the figure must know; may be empty.
    """

    seed: str
    paper: str
    table: str
    column: str
    model: str
    head: str
    name: str | None
    reason: str
    size: tuple[int, int]
    device: str
    processor: str
    precision: str | None
    threads: int | None
    batch: int | None
    framework: str | None
    value: float | None
    unit: str
    params_m: float
    macs_m: float | None
    metric: str
    accuracy: float
    note: str

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds per image; None for a dash and for a throughput, which is no latency."""
        return self.value if self.unit == "ms" else None

    @property
    def citation(self) -> str:
        """``seed 003, Table 14: SeaFormer++: …``."""
        table = f"Table {self.table}" if self.table.isdecimal() else f"table of {self.table}"
        return f"seed {self.seed}, {table}: {self.paper}"


@cache
def rows() -> tuple[PublishedLatency, ...]:
    """Every printed figure, in the order of the seeds."""
    columns = {_key(record): record for record in _records("columns.csv")}
    return tuple(_row(record, columns[_key(record)]) for record in _records("latencies.csv"))


def _records(file: str) -> list[_Record]:
    text = resources.files(__name__).joinpath(file).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _key(record: _Record) -> tuple[str, str, str]:
    return record["seed"], record["table"], record["column"]


def _row(figure: _Record, column: _Record) -> PublishedLatency:
    return PublishedLatency(
        seed=figure["seed"],
        paper=column["paper"],
        table=figure["table"],
        column=figure["column"],
        model=figure["model"],
        head=figure["head"],
        name=figure["name"] or None,
        reason=figure["reason"],
        size=(int(figure["height"]), int(figure["width"])),
        device=column["device"],
        processor=column["processor"],
        precision=column["precision"] or None,
        threads=int(column["threads"]) if column["threads"] else None,
        batch=int(column["batch"]) if column["batch"] else None,
        framework=column["framework"] or None,
        value=float(figure["value"]) if figure["value"] else None,
        unit=column["unit"],
        params_m=float(figure["params_m"]),
        macs_m=float(figure["macs_m"]) if figure["macs_m"] else None,
        metric=figure["metric"],
        accuracy=float(figure["accuracy"]),
        note="; ".join(note for note in (figure["note"], column["note"]) if note),
    )

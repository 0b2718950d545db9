"""The latencies that the papers print, as data.

``latencies.csv`` has one row per printed figure: of FreeNet Tables 2 (operators) to 5, of EMO Table
11 and the unnumbered table of MHSA in different stages, here table "stages", and of SeaFormer++
Tables 2, 3, 6 to 10, 12 to 14, 16 and 17. ``columns.csv`` says under which conditions each column
of a table was measured, as far as the paper states them. What was ambiguous in the text, and what
was taken from another table of the same paper, stands in ``note``. What a line of a table is called
here, or why it has no name, is that of the same line in ``mobile_export.models.papers``;
``name`` and ``reason`` of ``latencies.csv`` are of the lines that are not there. Importable without
torch.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ...models.papers import PAPERS, PaperRow, paper_rows

__all__ = ["PublishedLatency", "papers_with_latencies", "rows"]

_Record = dict[str, str]


@dataclass(frozen=True)
class PublishedLatency:
    """One printed figure and what it was measured on.

    Attributes:
        paper: a key of `mobile_export.models.papers.PAPERS`; title: of the paper.
        table: its number, or "stages"; column: which of the table's columns of latency.
        model: as the table spells it, without the marks for "searched" and "reparameterized".
        head: what stands on the backbone; empty for a classifier.
        name: of the same network here, in the zoo or ``timm/…``; None if there is none, and then
        reason: why.
        size: (height, width) of the input in pixels; None where the paper does not say.
        device: as the paper names it, a SoC for phones; processor: "mobile CPU", "mobile GPU",
            "CPU", "GPU", or "phone" where Core ML chose.
        precision, threads, batch, framework: None where the paper does not say.
        value: as printed; None where the table has a dash.
        unit: "ms" per image or "images/s".
        params_m: parameters in millions; macs_m: "FLOPs" in millions; None where none are printed.
        metric, accuracy: in percent; empty and None where none is printed.
        note: what a reader of the figure must know; may be empty.
    """

    paper: str
    title: str
    table: str
    column: str
    model: str
    head: str
    name: str | None
    reason: str
    size: tuple[int, int] | None
    device: str
    processor: str
    precision: str | None
    threads: int | None
    batch: int | None
    framework: str | None
    value: float | None
    unit: str
    params_m: float | None
    macs_m: float | None
    metric: str
    accuracy: float | None
    note: str

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds per image; None for a dash and for a throughput, which is no latency."""
        return self.value if self.unit == "ms" else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what the paper does not state is None, except for the conditions of the
        measurement, which are "not stated"."""
        facts = dict(vars(self))
        conditions = ("precision", "threads", "batch", "framework")
        return facts | {name: facts[name] or "not stated" for name in conditions}

    @property
    def citation(self) -> str:
        """``SeaFormer++ (IJCV 2025, arXiv 2301.13156), Table 14``."""
        return f"{PAPERS[self.paper]}, {self.place}"

    @property
    def place(self) -> str:
        """``Table 14``, or ``table of stages``."""
        return f"Table {self.table}" if self.table.isdecimal() else f"table of {self.table}"


@cache
def rows() -> tuple[PublishedLatency, ...]:
    """Every printed figure, paper by paper."""
    columns = {_key(record): record for record in _records("columns.csv")}
    lines = {(row.paper, row.table, row.model, row.head): row for row in paper_rows()}
    return tuple(
        _row(record, columns[_key(record)], lines.get(_line(record)))
        for record in _records("latencies.csv")
    )


def papers_with_latencies() -> tuple[str, ...]:
    """The papers of `rows`, keys of `mobile_export.models.papers.PAPERS`."""
    return tuple(dict.fromkeys(row.paper for row in rows()))


def _records(file: str) -> list[_Record]:
    text = resources.files(__name__).joinpath(file).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _key(record: _Record) -> tuple[str, str, str]:
    return record["paper"], record["table"], record["column"]


def _line(record: _Record) -> tuple[str, str, str, str]:
    return record["paper"], record["table"], record["model"], record["head"]


def _row(figure: _Record, column: _Record, line: PaperRow | None) -> PublishedLatency:
    return PublishedLatency(
        paper=figure["paper"],
        title=column["title"],
        table=figure["table"],
        column=figure["column"],
        model=figure["model"],
        head=figure["head"],
        name=line.name if line is not None else figure["name"] or None,
        reason=line.reason if line is not None else figure["reason"],
        size=(int(figure["height"]), int(figure["width"])) if figure["height"] else None,
        device=column["device"],
        processor=column["processor"],
        precision=column["precision"] or None,
        threads=int(column["threads"]) if column["threads"] else None,
        batch=int(column["batch"]) if column["batch"] else None,
        framework=column["framework"] or None,
        value=_number(figure["value"]),
        unit=column["unit"],
        params_m=_number(figure["params_m"]),
        macs_m=_number(figure["macs_m"]),
        metric=figure["metric"],
        accuracy=_number(figure["accuracy"]),
        note="; ".join(note for note in (figure["note"], column["note"]) if note),
    )


def _number(text: str) -> float | None:
    return float(text) if text else None

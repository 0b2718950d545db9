"""A table for a paper: size, accuracy and our milliseconds, beside what the papers print.

A network that several papers print has a line for each, with the accuracy of that paper. Published
are the accuracies of trained weights: a file with random weights has the latency of a trained one.
A file made for another number of classes is another network, and has none of the published figures;
where the paper's images have another size, the line says so.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts.names import artifact_stem
from ..errors import UsageError
from ..models.cost import Cost, stored_cost
from ..models.papers import PAPERS, paper_rows
from ..system.files import MIB, read_regular_file
from ..system.terminal import printable
from .layout import Column, Grid
from .published import rows as published_rows
from .record import FLAGS
from .tables import (
    Row,
    is_official,
    official_classes,
    shown_flags,
    shown_type,
    shown_width,
    size_of,
)

__all__ = [
    "Own",
    "PaperLine",
    "Printed",
    "accuracies_of",
    "paper_grid",
    "paper_lines",
    "read_own",
]

_MOST_BYTES = MIB


@dataclass(frozen=True)
class Own:
    """What the user knows of a model; None where they do not say."""

    accuracy: float | None = None
    metric: str = ""
    params_m: float | None = None
    macs_m: float | None = None


@dataclass(frozen=True)
class Printed:
    """What one table prints of a network; empty where none prints it.

    Attributes:
        paper: a key of `mobile_export.models.papers.PAPERS`; place: ``EMO, Table 11``.
        size: (height, width) of the input; None where the paper does not say.
        metric, accuracy: in percent.
        latency: as printed, with its unit; empty where the table has none.
        milliseconds: of it; None for a throughput.
        device: that it was measured on, with the framework where the paper names it.
    """

    paper: str = ""
    place: str = ""
    size: tuple[int, int] | None = None
    params_m: float | None = None
    macs_m: float | None = None
    metric: str = ""
    accuracy: float | None = None
    latency: str = ""
    milliseconds: float | None = None
    device: str = ""


@dataclass(frozen=True)
class _Sourced:
    """A number, and who says so: ``counted``, ``printed`` or ``own``."""

    value: float | None = None
    source: str = ""

    def __str__(self) -> str:
        text = "" if self.value is None else f"{self.value:,.4g}"
        return f"{text}*" if self.source == "printed" else text


@dataclass(frozen=True)
class PaperLine:
    """One measurement beside one published row, or beside none."""

    row: Row
    own: Own = Own()
    printed: Printed = Printed()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input in pixels."""
        return size_of(self.row)

    @property
    def other_size(self) -> bool:
        """The paper's figures are of images of another size."""
        return self.printed.size not in (None, self.size)

    @property
    def place(self) -> str:
        """Where the published row stands: ``EMO, Table 11``, with its size where it is another."""
        if not self.other_size or self.printed.size is None:
            return self.printed.place
        height, width = self.printed.size
        return f"{self.printed.place}, at {height}x{width}"

    @property
    def params_m(self) -> _Sourced:
        """Parameters in millions."""
        cost = _cost(self.row)
        counted = None if cost is None else cost.parameters / 1e6
        return _first(own=self.own.params_m, counted=counted, printed=self.printed.params_m)

    @property
    def macs_m(self) -> _Sourced:
        """Multiply-accumulates of one inference in millions."""
        cost = _cost(self.row)
        counted = None if cost is None else cost.macs / 1e6
        printed = None if self.other_size else self.printed.macs_m
        return _first(own=self.own.macs_m, counted=counted, printed=printed)

    @property
    def accuracy(self) -> _Sourced:
        """In percent: the user's own, or that of the published row."""
        return _first(own=self.own.accuracy, published=self.printed.accuracy)

    @property
    def metric(self) -> str:
        """What the accuracy is; empty without one."""
        return {"own": self.own.metric, "published": self.printed.metric}.get(
            self.accuracy.source, ""
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, and the columns of the CSV file."""
        facts = self.row.to_dict()
        shared = ("model", "file", "format", "precision", "device", "soc", "runner", "backend")
        figures = ("median_ms", "low_ms", "high_ms", "output", "flags")
        of_paper = self.accuracy.source == "published"
        printed = self.printed
        return {
            **{name: facts[name] for name in shared},
            "threads": facts["threads"],
            "height": self.size[0],
            "width": self.size[1],
            "params_m": self.params_m.value,
            "params_from": self.params_m.source,
            "macs_m": self.macs_m.value,
            "macs_from": self.macs_m.source,
            "metric": self.metric,
            "accuracy": self.accuracy.value,
            "accuracy_from": self.place if of_paper else self.accuracy.source,
            **{name: facts[name] for name in figures},
            "published": self.place,
            "published_latency": printed.latency,
            "published_ms": printed.milliseconds,
            "published_on": printed.device,
        }


def _first(**found: float | None) -> _Sourced:
    """The first number that is known."""
    return next(
        (_Sourced(value, who) for who, value in found.items() if value is not None), _Sourced()
    )


def _cost(row: Row) -> Cost | None:
    """What we counted of a built-in model."""
    m = row.measurement
    if m.model not in official_classes():
        return None
    return stored_cost(
        m.model, size_of(row), m.artifact.get("classes") or official_classes()[m.model]
    )


def paper_lines(
    rows: Sequence[Row],
    *,
    papers: Iterable[str] | None = None,
    own: Mapping[str, Own] | None = None,
) -> list[PaperLine]:
    """Every measurement with every published row of the same network, model by model.

    Args:
        papers: keys of `mobile_export.models.papers.PAPERS`; None takes all.
        own: by the model's name, what the user says of it.
    """
    wanted = set(PAPERS if papers is None else papers)
    printed = _printed(wanted)
    lines = []
    for row in sorted(rows, key=lambda row: (row.measurement.model, row.measurement.device.spec)):
        m = row.measurement
        known = own or {}
        mine = known.get(m.model) or known.get(artifact_stem(m.model)) or Own()
        beside = printed.get(artifact_stem(m.model), ()) if is_official(row) else ()
        of_row = [PaperLine(row, mine, one) for one in beside or [Printed()]]
        lines += sorted(of_row, key=lambda line: line.other_size)
    return lines


def _printed(papers: set[str]) -> dict[str, list[Printed]]:
    """By the stem of the network, what every table prints.

    Rows with a latency on a phone, a board or a CPU, and those without any where the paper prints
    the network's accuracy only.
    """
    found: dict[str, list[Printed]] = {}
    for row in published_rows():
        if row.paper in papers and row.name and row.value is not None and row.processor != "GPU":
            where = row.device if row.processor == "phone" else f"{row.device} {row.processor}"
            one = Printed(
                paper=row.paper,
                place=f"{row.paper}, {row.place}",
                size=row.size,
                params_m=row.params_m,
                macs_m=row.macs_m,
                metric=row.metric,
                accuracy=row.accuracy,
                latency=f"{row.value:g} {row.unit}",
                milliseconds=row.latency_ms,
                device=", ".join(filter(None, (where, row.framework, row.precision))),
            )
            found.setdefault(artifact_stem(row.name), []).append(one)
    for line in paper_rows():
        if line.paper not in papers or not line.name or line.value is None:
            continue
        one = Printed(
            line.paper, line.place, line.size, line.params_m, line.macs_m, line.metric, line.value
        )
        beside = found.setdefault(artifact_stem(line.name), [])
        known = {(o.paper, o.metric, o.size) for o in beside}
        if (one.paper, one.metric, one.size) not in known:
            beside.append(one)
    return found


def paper_grid(lines: Sequence[PaperLine]) -> Grid:
    """Of `paper_lines`; what a line shares with the one above it is not repeated."""
    words = {flag.replace("_", " "): meaning for flag, meaning in FLAGS.items()}
    columns = (
        Column("model"),
        *(Column(title, shared=True) for title in ("input", "type", "device", "runs in")),
        *(Column("backend", shared=True), Column("threads", number=True, shared=True)),
        *(Column("params M", number=True, spare=2), Column("MACs M", number=True, spare=3)),
        *(
            Column("metric", shared=True, spare=1),
            Column("%", number=True),
            Column("accuracy from"),
        ),
        *(Column("ms", number=True), Column("95 %", number=True), Column("flags", words=words)),
        *(Column("published"), Column("there", number=True), Column("on", spare=4)),
    )
    texts = []
    above: Row | None = None
    for line in lines:
        again, above = line.row is above, line.row
        figure = "" if line.row.median_ms is None else f"{line.row.median_ms:,.2f}"
        taken = (figure, shown_width(line.row), shown_flags(line.row))
        texts.append(
            (
                *(("",) * 7 if again else _measured(line)),
                *(
                    "" if again and of.source != "printed" else str(of)
                    for of in (line.params_m, line.macs_m)
                ),
                line.metric,
                str(line.accuracy),
                line.accuracy.source if line.accuracy.source == "own" else "",
                *(("",) * 3 if again else taken),
                line.place,
                line.printed.latency,
                line.printed.device,
            )
        )
    flagged = tuple(not line.row.measurement.trusted for line in lines)
    return Grid(columns, tuple(texts), flagged, _notes(lines)).filled(["ms"])


def _measured(line: PaperLine) -> tuple[str, ...]:
    m = line.row.measurement
    backend = m.runner["backend"]
    return (
        artifact_stem(m.model),
        "x".join(map(str, line.size)),
        shown_type(line.row),
        m.device.soc or m.device.spec,
        m.runner["version"],
        "" if backend == "cpu" else backend,
        str(m.runner["threads"]),
    )


def _notes(lines: Sequence[PaperLine]) -> tuple[str, ...]:
    notes = ["ms: median of one inference, batch 1, as measured here, with its 95 % interval."]
    if any("printed" in (line.params_m.source, line.macs_m.source) for line in lines):
        notes.append("*: as that paper prints it; other parameters and MACs are counted, or yours.")
    if any(line.accuracy.source == "published" for line in lines):
        notes.append("Accuracies that are not your own are those that the paper prints.")
    cited = dict.fromkeys(line.printed.paper for line in lines if line.printed.paper)
    if cited:
        notes.append("Papers: " + "; ".join(PAPERS[paper] for paper in cited) + ".")
    return tuple(notes)


def accuracies_of(own: Mapping[str, Own], metric: str) -> dict[str, float]:
    """By the model's name, the user's accuracies in this metric."""
    return {
        name: one.accuracy
        for name, one in own.items()
        if one.accuracy is not None and one.metric == metric
    }


_KNOWN = ("model", "accuracy", "metric", "params_m", "macs_m")


def read_own(path: Path) -> dict[str, Own]:
    """The user's figures: a CSV file with the columns model, accuracy (percent) and, if they like,
    metric, params_m and macs_m (millions).

    Raises:
        UsageError: it cannot be read, has no such columns, or a value is no number in its range.
    """
    data = read_regular_file(path, limit=_MOST_BYTES, error=UsageError)
    hint = "Valid: a header model,accuracy and lines such as emo_2m,75.1; also metric, params_m, "
    hint += "macs_m."
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig")), strict=True)
        records = list(reader)
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no CSV file: it is not UTF-8 text.", hint=hint) from None
    except csv.Error as problem:
        raise UsageError(f"{path} is no CSV file: {problem}.", hint=hint) from None
    titles = reader.fieldnames or ()
    if "model" not in titles or "accuracy" not in titles or set(titles) - set(_KNOWN):
        shown = printable(", ".join(titles))[:200]
        raise UsageError(f"{path} has the columns {shown or 'of an empty file'}.", hint=hint)
    found: dict[str, Own] = {}
    for number, record in enumerate(records, 2):
        where = f"Line {number} of {path}"
        name = record["model"] or ""
        if not name or name in found or None in record:
            what = "names no model" if not name else f"names {printable(name)[:80]!r} again"
            raise UsageError(f"{where} {'is too long' if None in record else what}.", hint=hint)
        found[name] = Own(
            _number(record["accuracy"], where, "accuracy", 100.0),
            record.get("metric") or "top-1",
            _number(record.get("params_m"), where, "params_m", 1e9),
            _number(record.get("macs_m"), where, "macs_m", 1e9),
        )
    return found


def _number(text: str | None, where: str, name: str, most: float) -> float | None:
    """None for an empty cell."""
    if not (text or "").strip():
        return None
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise UsageError(
            f"{where}: {name} {printable(text or '')[:40]!r} is no number from 0 to {most:g}."
        )
    return value

"""Accuracy over latency: measured points beside the published ones, as PNG, SVG or PDF."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..artifacts.names import artifact_stem
from ..errors import MissingExtraError, StoreError, UsageError
from ..system.files import write_whole
from ..system.terminal import printable
from .published import PublishedLatency
from .published import rows as published_rows
from .tables import Row

__all__ = ["Point", "Series", "make_series", "save_plot", "svg_plot"]

_NO_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""The same figures make the same file."""
SUFFIXES = (".png", ".svg", ".pdf")
_DESKTOP = ("GPU",)
"""Processors of published columns that no phone or board has."""
_UNSAID = "phone"
"""Processor of a published column where the phone chose."""
_TITLE = 80
"""Characters of a name in the legend; names come from the store."""
_MARKERS = "os^Dvp*XhP"
# Okabe and Ito's colours, which people with colour-blindness can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@dataclass(frozen=True)
class Point:
    """One model: name, milliseconds, accuracy in percent, 95 % interval where it was measured."""

    name: str
    ms: float
    accuracy: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points of one column of a paper, or of one device and runner."""

    title: str
    points: tuple[Point, ...]
    measured: bool


def make_series(
    rows: Sequence[Row], *, metric: str = "top-1", papers: Iterable[str] | None = None
) -> list[Series]:
    """The measured series, and the published ones of phones, boards and CPUs.

    The accuracy of a measured point is the published one of the same network: a file with random
    weights has the latency of a trained one and no accuracy of its own.

    Args:
        metric: of the published rows, as they spell it.
        papers: keys of `mobile_export.models.papers.PAPERS`; None takes all.
    """
    wanted = None if papers is None else set(papers)
    printed = [
        row
        for row in published_rows()
        if row.metric == metric and row.accuracy and (wanted is None or row.paper in wanted)
    ]
    accuracy: dict[str, dict[str, float]] = {}
    for row in printed:
        if row.name and row.accuracy:
            accuracy.setdefault(artifact_stem(row.name), {})[row.paper] = row.accuracy
    return [*_measured(rows, accuracy), *_published(printed)]


def _measured(rows: Sequence[Row], accuracy: dict[str, dict[str, float]]) -> list[Series]:
    groups: dict[str, list[Point]] = {}
    for row in rows:
        m = row.measurement
        stem = artifact_stem(m.model)
        if row.median_ms is None or stem not in accuracy:
            continue
        threads = m.runner["threads"]
        plural = "thread" if threads == 1 else "threads"
        where = printable(m.device.soc or m.device.spec)[:_TITLE]
        title = f"{where}, {printable(m.runner['version'])[:_TITLE]}, {threads} {plural}"
        low, high = (None, None) if row.interval is None else (x / 1e6 for x in row.interval)
        points = groups.setdefault(title, [])
        differ = len(set(accuracy[stem].values())) > 1
        for paper, value in accuracy[stem].items() if differ else [*accuracy[stem].items()][:1]:
            name = f"{stem} ({paper})" if differ else stem
            points.append(Point(name, row.median_ms, value, low, high))
    return [Series(f"measured: {title}", tuple(points), True) for title, points in groups.items()]


def _published(printed: Sequence[PublishedLatency]) -> list[Series]:
    groups: dict[str, list[Point]] = {}
    for row in printed:
        if row.latency_ms is None or row.accuracy is None or row.processor in _DESKTOP:
            continue
        where = row.device if row.processor == _UNSAID else f"{row.device} {row.processor}"
        precision = f", {row.precision}" if row.precision else ""
        title = f"published: {row.paper}, {row.place}, {where}{precision}"
        name = artifact_stem(row.name) if row.name else row.model
        groups.setdefault(title, []).append(Point(name, row.latency_ms, row.accuracy))
    return [Series(title, tuple(points), False) for title, points in groups.items()]


def save_plot(series: Sequence[Series], path: Path, *, metric: str = "top-1") -> None:
    """Write a PNG, SVG or PDF file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        UsageError: another suffix, or there is nothing to draw.
        StoreError: the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is no plot.", hint=f"Valid suffixes: {', '.join(SUFFIXES)}.")
    data = _draw(series, metric, path.suffix[1:])
    write_whole(path, data, error=StoreError)


def svg_plot(series: Sequence[Series], *, metric: str = "top-1") -> str:
    """An ``<svg>`` element with a title for screen readers, to be put into HTML."""
    text = _draw(series, metric, "svg").decode()
    text = text[text.index("<svg") :]
    end = text.index(">") + 1
    opening = text[: end - 1] + ' role="img" aria-labelledby="plot-title">'
    return f'{opening}<title id="plot-title">{metric} accuracy over latency</title>{text[end:]}'


def _draw(series: Sequence[Series], metric: str, kind: str) -> bytes:
    if find_spec("matplotlib") is None:
        raise MissingExtraError("A plot", "matplotlib", "plot")
    if not any(one.points for one in series):
        raise UsageError(
            "There is nothing to draw: no published and no measured model of that kind.",
            hint=f"Published figures have the metrics {', '.join(_metrics())}.",
        )
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes = figure.subplots()
    for index, one in enumerate(series):
        _draw_series(axes, one, _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)])
    _label_points(axes, series)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if str(value)[0] in "25" else "")
    axes.set_xlabel("latency of one inference, ms (logarithmic)")
    axes.set_ylabel(f"{metric} accuracy as published, %")
    axes.grid(True, which="major", alpha=0.3)
    axes.grid(True, which="minor", alpha=0.12)
    legend = figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is one
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=150, metadata=_NO_DATE.get(kind))
    return stream.getvalue()


def _draw_series(axes: Any, series: Series, colour: str, marker: str) -> None:
    points = sorted(series.points, key=lambda point: point.ms)
    x, y = [point.ms for point in points], [point.accuracy for point in points]
    if series.measured:
        errors = [
            [p.ms - (p.low if p.low is not None else p.ms) for p in points],
            [(p.high if p.high is not None else p.ms) - p.ms for p in points],
        ]
        axes.errorbar(
            x, y, xerr=errors, fmt=marker, color=colour, markersize=10, capsize=3,
            markeredgecolor="black", label=series.title, zorder=3,
        )  # fmt: skip
    else:
        axes.scatter(
            x, y, marker=marker, s=26, facecolors="none", edgecolors=colour, label=series.title
        )


def _label_points(axes: Any, series: Sequence[Series]) -> None:
    """The name of each measured model, once, and of the published points of the same network."""
    measured: dict[str, Point] = {}
    for point in sorted((p for s in series if s.measured for p in s.points), key=lambda p: p.ms):
        measured[point.name] = point
    for point in measured.values():
        _label(axes, point, size=9, weight="bold", colour="black")
    for one in series:
        for point in one.points:
            if not one.measured and point.name in measured:
                _label(axes, point, size=7, weight="normal", colour="dimgrey")


def _label(axes: Any, point: Point, *, size: int, weight: str, colour: str) -> None:
    axes.annotate(
        point.name, (point.ms, point.accuracy), xytext=(8, 0), textcoords="offset points",
        verticalalignment="center", fontsize=size, fontweight=weight, color=colour,
    )  # fmt: skip


def _metrics() -> list[str]:
    """Of the published latencies that are drawn."""
    drawn = (r for r in published_rows() if r.latency_ms and r.processor not in _DESKTOP)
    return sorted({row.metric for row in drawn if row.metric})

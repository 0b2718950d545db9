"""Accuracy over latency: measured points beside the published ones, as PNG, SVG, PDF or PGF.

Points of one family are joined by a line. A measured point that is flagged is crossed out. Labels
are put where they cover neither each other nor a point.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts.names import artifact_stem
from ..errors import StoreError, UsageError
from ..models.table import entries
from ..system.files import write_whole
from ..system.install import missing_extra
from ..system.terminal import printable
from .layout import latex_escaped
from .published import PublishedLatency
from .published import rows as published_rows
from .tables import Row, is_official, shown_flags, size_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Point",
    "Series",
    "family_of",
    "make_figure",
    "make_series",
    "require_metric",
    "save_plot",
    "svg_plot",
    "unmeasured_note",
]

_NO_DATE: Mapping[str, Any] = {
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
}
"""The same figures make the same file."""
SUFFIXES = (".png", ".svg", ".pdf", ".pgf")
_LATEX = ("pdflatex", "xelatex", "lualatex")
"""What matplotlib measures the text of a PGF file with."""
_DESKTOP = ("GPU",)
"""Processors of published columns that no phone or board has."""
_UNSAID = "phone"
"""Processor of a published column where the phone chose."""
_TITLE = 80
"""Characters of a name in the legend; names come from the store."""
_MARKERS = "os^Dvp*XhP"
# Okabe and Ito's colours, which people with colour-blindness can tell apart, for what was measured;
# greys for what papers print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GREYS = ("#555555", "#858585", "#b0b0b0")


@dataclass(frozen=True)
class Point:
    """One model: name, milliseconds, accuracy in percent, 95 % interval where it was measured.

    Attributes:
        family: of the network; a line joins its points.
        flags: what keeps the figure from being trusted; empty when it is.
    """

    name: str
    ms: float
    accuracy: float
    low: float | None = None
    high: float | None = None
    family: str = ""
    flags: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one column of a paper, or of one device and runner."""

    title: str
    points: tuple[Point, ...]
    measured: bool


def make_series(
    rows: Sequence[Row],
    *,
    metric: str = "top-1",
    papers: Iterable[str] | None = None,
    own: Mapping[str, float] | None = None,
) -> list[Series]:
    """The measured series, and the published ones of phones, boards and CPUs.

    The accuracy of a measured point is the published one of the same network, of images of the same
    size and as many classes: a file with random weights has the latency of a trained one and no
    accuracy of its own.

    Args:
        metric: of the published rows, as they spell it.
        papers: keys of `mobile_export.models.papers.PAPERS`; None takes all.
        own: by the model's name, the user's accuracy in percent, instead of the published one.
    """
    wanted = None if papers is None else set(papers)
    printed = [
        row
        for row in published_rows()
        if row.metric == metric and row.accuracy and (wanted is None or row.paper in wanted)
    ]
    mine = {artifact_stem(name): value for name, value in (own or {}).items()}
    by_stem: dict[str, list[PublishedLatency]] = {}
    for one in printed:
        if one.name:
            by_stem.setdefault(artifact_stem(one.name), []).append(one)
    return [*_measured(rows, by_stem, mine), *_published(printed)]


def _accuracies(
    row: Row, printed: Mapping[str, Sequence[PublishedLatency]], own: Mapping[str, float]
) -> dict[str, float]:
    """The user's own, or by its paper what is published of the network, on images as large and of
    as many classes as were measured.

    Args:
        printed: by the stem of the network.
    """
    stem = artifact_stem(row.measurement.model)
    if stem in own:
        return {"own": own[stem]}
    if not is_official(row):
        return {}
    return {
        one.paper: one.accuracy
        for one in printed.get(stem, ())
        if one.accuracy and one.size in (None, size_of(row))
    }


def _measured(
    rows: Sequence[Row],
    printed: Mapping[str, Sequence[PublishedLatency]],
    own: Mapping[str, float],
) -> list[Series]:
    groups: dict[str, list[Point]] = {}
    for row in rows:
        m = row.measurement
        stem = artifact_stem(m.model)
        accuracy = _accuracies(row, printed, own)
        if row.median_ms is None or not accuracy:
            continue
        threads = m.runner["threads"]
        plural = "thread" if threads == 1 else "threads"
        where = printable(m.device.soc or m.device.spec)[:_TITLE]
        title = f"{where}, {printable(m.runner['version'])[:_TITLE]}, {threads} {plural}"
        low, high = (None, None) if row.interval is None else (x / 1e6 for x in row.interval)
        points = groups.setdefault(title, [])
        differ = len(set(accuracy.values())) > 1
        for paper, value in accuracy.items() if differ else [*accuracy.items()][:1]:
            name = f"{stem} ({paper})" if differ else stem
            flags = "" if m.trusted else shown_flags(row)
            points.append(Point(name, row.median_ms, value, low, high, family_of(stem), flags))
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
        point = Point(name, row.latency_ms, row.accuracy, family=family_of(name))
        groups.setdefault(title, []).append(point)
    return [Series(title, tuple(points), False) for title, points in groups.items()]


_STEM = re.compile(r"[A-Za-z]+?(?=[Vv]\d|[-+_ \d]|$)")


def family_of(name: str) -> str:
    """Of a built-in model, as its row says; else the part of the name in front of the variant:
    ``mobilenet`` of ``mobilenetv2_100``."""
    known = {entry.name: entry.family for entry in entries()}
    found = _STEM.match(name)
    return known.get(name) or (found[0].lower() if found else name)


def require_metric(metric: str, own: Iterable[str]) -> None:
    """Check that there is an accuracy of this name.

    Args:
        own: what the user's own figures are of.

    Raises:
        UsageError: nobody prints it with a latency, and the user has none.
    """
    known = dict.fromkeys([*_metrics(), *own])
    if metric not in known:
        raise UsageError(
            f"No latency is published with the accuracy {metric!r}.",
            hint=f"Valid: --metric {', '.join(map(printable, known))}, or what the column metric "
            "of --accuracy FILE.csv has.",
        )


def unmeasured_note(series: Sequence[Series], rows: Sequence[Row], metric: str) -> list[str]:
    """Why a plot shows no measured point, though something was measured; else nothing."""
    if not rows or any(one.points for one in series if one.measured):
        return []
    sized = ((printable(row.measurement.model), "x".join(map(str, size_of(row)))) for row in rows)
    names = ", ".join(dict.fromkeys(f"{name} at {size}" for name, size in sized))
    return [
        f"the plot has no measured point: no accuracy ({metric}) is published of {names}. Give "
        "yours: --accuracy FILE.csv, with the columns model and accuracy"
    ]


def save_plot(
    series: Sequence[Series],
    path: Path,
    *,
    metric: str = "top-1",
    labels: tuple[str, str] | None = None,
) -> None:
    """Write a PNG, SVG, PDF or PGF file.

    Args:
        labels: of the axes, where they are not latency and accuracy.

    Raises:
        MissingExtraError: matplotlib is not installed.
        UsageError: another suffix, or there is nothing to draw.
        StoreError: the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is no plot.", hint=f"Valid suffixes: {', '.join(SUFFIXES)}.")
    data = _draw(series, metric, path.suffix[1:], labels)
    write_whole(path, data, error=StoreError)


def svg_plot(
    series: Sequence[Series], *, metric: str = "top-1", labels: tuple[str, str] | None = None
) -> str:
    """An ``<svg>`` element with a title for screen readers, to be put into HTML."""
    text = _draw(series, metric, "svg", labels).decode()
    text = text[text.index("<svg") :]
    end = text.index(">") + 1
    opening = text[: end - 1] + ' role="img" aria-labelledby="plot-title">'
    title = f"{metric} accuracy over latency" if labels is None else " over ".join(labels[::-1])
    return f'{opening}<title id="plot-title">{title}</title>{text[end:]}'


def _draw(
    series: Sequence[Series], metric: str, kind: str, labels: tuple[str, str] | None = None
) -> bytes:
    if find_spec("matplotlib") is None:
        raise missing_extra("A plot", "matplotlib", "plot")
    if not any(one.points for one in series):
        raise UsageError(
            "There is nothing to draw: no published and no measured model of that kind.",
            hint=f"Published figures have the metrics {', '.join(_metrics())}.",
        )
    import matplotlib as mpl

    texts = latex_escaped if kind == "pgf" else str
    with mpl.rc_context(_pgf_settings() if kind == "pgf" else {}):
        stream = io.BytesIO()
        try:
            figure = make_figure(series, metric, texts, labels)
            figure.savefig(stream, format=kind, dpi=150, **_NO_DATE.get(kind, {}))
        except RuntimeError as problem:
            raise UsageError(
                f"LaTeX could not measure the text of a PGF file: {str(problem).splitlines()[0]}",
                hint="It needs the packages pgf and lmodern; .pdf and .svg need no LaTeX.",
            ) from problem
    return stream.getvalue()


def make_figure(
    series: Sequence[Series],
    metric: str = "top-1",
    texts: Callable[[str], str] = str,
    labels: tuple[str, str] | None = None,
) -> Figure:
    """The drawing, with the places of all labels settled.

    Args:
        texts: makes a name ready for the writer of the file.
        labels: of the axes, where they are not latency and accuracy.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes = figure.subplots()
    for measured, colours in ((True, _COLOURS), (False, _GREYS)):
        for index, one in enumerate(one for one in series if one.measured == measured):
            colour, marker = colours[index % len(colours)], _MARKERS[index % len(_MARKERS)]
            _draw_series(axes, one, texts(one.title), colour, marker)
    _cross_flagged(axes, series, texts)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if str(value)[0] in "25" else "")
    named = labels or ("latency of one inference, ms (logarithmic)", f"{metric} accuracy, %")
    axes.set_xlabel(texts(named[0]))
    axes.set_ylabel(texts(named[1]))
    axes.grid(True, which="major", alpha=0.3)
    axes.grid(True, which="minor", alpha=0.12)
    legend = figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is one
    _label_points(figure, axes, series, texts)
    return figure


def _pgf_settings() -> dict[str, object]:
    """matplotlib's, for a file that takes the fonts of the paper that inputs it.

    Raises:
        UsageError: there is no LaTeX here.
    """
    program = next((name for name in _LATEX if shutil.which(name)), None)
    if program is None:
        raise UsageError(
            "A PGF file needs LaTeX, which measures its text.",
            hint="Install it (apt-get install texlive-latex-recommended texlive-pictures lmodern), "
            "or write a .pdf or .svg file.",
        )
    return {"pgf.texsystem": program, "pgf.rcfonts": False}


def _draw_series(axes: Any, series: Series, title: str, colour: str, marker: str) -> None:
    points = sorted(series.points, key=lambda point: point.ms)
    x, y = [point.ms for point in points], [point.accuracy for point in points]
    if series.measured:
        errors = [
            [p.ms - (p.low if p.low is not None else p.ms) for p in points],
            [(p.high if p.high is not None else p.ms) - p.ms for p in points],
        ]
        axes.errorbar(
            x, y, xerr=errors, fmt=marker, color=colour, markersize=10, capsize=3,
            markeredgecolor="black", label=title, zorder=3,
        )  # fmt: skip
    else:
        axes.scatter(x, y, marker=marker, s=26, facecolors="none", edgecolors=colour, label=title)
    for family in dict.fromkeys(point.family for point in points):
        line = [point for point in points if point.family == family]
        if family and len(line) > 1:
            strong = 1.4 if series.measured else 0.7
            axes.plot(
                [point.ms for point in line], [point.accuracy for point in line],
                color=colour, linewidth=strong, alpha=0.5, zorder=1,
            )  # fmt: skip


def _cross_flagged(axes: Any, series: Sequence[Series], texts: Callable[[str], str]) -> None:
    """A cross over every point that is flagged, and what it means in the legend."""
    flagged = [point for one in series for point in one.points if point.flags]
    if flagged:
        words = ", ".join(dict.fromkeys(w for point in flagged for w in point.flags.split(", ")))
        axes.scatter(
            [point.ms for point in flagged], [point.accuracy for point in flagged], marker="x",
            s=160, color="black", linewidths=2, zorder=4, label=texts(f"flagged: {words}"[:_TITLE]),
        )  # fmt: skip


def _label_points(
    figure: Any, axes: Any, series: Sequence[Series], texts: Callable[[str], str]
) -> None:
    """The name of each measured model, once, and of the published points of the same network."""
    measured: dict[str, Point] = {}
    for point in sorted((p for s in series if s.measured for p in s.points), key=lambda p: p.ms):
        measured[point.name] = point
    published = [p for s in series if not s.measured for p in s.points if p.name in measured]
    figure.draw_without_rendering()  # so that places on the page are known
    taken = [
        _around(axes, point, _RADIUS_MEASURED if one.measured else _RADIUS)
        for one in series
        for point in one.points
    ]
    for point in measured.values():
        _label(axes, texts(point.name), point, taken, size=9, weight="bold", colour="black")
    for point in published:
        _label(axes, texts(point.name), point, taken, size=7, weight="normal", colour="dimgrey")
    figure.set_layout_engine("none")  # the places of the labels are those of this layout


_Box = tuple[float, float, float, float]
_RADIUS, _RADIUS_MEASURED = 5.0, 8.0
"""Of a marker, in points."""
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_DISTANCES = (9.0, 14.0, 22.0, 32.0, 44.0, 58.0, 74.0, 92.0)
"""Points between a label and what it names; from the second on, a line leads there."""


def _around(axes: Any, point: Point, points: float) -> _Box:
    """Left, bottom, right and top of its marker on the page."""
    x, y = axes.transData.transform((point.ms, point.accuracy))
    radius = points * axes.figure.dpi / 72
    return x - radius, y - radius, x + radius, y + radius


def _label(
    axes: Any, text: str, point: Point, taken: list[_Box], *, size: int, weight: str, colour: str
) -> None:
    """Put a label at the nearest free place around its point, and add it to ``taken``.

    Where no place is free the label is left out: the tables have the name.
    """
    label = axes.annotate(
        text, (point.ms, point.accuracy), xytext=(0, 0), textcoords="offset points",
        fontsize=size, fontweight=weight, color=colour, parse_math=False,
        horizontalalignment="center", verticalalignment="center",
    )  # fmt: skip
    extent = label.get_window_extent()
    scale = axes.figure.dpi / 72
    half_width, half_height = extent.width / 2, extent.height / 2
    x, y = axes.transData.transform((point.ms, point.accuracy))
    inside = axes.bbox.extents
    for distance in _DISTANCES:
        for right, up in _DIRECTIONS:
            dx = right * (distance * scale + half_width)
            dy = up * (distance * scale + half_height)
            box = (
                x + dx - half_width,
                y + dy - half_height,
                x + dx + half_width,
                y + dy + half_height,
            )
            if not _within(box, inside) or any(_overlap(box, other) for other in taken):
                continue
            label.set_position((dx / scale, dy / scale))
            taken.append(box)
            if distance > _DISTANCES[0]:
                axes.annotate(
                    "", (point.ms, point.accuracy), xytext=(dx / scale, dy / scale),
                    textcoords="offset points", zorder=0,
                    arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.4, "lw": 0.6},
                )  # fmt: skip
            return
    label.remove()


def _within(box: _Box, outer: _Box) -> bool:
    return outer[0] <= box[0] and outer[1] <= box[1] and box[2] <= outer[2] and box[3] <= outer[3]


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _metrics() -> list[str]:
    """Of the published latencies that are drawn."""
    drawn = (r for r in published_rows() if r.latency_ms and r.processor not in _DESKTOP)
    return sorted({row.metric for row in drawn if row.metric})

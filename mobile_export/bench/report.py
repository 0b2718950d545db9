"""Every measurement as a table: terminal, Markdown, CSV, LaTeX, and a page of HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .. import __version__
from ..system.terminal import printable
from . import layout
from .devices.device import DeviceInfo
from .layout import Column, Grid
from .record import FLAGS
from .tables import Row, shown_flags, shown_type, shown_width

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "FORMATS",
    "as_csv",
    "as_html",
    "as_latex",
    "as_markdown",
    "cores_text",
    "grid",
    "operators_grid",
    "page",
    "terminal_parts",
]


@dataclass(frozen=True)
class _Cell:
    title: str
    text: Callable[[Row], str]
    number: bool = False
    shared: bool = False
    spare: int = 0
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def column(self) -> Column:
        return Column(self.title, self.number, self.shared, self.spare, self.words)


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _milliseconds(value: float | None) -> str:
    """Two decimals, or as many as leave two digits of a time below 0.1 ms."""
    if value is None or not 0 < value < 0.0995:
        return _number(value)
    return _number(value, 1 - math.floor(math.log10(value)))


def _percentile(name: str) -> Callable[[Row], str]:
    return lambda row: _milliseconds(row.to_dict()[name])


def _backend(row: Row) -> str:
    """Empty for the CPU; with the share of nodes where not all were given to the accelerator."""
    name = row.measurement.runner["backend"]
    share = row.delegated
    if name == "cpu":
        return ""
    return name if share is None or share >= 1 else f"{name}, {share:.0%} of nodes"


def _instructions(row: Row) -> str:
    if row.measurement.unit == "ns" or row.summary is None:
        return ""
    return f"{row.summary.median / 1e6:,.2f}"


_FLAGS = {flag.replace("_", " "): meaning for flag, meaning in FLAGS.items()}
_CELLS = (
    _Cell("file", lambda row: row.measurement.artifact["file"]),
    _Cell("type", shown_type, shared=True),
    _Cell("device", lambda row: row.measurement.device.spec, shared=True),
    _Cell("runs in", lambda row: row.measurement.runner["version"], shared=True),
    _Cell("backend", _backend, shared=True),
    _Cell("threads", lambda row: str(row.measurement.runner["threads"]), True, shared=True),
    _Cell("M instructions", _instructions, True),
    _Cell("median ms", lambda row: _milliseconds(row.median_ms), True),
    _Cell("95 %", shown_width, True),
    _Cell("flags", shown_flags, words=_FLAGS),
    _Cell("output", lambda row: row.to_dict()["output"], shared=True),
    _Cell("p90", _percentile("p90_ms"), True, spare=1),
    _Cell("p99", _percentile("p99_ms"), True, spare=2),
    _Cell("runs", lambda row: str(len(row.measurement.samples) or ""), True, spare=4),
    _Cell("load ms", lambda row: _number(row.to_dict()["load_ms"], 0), True, spare=3),
    _Cell("memory MB", lambda row: _number(row.to_dict()["peak_memory_mb"], 0), True, spare=5),
)


def grid(rows: Sequence[Row]) -> Grid:
    """A line per measurement; the columns with something in them, and always the figure."""
    columns = tuple(cell.column for cell in _CELLS)
    lines = tuple(tuple(cell.text(row) for cell in _CELLS) for row in rows)
    flagged = tuple(not row.measurement.trusted for row in rows)
    return Grid(columns, lines, flagged).filled(["median ms"])


def terminal_parts(rows: Sequence[Row]) -> list[RenderableType]:
    """For a terminal, to be printed one after the other."""
    return layout.terminal(grid(rows))


def as_markdown(rows: Sequence[Row]) -> str:
    """A pipe table."""
    return layout.markdown_text_of(grid(rows))


def as_csv(rows: Sequence[Row]) -> str:
    """Every field of `Row.to_dict`, full precision."""
    return layout.csv_text([row.to_dict() for row in rows])


def as_latex(rows: Sequence[Row]) -> str:
    """A tabular with the rules of the package booktabs."""
    return layout.latex_text(grid(rows))


def operators_grid(rows: Sequence[Row]) -> Grid:
    """A line per kind of operator of every measurement that has them, the slowest first."""
    columns = (
        Column("file"),
        *(Column(title, shared=True) for title in ("device", "backend")),
        Column("operator"),
        *(Column(title, number=True) for title in ("count", "ms", "share")),
    )
    lines = []
    for row in rows:
        m = row.measurement
        where = (m.artifact["file"], m.device.spec, m.runner["backend"])
        found = _operators(row)
        for name, count, milliseconds, share in sorted(found, key=lambda one: -one[2]):
            lines.append((*where, name, str(count), f"{milliseconds:.3f}", f"{share:.1%}"))
    return Grid(columns, tuple(lines), (False,) * len(lines))


def _operators(row: Row) -> list[tuple[str, int, float, float]]:
    """Kind, count, milliseconds and share; a store may hold anything there."""
    told = row.measurement.extra.get("operators")
    try:
        return [
            (str(o["operator"]), int(o["count"]), float(o["ms"]), float(o["share"]))
            for o in (told if isinstance(told, list) else ())
        ]
    except (KeyError, TypeError, ValueError, OverflowError):
        return []


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff }
table { border-collapse: collapse; font-size: 14px } .scroll { overflow-x: auto; margin: 1rem 0 }
caption { text-align: left; padding-bottom: .5rem; font-weight: 600; font-size: 16px }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #ccc; text-align: left;
  vertical-align: top; overflow-wrap: anywhere }
th { overflow-wrap: normal } th:not(.number) { min-width: 4rem }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.flagged { background: #fff3cd }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem }
dt { font-weight: 600 }
dd { margin: 0; overflow-wrap: anywhere }
figure { margin: 2rem 0 } figure svg { max-width: 100%; height: auto }
@media (max-width: 40rem) {
  thead { display: none } table, caption, tbody, tr, td { display: block }
  tr { border-bottom: 2px solid #888; padding: .5rem 0 } td:empty { display: none }
  td, td.number { border: 0; padding: 0 0 0 8rem; text-align: left; white-space: normal;
    position: relative }
  td::before { content: attr(data-title); position: absolute; left: 0; font-weight: 600 } }
@media (prefers-color-scheme: dark) {
  body { color: #e8e8e8; background: #161616 } .flagged { background: #4d3f00 }
  figure svg { background: #fff } }
"""
_CAPTION = "Latency of one inference: median, its 95 % interval, percentiles"


def as_html(
    rows: Sequence[Row],
    *,
    title: str,
    plot: str | None = None,
    table: Grid | None = None,
    caption: str = _CAPTION,
    empty: str | None = None,
) -> str:
    """One file that needs no other.

    Args:
        plot: SVG text.
        table: to be shown instead of that of `grid`.
        empty: why there are no rows.
    """
    shown = layout.html_table(table or grid(rows), caption)
    if not rows:
        shown = f"<p>{html.escape(empty or 'There is no measurement')}.</p>\n"
    figure = ""
    if plot is not None:
        says = "Accuracy over latency. The points are in the tables of the papers and above."
        figure = f"<figure>{plot}<figcaption>{says}</figcaption></figure>"
    remarks = f"{_parity_text(rows)}{_devices_text(rows)}"
    return _page(title, f"{shown}{_flags_text(rows)}{figure}\n{remarks}")


def page(title: str, table: str, figure: str | None) -> str:
    """One file that needs no other.

    Args:
        table: an element.
        figure: SVG text.
    """
    drawn = "" if figure is None else f"<figure>{figure}</figure>\n"
    return _page(title, f"{table}{drawn}")


def _page(title: str, content: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style></head>
<body>
<h1>{html.escape(title)}</h1>
{content}<footer>Written by mobile-export {__version__}, \
{datetime.now(UTC):%Y-%m-%d %H:%M} UTC.</footer>
</body></html>
"""


def _flags_text(rows: Sequence[Row]) -> str:
    """What the flags in the table mean."""
    seen = sorted({flag for row in rows for flag in row.measurement.flags})
    if not seen:
        return ""
    pairs = [(flag.replace("_", " "), FLAGS.get(flag, "of another version")) for flag in seen]
    return f"<h2>Flags</h2>\n{_definitions(pairs)}"


def _parity_text(rows: Sequence[Row]) -> str:
    """How far each file was from its model when it was exported, as its manifest says."""
    pairs = {}
    for row in rows:
        told = row.measurement.parity
        figures = [told.get(name) for name in ("max_rel", "tolerance")]
        if isinstance(told.get("verdict"), str):
            said = [
                f"{float(f):.1e}" if isinstance(f, int | float) else "not told" for f in figures
            ]
            where = f" in {told['runtime']}" if told.get("runtime") else ""
            text = (
                f"{told['verdict']}{where}: error {said[0]} of the output range, {said[1]} allowed"
            )
            pairs[row.measurement.artifact["file"]] = text
    return f"<h2>Parity with the model</h2>\n{_definitions(list(pairs.items()))}" if pairs else ""


def _devices_text(rows: Sequence[Row]) -> str:
    """What was measured on: a list of facts for every device."""
    parts = []
    for spec in dict.fromkeys(row.measurement.device.spec for row in rows):
        of_device = [row for row in rows if row.measurement.device.spec == spec]
        parts.append(f"<h3>{html.escape(printable(spec))}</h3>\n{_definitions(_facts(of_device))}")
    return "<h2>Devices</h2>\n" + "".join(parts) if parts else ""


def _facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Of one device: what it is, how it ran, when, and with which versions."""
    measured = [row.measurement for row in rows]
    info = measured[-1].device
    dates = sorted(m.time[:16].replace("T", " ") for m in measured)
    governors = sorted({m.before.governor for m in measured if m.before.governor})
    degrees = [s.temperature_c for m in measured for s in (m.before, m.after)]
    known = [one for one in degrees if one is not None]
    runtimes = dict.fromkeys(m.runner["version"] for m in measured)
    tools = dict.fromkeys(f"{name} {v}" for m in measured for name, v in m.versions.items())
    memory = "" if info.memory_mb is None else f"{info.memory_mb / 1024:.1f} GiB"
    facts = [
        ("name", info.name),
        ("SoC", info.soc or "not told"),
        ("cores", cores_text(info) or "not told"),
        ("system", f"{info.os}, {info.arch}"),
        ("memory", memory or "not told"),
        ("governor", ", ".join(governors)),
        ("temperature", f"{min(known):.0f} to {max(known):.0f} °C" if known else "not told"),
        ("measured", " to ".join(dict.fromkeys((dates[0], dates[-1]))) + " UTC"),
        ("runtimes", ", ".join(runtimes)),
        ("versions", ", ".join(tools)),
    ]
    return [(name, text) for name, text in facts if text]


def cores_text(info: DeviceInfo) -> str:
    """``4x Cortex-A55 1.80 GHz + 4x Cortex-A76 2.40 GHz``."""
    parts = []
    for cluster in info.clusters:
        name = f" {cluster.name}" if cluster.name else ""
        clock = f" {cluster.max_mhz / 1000:.2f} GHz" if cluster.max_mhz else ""
        parts.append(f"{len(cluster.cores)}x{name}{clock}".strip())
    return " + ".join(parts)


def _definitions(pairs: Sequence[tuple[str, str]]) -> str:
    items = (
        f"<dt>{html.escape(printable(name))}</dt><dd>{html.escape(printable(text))}</dd>\n"
        for name, text in pairs
    )
    return f"<dl>\n{''.join(items)}</dl>\n"


FORMATS = ("terminal", "markdown", "csv", "latex", "html")
"""What ``mobile-bench table --as`` knows."""

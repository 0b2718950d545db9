"""Rows of tables: measurements summarised, the latest of each kind, the flagged ones left out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from ..models.table import entries
from ..system.terminal import printable
from .record import EXCLUDING_FLAGS, Measurement
from .stats import Summary, mean_interval, summarise

__all__ = [
    "Row",
    "is_official",
    "key_of",
    "make_rows",
    "official_classes",
    "shown_flags",
    "shown_type",
    "shown_width",
    "size_of",
    "why_empty",
]

_CLASSES = 1000
"""That timm's models tell apart, unless asked otherwise."""


@dataclass(frozen=True)
class Row:
    """One measurement, as tables show it; times in milliseconds."""

    measurement: Measurement

    @cached_property
    def summary(self) -> Summary | None:
        """Of the raw samples; None when there are none."""
        starts = self.measurement.samples_of_starts
        return summarise(starts) if starts else None

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the figure, in its unit; also of what a tool printed at every start."""
        return mean_interval(self.measurement.start_medians)

    @property
    def half_width(self) -> float:
        """Of the interval, relative to the figure; infinity without an interval."""
        if self.interval is None:
            return math.inf
        low, high = self.interval
        return (high - low) / (high + low)

    @property
    def median_ms(self) -> float | None:
        """Mean over the starts of their medians, measured or printed by the tool."""
        medians = self.measurement.start_medians
        if self.measurement.unit != "ns" or not medians:
            return None
        return statistics.fmean(medians) / 1e6

    @property
    def delegated(self) -> float | None:
        """Share of the graph's nodes that an accelerator did, where the tool says so."""
        extra = self.measurement.extra
        done, nodes = extra.get("delegated_nodes"), extra.get("nodes")
        return done / nodes if isinstance(done, int) and isinstance(nodes, int) and nodes else None

    @property
    def label(self) -> str:
        """Of a point in a plot."""
        return f"{self.measurement.model} ({self.measurement.artifact['format']})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, and the columns of the CSV file."""
        return {**self._conditions(), **self._figures(), **self._remarks()}

    def _conditions(self) -> dict[str, Any]:
        """What was measured, and how it was executed."""
        m = self.measurement
        return {
            "model": m.model,
            "file": m.artifact["file"],
            "format": m.artifact["format"],
            "precision": m.artifact["precision"],
            "device": m.device.spec,
            "soc": m.device.soc,
            "runner": m.runner["version"],
            "backend": m.runner["backend"],
            "threads": m.runner["threads"],
            "cores": m.runner["cores"],
            "arithmetic": m.runner["precision"],
        }

    def _figures(self) -> dict[str, Any]:
        """Times in milliseconds, or a count, and the memory."""
        m, s = self.measurement, self.summary
        low, high = self.interval or (None, None)
        times = [low, high, *((None,) * 3 if s is None else (s.p90, s.p99, s.minimum))]
        names = ("low_ms", "high_ms", "p90_ms", "p99_ms", "min_ms")
        return {
            "median_ms": None if self.median_ms is None else round(self.median_ms, 6),
            **{name: self._ms(value) for name, value in zip(names, times, strict=True)},
            "count": None if m.unit == "ns" or s is None else s.median,
            "unit": m.unit,
            "runs": len(m.samples),
            "starts": len(m.start_medians),
            "outliers": None if s is None else s.outliers,
            "load_ms": self._ms(m.load_ns),
            "peak_memory_mb": None if m.peak_memory is None else round(m.peak_memory / 2**20, 1),
        }

    def _remarks(self) -> dict[str, Any]:
        """Whether the output was right, what keeps the figures from being believed, and which
        record this is.
        """
        m = self.measurement
        return {
            "output": "unchecked" if m.check is None else ("ok" if m.check.passed else "wrong"),
            "delegated": self.delegated,
            "max_rel": None if m.check is None else m.check.max_rel,
            "flags": list(m.flags),
            "label": m.label,
            "time": m.time,
            "run": m.run,
            "sha256": m.artifact["sha256"],
        }

    def _ms(self, value: float | None) -> float | None:
        """Nanoseconds in milliseconds; None for None, and where the unit is a count."""
        return None if value is None or self.measurement.unit != "ns" else round(value / 1e6, 6)


def shown_width(row: Row) -> str:
    """Half of the interval, relative: ``±1.2%``."""
    return f"±{row.half_width:.1%}" if math.isfinite(row.half_width) else ""


def size_of(row: Row) -> tuple[int, int]:
    """(height, width) of the input in pixels."""
    height, width = (1, 1, *row.measurement.artifact["input_shape"])[-2:]
    return height, width


@cache
def official_classes() -> Mapping[str, int | None]:
    """By the name of every built-in model."""
    return {entry.name: entry.num_classes for entry in entries()}


def is_official(row: Row) -> bool:
    """The file tells as many classes apart as the network that the papers print."""
    m = row.measurement
    return m.artifact.get("classes") in (None, official_classes().get(m.model, _CLASSES))


def shown_type(row: Row) -> str:
    """Precision of the file, and of the arithmetic where that is lower or not known."""
    stored, computed = row.measurement.artifact["precision"], row.measurement.runner["precision"]
    same = computed == stored or computed not in ("fp16", "unknown")
    return str(stored) if same else f"{stored} in {computed}"


def shown_flags(row: Row) -> str:
    """As words."""
    return ", ".join(flag.replace("_", " ") for flag in row.measurement.flags)


def key_of(measurement: Measurement, *, with_model: bool = True) -> tuple[Any, ...]:
    """What must be the same for two measurements to be of the same thing."""
    runner = measurement.runner
    return (
        measurement.model if with_model else None,
        measurement.artifact["format"],
        measurement.artifact["precision"],
        tuple(measurement.artifact["input_shape"]),
        measurement.device.spec,
        runner["name"],
        runner["backend"],
        runner["precision"],
        runner["threads"],
        None if runner["cores"] is None else tuple(runner["cores"]),
        measurement.unit,
    )


def make_rows(
    measurements: Sequence[Measurement],
    *,
    flagged: bool = False,
    history: bool = False,
    devices: Sequence[str] | None = None,
    label: str | None = None,
) -> tuple[list[Row], dict[str, int]]:
    """The rows of a table, sorted by model and time.

    Args:
        flagged: also those whose flags say that the figure is not the device's.
        history: every measurement instead of the latest of each kind.
        devices: only these, or these kinds of devices; label: only those.
    Returns:
        The rows, and how many were left out per flag.
    """
    left_out: dict[str, int] = {}
    chosen: dict[tuple[Any, ...], Measurement] = {}
    for measurement in measurements:
        if devices and not {measurement.device.spec, measurement.device.kind} & set(devices):
            continue
        if label is not None and measurement.label != label:
            continue
        if not flagged and not measurement.trusted:
            for flag in EXCLUDING_FLAGS & set(measurement.flags):
                left_out[flag] = left_out.get(flag, 0) + 1
            continue
        key: tuple[Any, ...] = key_of(measurement)
        if history:
            key = (*key, measurement.time, measurement.run)
        chosen.pop(key, None)
        chosen[key] = measurement
    rows = [Row(measurement) for measurement in chosen.values()]
    rows.sort(key=lambda row: (row.measurement.device.spec, row.measurement.model))
    return rows, left_out


def why_empty(
    measurements: Sequence[Measurement], left_out: Mapping[str, int], label: str | None
) -> str:
    """Why `make_rows` gave no row of a store that holds ``measurements``.

    Args:
        left_out: as `make_rows` counted.
        label: that was asked for.
    """
    if left_out:
        counts = ", ".join(f"{n} {flag.replace('_', ' ')}" for flag, n in left_out.items())
        return (
            f"The table is empty: what was measured is flagged ({counts}), so it is not the "
            "device's figure. --all shows it; measure again on a quiet device for a better one"
        )
    labels = dict.fromkeys(m.label for m in measurements if m.label)
    has = f"it has {', '.join(map(printable, labels))}" if labels else "none has a label"
    return f"The table is empty: no measurement of the store has the label {label!r}; {has}"

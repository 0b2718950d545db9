"""From counts to milliseconds: a few prices per event, fitted on the papers' tables.

A cost model is a sum of prices times counts,

    milliseconds = price_1 * fma + price_2 * l3_misses + …

with prices that are not negative. They are fitted to one table, measured on one SoC by one paper,
so that the sum of the magnitudes of the relative errors is smallest, where every *family* of models
weighs the same: large and small models do, too, a few that the counts do not explain do not bend
the rest, and five sizes of one network say no more than one. How good it is, is said by predicting
every model from prices fitted without its family: a variant of the same network in the fit would
tell too much. The interval of that figure is a bootstrap over the families.

The counts are of onnxruntime, which runs what `mobile-bench estimate` is asked about, or of TNN,
which the papers timed. It knows nothing of clocks or of threads.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import UsageError
from ..published import PublishedLatency, rows
from .counts import ArmCount
from .stored import RUNTIMES, StoredCount, stored_counts

__all__ = [
    "SOCS",
    "TERMS",
    "Calibration",
    "CostModel",
    "Point",
    "Soc",
    "calibrate",
    "calibrate_runtime",
    "get_soc",
]

TERMS = ("fma", "l3_misses")
"""The counters that have a price: arithmetic, and lines that come from memory. docs/arm-cost.md
shows what others were tried. They were chosen on onnxruntime's counts; of TNN's, which the papers
timed, the same are priced, with nothing chosen again."""

_FAMILY = re.compile(r"Mobile-Former|[A-Za-z]+?(?=[Vv]\d|[-+\d]|$)")
_RESAMPLES = 2000
_SINGULAR = 1e-9


@dataclass(frozen=True)
class Soc:
    """A SoC with a table of single models' latencies on its CPU.

    Attributes:
        name: on the command line; title: as the paper names it.
        paper, table, column: where its milliseconds are printed.
    """

    name: str
    title: str
    paper: str
    table: str
    column: str

    def latencies(self) -> list[PublishedLatency]:
        """The rows of its table that have a figure."""
        return [
            row
            for row in rows()
            if (row.paper, row.table, row.column) == (self.paper, self.table, self.column)
            and row.latency_ms is not None
        ]


SOCS = (
    Soc("snapdragon-865", "Snapdragon 865", "SeaFormer++", "14", "cpu"),
    Soc("snapdragon-8cx-gen-3", "Snapdragon 8cx Gen 3", "FreeNet", "3", "mobile-cpu"),
)


def get_soc(name: str) -> Soc:
    """The SoC called ``name``.

    Raises:
        UsageError: no table of the papers was measured on its CPU.
    """
    for soc in SOCS:
        if soc.name == name:
            return soc
    raise UsageError(
        f"There is no table of latencies for the SoC {name!r}.",
        hint=f"Valid: {', '.join(soc.name for soc in SOCS)}. Other devices need a measurement: "
        "mobile-bench --device adb MODEL",
    )


@dataclass(frozen=True)
class CostModel:
    """Milliseconds per event of each term."""

    prices: Mapping[str, float]

    def milliseconds(self, count: ArmCount) -> float:
        """What one inference with these counts should take."""
        facts = count.to_dict()
        return sum(price * facts[term] for term, price in self.prices.items())


@dataclass(frozen=True)
class Point:
    """A model that was counted and whose latency is printed."""

    latency: PublishedLatency
    count: StoredCount

    @property
    def family(self) -> str:
        """The part of the printed name in front of version, variant and size: ``MobileViT``."""
        found = _FAMILY.match(self.latency.model)
        return found[0] if found else self.latency.model

    @property
    def milliseconds(self) -> float:
        assert self.latency.latency_ms is not None
        return self.latency.latency_ms


@dataclass(frozen=True)
class Calibration:
    """Prices for one SoC, and how far they can be believed.

    Attributes:
        points: what they were fitted on; model: fitted on all of them.
        left_out: for each point, the prediction in milliseconds of prices fitted without its
            family.
    """

    soc: Soc
    points: tuple[Point, ...]
    model: CostModel
    left_out: tuple[float, ...]

    @cached_property
    def errors(self) -> tuple[float, ...]:
        """Relative errors of `left_out`, with their sign: 0.1 is ten percent too slow."""
        return tuple(
            predicted / point.milliseconds - 1
            for predicted, point in zip(self.left_out, self.points, strict=True)
        )

    @property
    def median_error(self) -> float:
        """Median of the magnitudes of `errors`."""
        return float(np.median(np.abs(self.errors)))

    @cached_property
    def median_error_interval(self) -> tuple[float, float]:
        """95 % interval of `median_error`, by drawing whole families with replacement."""
        families = sorted({point.family for point in self.points})
        of_family = [
            [abs(e) for e, p in zip(self.errors, self.points, strict=True) if p.family == family]
            for family in families
        ]
        rng = np.random.Generator(np.random.PCG64(0))
        drawn = rng.integers(0, len(families), (_RESAMPLES, len(families)))
        medians = [np.median([e for i in draw for e in of_family[i]]) for draw in drawn]
        low, high = np.quantile(medians, (0.025, 0.975))
        return float(low), float(high)

    @property
    def worst_error(self) -> float:
        """The largest magnitude of `errors`."""
        return float(np.max(np.abs(self.errors)))

    @property
    def rank_correlation(self) -> float:
        """Spearman's, of `left_out` and the printed milliseconds."""
        return spearman(self.left_out, [point.milliseconds for point in self.points])

    @property
    def log_correlation(self) -> float:
        """Pearson's, of their logarithms."""
        printed = [point.milliseconds for point in self.points]
        return float(np.corrcoef(np.log(self.left_out), np.log(printed))[0, 1])

    def interval(self, count: ArmCount) -> tuple[float, float]:
        """Milliseconds between which the truth lies if this model errs as four of five do."""
        estimate = self.model.milliseconds(count)
        ratios = [
            point.milliseconds / predicted
            for predicted, point in zip(self.left_out, self.points, strict=True)
        ]
        low, high = np.quantile(ratios, (0.1, 0.9))
        return estimate * float(low), estimate * float(high)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "soc": self.soc.name,
            "citation": self.points[0].latency.citation,
            "runtime": self.points[0].count.runtime,
            "models": len(self.points),
            "ms_per_event": dict(self.model.prices),
            "leave_one_family_out": {
                "rank_correlation": self.rank_correlation,
                "log_correlation": self.log_correlation,
                "median_error": self.median_error,
                "median_error_95_percent": list(self.median_error_interval),
                "families": len({point.family for point in self.points}),
                "worst_error": self.worst_error,
            },
        }


def calibrate(
    soc: Soc, terms: Sequence[str] = TERMS, counts: Sequence[StoredCount] | None = None
) -> Calibration:
    """Fit prices for ``soc`` on every model of its table that was counted.

    Args:
        terms: names of counters.
        counts: the stored ones by default.
    """
    found = {
        (count.model, (count.height, count.width)): count
        for count in (stored_counts() if counts is None else counts)
    }
    points = tuple(
        Point(latency, found[latency.name, latency.size])
        for latency in soc.latencies()
        if latency.name is not None
        and latency.size is not None
        and (latency.name, latency.size) in found
    )
    without = {
        family: _fit([point for point in points if point.family != family], terms)
        for family in {point.family for point in points}
    }
    left_out = tuple(without[p.family].milliseconds(p.count.count) for p in points)
    return Calibration(soc, points, _fit(points, terms), left_out)


def calibrate_runtime(runtime: str, soc: str | None = None) -> list[Calibration]:
    """The calibrations that the stored counts of ``runtime`` allow: of one SoC, or of all.

    Args:
        runtime: of `stored.RUNTIMES`.

    Raises:
        UsageError: it was not counted, or not every model of the table of ``soc`` was.
    """
    if runtime not in RUNTIMES:
        raise UsageError(
            f"No counts of the runtime {runtime!r} are stored.",
            hint=f"Valid: --runtime {', '.join(RUNTIMES)}.",
        )
    counts = stored_counts(runtime)
    counted = {(count.model, (count.height, count.width)) for count in counts}
    whole = [
        one
        for one in SOCS
        if {(row.name, row.size) for row in one.latencies() if row.name is not None} <= counted
    ]
    asked = [get_soc(soc)] if soc else whole
    for one in asked:
        if one not in whole:
            raise UsageError(
                f"Not every model of the table of {one.title} was counted in {runtime}.",
                hint=f"Valid: --soc {', '.join(each.name for each in whole)}.",
            )
    return [calibrate(one, TERMS, counts) for one in asked]


def _fit(points: Sequence[Point], terms: Sequence[str]) -> CostModel:
    """Non-negative prices with the smallest sum of magnitudes of the relative errors, each divided
    by the number of models of its family.

    That is a linear programme: one of its solutions is exact in as many points as there are prices
    above zero. All such choices of points are tried.
    """
    facts = [point.count.count.to_dict() for point in points]
    printed = np.array([point.milliseconds for point in points])
    matrix = np.array([[float(fact[term]) for term in terms] for fact in facts]) / printed[:, None]
    scale = np.maximum(matrix.max(axis=0), 1e-300)
    members = Counter(point.family for point in points)
    weights = np.array([1 / members[point.family] for point in points])
    best: tuple[float, dict[str, float]] = (np.inf, {})
    for size in range(1, len(terms) + 1):
        exact = np.array(list(itertools.combinations(range(len(points)), size)))
        for subset in itertools.combinations(range(len(terms)), size):
            chosen = list(subset)
            part = matrix[:, chosen] / scale[chosen]
            systems = part[exact]
            lengths = np.linalg.norm(systems, axis=2).prod(axis=1)
            systems = systems[np.abs(np.linalg.det(systems)) > _SINGULAR * lengths]
            prices = np.linalg.solve(systems, np.ones((len(systems), size, 1)))[:, :, 0]
            prices = prices[(prices >= 0).all(axis=1)]
            if len(prices) == 0:
                continue
            errors = weights @ np.abs(part @ prices.T - 1)
            least = int(errors.argmin())
            if errors[least] < best[0]:
                priced = zip(chosen, prices[least] / scale[chosen], strict=True)
                best = float(errors[least]), {terms[i]: float(price) for i, price in priced}
    return CostModel({term: best[1].get(term, 0.0) for term in terms})


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation; equal values share the mean of their ranks."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    """From 1, smallest first."""
    array = np.asarray(values, dtype=float)
    below = (array[:, None] > array).sum(axis=1)
    equal = (array[:, None] == array).sum(axis=1)
    ranks: np.ndarray = below + (equal + 1) / 2
    return ranks

"""Two measurements of the same thing, before and after, or of two models on the same device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts.names import artifact_stem
from ..errors import UsageError
from .journal import read_all
from .record import Measurement
from .stats import Comparison, compare
from .tables import key_of

__all__ = ["Pair", "compare_sides", "select_side"]


@dataclass(frozen=True)
class Pair:
    """A baseline, what is compared with it, and by how much it is slower.

    Attributes:
        result: ratio of candidate to baseline: above 1, the candidate is slower.
    """

    baseline: Measurement
    candidate: Measurement
    result: Comparison

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "baseline": _name(self.baseline),
            "candidate": _name(self.candidate),
            "device": self.candidate.device.spec,
            "runner": self.candidate.runner["name"],
            "ratio": self.result.ratio,
            "low": self.result.low,
            "high": self.result.high,
            "p_value": self.result.p_value,
            "paired": self.result.paired,
            "significant": self.result.significant,
        }


def _name(measurement: Measurement) -> dict[str, Any]:
    return {
        "model": measurement.model,
        "file": measurement.artifact["file"],
        "label": measurement.label,
        "time": measurement.time,
        "sha256": measurement.artifact["sha256"],
        "run": measurement.run,
    }


def select_side(
    name: str, store: Path, *, flagged: bool
) -> tuple[list[Measurement], bool, tuple[str, ...]]:
    """The measurements that ``name`` stands for.

    Args:
        name: a store file, a label, or a model.
        store: where labels and models are looked for.
    Returns:
        The measurements, whether they were found by their model, and what could not be read.
    Raises:
        UsageError: there are none.
        StoreError: a store cannot be read.
    """
    by_file, by_model = Path(name).is_file(), False
    contents = read_all(Path(name) if by_file else store)
    everything = contents.measurements
    found = list(everything)
    if not by_file:
        found = [m for m in everything if m.label == name]
        if not found:
            by_model = True
            stem = artifact_stem(name)
            found = [m for m in everything if name == m.model or stem == artifact_stem(m.model)]
        if not found:
            raise UsageError(
                f"{name!r} is no store file, and no label or model in {store}.",
                hint="See what is there: mobile-bench table --all",
            )
    usable = [m for m in found if m.samples and (flagged or m.trusted)]
    if not usable:
        raise UsageError(
            f"All {len(found)} measurements of {name!r} are flagged or have no samples.",
            hint="Measure again on a quiet device, or compare them anyway with --all.",
        )
    return usable, by_model, contents.notes


def compare_sides(
    baselines: Sequence[Measurement], candidates: Sequence[Measurement], *, by_model: bool
) -> list[Pair]:
    """The latest baseline and the latest candidate of each kind.

    Two that were interleaved in one run are preferred, because they can be compared as pairs.

    Args:
        by_model: the sides are two models, so the model is no part of the kind.
    Raises:
        UsageError: no kind is on both sides, or both are the same measurement.
    """
    pairs: list[Pair] = []
    first = _by_kind(baselines, by_model)
    second = _by_kind(candidates, by_model)
    for kind in first.keys() & second.keys():
        baseline, candidate = _latest_pair(first[kind], second[kind])
        if baseline == candidate:
            continue
        paired = baseline.run == candidate.run
        result = compare(candidate.start_medians, baseline.start_medians, paired=paired)
        pairs.append(Pair(baseline, candidate, result))
    if not pairs:
        raise UsageError(
            "There are no two measurements of the same kind: format, precision, input size, "
            "device, runner, backend, threads and cores must be the same"
            + (" (models may differ)." if by_model else ", and the model too."),
            hint="See what is there: mobile-bench table",
        )
    return sorted(pairs, key=lambda p: (p.candidate.model, p.candidate.artifact["format"]))


def _by_kind(
    measurements: Sequence[Measurement], by_model: bool
) -> dict[tuple[Any, ...], list[Measurement]]:
    found: dict[tuple[Any, ...], list[Measurement]] = {}
    for measurement in measurements:
        found.setdefault(key_of(measurement, with_model=not by_model), []).append(measurement)
    return found


def _latest_pair(
    first: Sequence[Measurement], second: Sequence[Measurement]
) -> tuple[Measurement, Measurement]:
    runs = {measurement.run: measurement for measurement in first}
    for candidate in reversed(second):
        if candidate.run in runs and runs[candidate.run] is not candidate:
            return runs[candidate.run], candidate
    return first[-1], second[-1]

"""ParityReport: what was measured of a file, and whether it passed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .detections import DetectionCheck
    from .good import Quality

__all__ = [
    "NOT_GOOD",
    "SPREAD_ALWAYS",
    "SPREAD_LIMIT",
    "STATUSES",
    "ParityReport",
    "listed",
    "of_sizes",
]

SPREAD_ALWAYS = 0.02
"""`ParityReport.spread_error` that a file may have whatever rounding does to the model."""

SPREAD_LIMIT = 0.1
"""Largest `ParityReport.spread_error` of a file that passes. Ignoring the image is 1. Between the
two it is a multiple of what rounding does to this model (`parity.faithful`)."""

STATUSES = ("failed", "inconclusive", "passed")
"""Of parity (`mobile_export.parity.judge`), the worst first."""

NOT_GOOD = "faithful, not good"
"""`ParityReport.words` of a file that is as exact as its precision allows, and too coarse."""


@dataclass(frozen=True)
class ParityReport:
    """The status of one artifact, with the numbers behind it (worst over samples and outputs).

    Attributes:
        tolerance: the largest error allowed, relative to an output's size, of the output that is
            the furthest off for what it may be.
        float16_error: PyTorch's own with float16 weights, and results where the file was executed
            so, of that output; None of float32 files, or where the model does not run so.
        max_rel: the file's, of that output.
        spread: how far the output of `spread_error` moves between the samples
            (`parity.spread.spread`), relative to its largest magnitude.
        spread_error: largest error of what changes with the sample, relative to that spread; of the
            worst output. None when there is one sample, or when no output changes with it.
        spread_allowed: the largest `spread_error` that passes, of that output.
        faithful: whether the file computes the model as exactly as its precision can; None where
            nobody can tell.
        qualities: how well it serves; of a file of less than float32 they decide, too. Of a file of
            integers they are beside the model, and the errors are those against its plan.
        unmoved: outputs that depend on the input and are the same for all samples.
        detections: of a file that ends with non-maximum suppression; the errors are then those of
            the boxes and scores in front of it.
        sizes: of a file of several, those that it was checked at; the numbers are the worst one's.
        variants: reports on the same file under other options that a device may run it with.
    """

    runtime: str
    emulated: bool
    precision: str
    status: str
    tolerance: float
    float32_error: float
    max_abs: float
    max_rel: float
    cosine: float
    psnr: float
    worst: str
    worst_index: tuple[int, ...]
    top1: float | None
    top5: float | None
    samples: int
    float16_error: float | None = None
    spread: float | None = None
    spread_error: float | None = None
    spread_allowed: float = SPREAD_ALWAYS
    faithful: bool | None = None
    qualities: tuple[Quality, ...] = ()
    unmoved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    detections: DetectionCheck | None = None
    variants: tuple[ParityReport, ...] = ()
    sizes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True only when the status is "passed", and that of every variant, too."""
        return self.deciding.status == "passed"

    @property
    def useful(self) -> bool | None:
        """Whether every output serves well enough; None where nothing was measured."""
        return all(each.passed for each in self.qualities) if self.qualities else None

    @property
    def words(self) -> str:
        """The status, or which of the two verdicts failed."""
        coarse = self.status == "failed" and self.faithful and self.useful is False
        return NOT_GOOD if coarse else self.status

    @property
    def usable(self) -> bool:
        """Whether a device can be told to run the file so that it is right."""
        return self.status == "passed"

    @property
    def only_some(self) -> bool:
        """Whether the file is right, and not under all options that a device may run it with."""
        return self.usable and not self.passed

    @property
    def tells_apart(self) -> bool:
        """Whether the file answers the samples differently, as the model does."""
        if self.samples < 2:
            return True
        known = self.spread_error is not None and self.spread_error <= self.spread_allowed
        return known and not self.unmoved

    @property
    def deciding(self) -> ParityReport:
        """Of this report and `variants`, the first with the worst status."""
        return min((self, *self.variants), key=lambda report: STATUSES.index(report.status))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN and infinity become None."""

        def clean(value: Any) -> Any:
            if isinstance(value, float) and not math.isfinite(value):
                return None
            return list(value) if isinstance(value, tuple) else value

        names = {"status": "verdict", "variants": "others"}  # as reports have always called them
        facts = {names.get(name, name): clean(value) for name, value in vars(self).items()}
        facts["detections"] = None if self.detections is None else dict(vars(self.detections))
        facts["qualities"] = [
            {**vars(each), "value": clean(each.value), "passed": each.passed}
            for each in self.qualities
        ]
        facts["useful"] = self.useful
        facts["others"] = [report.to_dict() for report in self.variants]
        return {**facts, "passed": self.passed}


def of_sizes(reports: Sequence[ParityReport], sizes: Sequence[str]) -> ParityReport:
    """One report on a file of several sizes: the worst of those on each, and all their notes.

    Args:
        sizes: in words.
    """
    if len(reports) == 1:
        return reports[0]

    def rank(index: int) -> tuple[int, bool, float]:
        report = reports[index]
        deciding = report.deciding
        return STATUSES.index(deciding.status), deciding.words == NOT_GOOD, -report.max_rel

    worst = min(range(len(reports)), key=rank)
    notes: dict[str, list[str]] = {}
    for report, size in zip(reports, sizes, strict=True):
        for note in report.notes:
            notes.setdefault(note, []).append(size)
    return replace(
        reports[worst],
        worst=f"{sizes[worst]}:{reports[worst].worst}",
        samples=sum(report.samples for report in reports),
        sizes=tuple(sizes),
        notes=tuple(
            note if len(own) == len(sizes) else f"at {', '.join(own)}: {note}"
            for note, own in notes.items()
        ),
    )


FIRST = 5
"""Names that `listed` has, and errors that a report on layers has."""


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - FIRST} more" if len(names) > FIRST else ""
    return ", ".join(names[:FIRST]) + more

"""ParityReport: what was measured of a file, and whether it passed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .detections import DetectionCheck

__all__ = ["SPREAD_ALWAYS", "SPREAD_LIMIT", "STATUSES", "ParityReport"]

SPREAD_ALWAYS = 0.02
"""`ParityReport.spread_error` that a file may have whatever rounding does to the model."""

SPREAD_LIMIT = 0.1
"""Largest `ParityReport.spread_error` of a file that passes. Ignoring the image is 1. Between the
two it is `ROUNDING_FACTOR` times what rounding does to this model (`parity.judge`)."""

STATUSES = ("failed", "inconclusive", "passed")
"""Of parity (`mobile_export.parity.judge`), the worst first."""


@dataclass(frozen=True)
class ParityReport:
    """The status of one artifact, with the numbers behind it (worst over samples and outputs).

    Attributes:
        spread: how far the output of `spread_error` moves between the samples
            (`parity.spread.spread`), relative to its largest magnitude.
        spread_error: largest error of what changes with the sample, relative to that spread; of the
            worst output. None when there is one sample, or when no output changes with it.
        spread_allowed: the largest `spread_error` that passes, of that output.
        unmoved: outputs that depend on the input and are the same for all samples.
        detections: of a file that ends with non-maximum suppression; the errors are then those of
            the boxes and scores in front of it.
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
    spread: float | None = None
    spread_error: float | None = None
    spread_allowed: float = SPREAD_ALWAYS
    unmoved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    detections: DetectionCheck | None = None
    variants: tuple[ParityReport, ...] = ()

    @property
    def passed(self) -> bool:
        """True only when the status is "passed", and that of every variant, too."""
        return self.deciding.status == "passed"

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
        facts["others"] = [report.to_dict() for report in self.variants]
        return {**facts, "passed": self.passed}

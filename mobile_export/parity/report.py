"""ParityReport: what was measured of a file, and whether it passed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .detections import DetectionCheck

__all__ = ["STATUSES", "ParityReport"]

STATUSES = ("failed", "inconclusive", "passed")
"""Of parity (`mobile_export.parity.judge`), the worst first."""


@dataclass(frozen=True)
class ParityReport:
    """The status of one artifact, with the numbers behind it (worst over samples and outputs).

    Attributes:
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
    notes: tuple[str, ...] = ()
    detections: DetectionCheck | None = None
    variants: tuple[ParityReport, ...] = ()

    @property
    def passed(self) -> bool:
        """True only when the status is "passed", and that of every variant, too."""
        return self.deciding.status == "passed"

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

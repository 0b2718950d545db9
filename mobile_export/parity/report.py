"""ParityReport: what was measured of a file, and whether it passed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .detections import DetectionCheck

__all__ = ["ParityReport", "VERDICTS"]


@dataclass(frozen=True)
class ParityReport:
    """The verdict on one artifact, with the numbers behind it (worst over samples and outputs).

    Attributes:
        detections: of a file that ends with non-maximum suppression; the errors are then those of
            the boxes and scores in front of it.
        others: reports on the same file under other options that a device may run it with.
    """

    runtime: str
    emulated: bool
    precision: str
    verdict: str
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
    others: tuple[ParityReport, ...] = ()

    @property
    def passed(self) -> bool:
        """True only when the verdict is "passed", and that of every other option, too."""
        return self.deciding.verdict == "passed"

    @property
    def deciding(self) -> ParityReport:
        """Of this report and `others`, the first with the worst verdict."""
        return min((self, *self.others), key=lambda report: VERDICTS.index(report.verdict))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN and infinity become None."""

        def clean(value: Any) -> Any:
            if isinstance(value, float) and not math.isfinite(value):
                return None
            return list(value) if isinstance(value, tuple) else value

        facts = {name: clean(value) for name, value in vars(self).items()}
        facts["detections"] = None if self.detections is None else dict(vars(self.detections))
        facts["others"] = [report.to_dict() for report in self.others]
        return {**facts, "passed": self.passed}


VERDICTS = ("failed", "inconclusive", "passed")
"""Of parity (`mobile_export.parity.judge`), the worst first."""

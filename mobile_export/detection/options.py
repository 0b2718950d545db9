"""How a file suppresses overlapping boxes: the options of non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from ..system.options import option

__all__ = ["NmsOptions"]

_IOU, _SCORE, _MOST = 0.45, 0.02, 200


@dataclass(frozen=True)
class NmsOptions:
    """Non-maximum suppression inside the file, behind a detector's boxes and scores.

    The defaults are those of EMO's SSDLite configurations, as in `detection.suppress`.

    Attributes:
        iou_threshold: of two boxes of a class whose intersection over union is above it, the surer
            stays; in (0, 1], and 1 suppresses nothing.
        score_threshold: less sure boxes are left out; in [0, 1).
        max_detections: that the file returns at most.
    """

    iou_threshold: float = option(
        _IOU, help=f"Overlap above which boxes suppress each other: {_IOU}.", flag="--nms-iou"
    )
    score_threshold: float = option(
        _SCORE, help=f"Least score of a detection: {_SCORE}.", flag="--nms-score"
    )
    max_detections: int = option(_MOST, help=f"Detections at most: {_MOST}.", flag="--nms-max")

    def __post_init__(self) -> None:
        if not 0 < self.iou_threshold <= 1:
            raise UsageError(
                f"`iou_threshold` {self.iou_threshold:g} is out of range.",
                hint="Valid is a number above 0 and up to 1; 1 suppresses nothing.",
            )
        if not 0 <= self.score_threshold < 1:
            raise UsageError(
                f"`score_threshold` {self.score_threshold:g} is out of range.",
                hint="Valid is a number from 0 and below 1.",
            )
        if self.max_detections < 1:
            raise UsageError(
                f"`max_detections` {self.max_detections} is out of range.",
                hint="Valid is 1 or more.",
            )

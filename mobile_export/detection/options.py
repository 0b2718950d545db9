"""How a file suppresses overlapping boxes: the options of non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

from ..system.options import Range, check_options, option

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
        _IOU,
        help=f"Overlap above which boxes suppress each other: {_IOU}.",
        flag="--nms-iou",
        within=Range(0, 1, above=True),
    )
    score_threshold: float = option(
        _SCORE,
        help=f"Least score of a detection: {_SCORE}.",
        flag="--nms-score",
        within=Range(0, 1, below=True),
    )
    max_detections: int = option(
        _MOST,
        help=f"Detections at most: {_MOST}.",
        flag="--nms-max",
        within=Range(1, 2**16, whole=True),
    )

    def __post_init__(self) -> None:
        check_options(self)

"""How a file suppresses overlapping boxes: the options of non-maximum suppression."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from ..graph.specs import Thresholds
from ..system.options import Range, check_options, option

__all__ = ["NmsOptions"]

_DEFAULT = Thresholds()


@dataclass(frozen=True)
class NmsOptions:
    """What is asked of the non-maximum suppression inside the file, behind a detector's boxes and
    scores.

    Attributes: those of `Thresholds`; None is the model's own, or else the default there.
    """

    iou_threshold: float | None = option(
        None,
        help="Overlap above which boxes suppress each other: the model's own, or "
        f"{_DEFAULT.iou_threshold}.",
        flag="--nms-iou",
        within=Range(0, 1, above=True),
    )
    score_threshold: float | None = option(
        None,
        help=f"Least score of a detection: the model's own, or {_DEFAULT.score_threshold}.",
        flag="--nms-score",
        within=Range(0, 1, below=True),
    )
    max_detections: int | None = option(
        None,
        help=f"Detections at most: the model's own, or {_DEFAULT.max_detections}.",
        flag="--nms-max",
        within=Range(1, 2**16, whole=True),
    )

    def __post_init__(self) -> None:
        check_options(self)

    def thresholds(self, own: Thresholds | None = None) -> Thresholds:
        """What was asked for, filled up.

        Args:
            own: of the model.
        """
        given = {key: value for key, value in asdict(self).items() if value is not None}
        return replace(own or _DEFAULT, **given)

"""Does a file with non-maximum suppression inside find what the original model's boxes give?

Suppression decides: a score above a threshold or not, an overlap above a threshold or not, this box
surer than that one. A rounding error of the network may turn a decision that is close, and is no
error of the file. So the float64 reference is suppressed with intervals instead of numbers: the
boxes and scores in front of the suppression were compared with the reference, and their measured
errors are the intervals' widths. A candidate is then kept for certain, lost for certain, or open.
The file must return every certain one and nothing but certain and open ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..detection import Detections, Suppression
from .compare import Difference, compare
from .report import ParityReport

__all__ = ["Candidates", "DetectionCheck", "candidates", "match", "with_detections"]

_ROUNDING = 1e-6
"""Of the arithmetic of the suppression itself in float32, relative to the largest value."""
_KEPT, _OPEN, _LOST = 2, 1, 0


@dataclass(frozen=True)
class DetectionCheck:
    """Detections of a file against those of the reference, summed over the samples.

    Attributes:
        certain: detections that the file must return.
        found: those of them that it returns.
        open: candidates whose fate hangs on less than the file's own error.
        unexpected: detections of the file that are neither certain nor open.
    """

    certain: int
    found: int
    open: int
    unexpected: int

    @property
    def passed(self) -> bool:
        """Every certain detection is there and nothing else but open ones."""
        return self.found == self.certain and self.unexpected == 0


@dataclass(frozen=True)
class Candidates:
    """Pairs of box and class that may be detections, the surest first.

    Attributes:
        boxes: (M, 4) left, top, right, bottom.
        scores, classes: (M,).
        state: (M,) `_KEPT` or `_OPEN`.
        box_error, score_error: how far a file's values may be from these.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    state: np.ndarray
    box_error: float
    score_error: float


def with_detections(
    report: ParityReport,
    suppression: Suppression,
    reference: Sequence[tuple[np.ndarray, np.ndarray]],
    inside: Sequence[tuple[np.ndarray, np.ndarray]],
    found: Sequence[Detections],
) -> ParityReport:
    """``report``, on the boxes and scores inside a file, with the verdict on its detections.

    Args:
        reference: per sample the original model's boxes (1, N, 4) and scores (1, N, classes).
        inside: the same in front of the file's suppression.
        found: what the file returns.
    """
    checks = []
    for exact, got, detections in zip(reference, inside, found, strict=True):
        boxes, scores = (compare(a, b) for a, b in zip(got, exact, strict=True))
        if not np.isfinite([boxes.max_abs, scores.max_abs]).all():
            return report  # which says so
        possible = candidates(
            exact[0][0], exact[1][0], suppression, _error(boxes, exact[0]), _error(scores, exact[1])
        )
        checks.append(match(detections, possible))
    total = DetectionCheck(*(sum(getattr(c, name) for c in checks) for name in vars(checks[0])))
    passed = total.passed or report.status != "passed"
    return replace(
        report,
        detections=total,
        status=report.status if passed else "failed",
        faithful=report.faithful if passed else False,
        notes=(*report.notes, _describe(total)),
    )


def _error(difference: Difference, exact: np.ndarray) -> float:
    return 1.001 * difference.max_abs + _ROUNDING * float(np.abs(exact).max())


def _describe(total: DetectionCheck) -> str:
    if not total.certain:
        return (
            f"no detection is certain on these inputs ({total.open} are open), so parity proves "
            "little about the suppression"
        )
    text = f"detections: {total.found} of {total.certain} certain ones found"
    if total.unexpected:
        text += f", {total.unexpected} unexpected"
    if total.open:
        text += f"; {total.open} candidates are closer to a threshold than the file's error"
    return text


def match(found: Detections, possible: Candidates) -> DetectionCheck:
    """Give every detection of a file the candidate that it is, certain ones first."""
    free = np.ones(len(possible.scores), dtype=bool)
    unexpected = 0
    for box, score, label in zip(found.boxes, found.scores, found.classes, strict=True):
        distance = np.abs(possible.boxes - box).max(1, initial=0.0)
        near = (
            free
            & (possible.classes == label)
            & (np.abs(possible.scores - score) <= possible.score_error)
            & (distance <= possible.box_error)
        )
        if not near.any():
            unexpected += 1
            continue
        indices = np.flatnonzero(near)
        order = np.lexsort((distance[indices], -possible.state[indices]))
        free[indices[order[0]]] = False
    kept = possible.state == _KEPT
    return DetectionCheck(
        certain=int(kept.sum()),
        found=int((kept & ~free).sum()),
        open=int((~kept).sum()),
        unexpected=unexpected,
    )


def candidates(
    boxes: np.ndarray,
    scores: np.ndarray,
    suppression: Suppression,
    box_error: float,
    score_error: float,
) -> Candidates:
    """The pairs of box and class that greedy suppression within each class keeps, or may keep.

    With both errors 0 it is the usual algorithm, and nothing is open unless values are equal.

    Args:
        boxes: (N, 4) left, top, right, bottom.
        scores: (N, classes).
    """
    possible = scores >= suppression.score_threshold - score_error
    certain = scores >= suppression.score_threshold + score_error
    if suppression.best_class_only:
        possible &= scores >= scores.max(1, keepdims=True) - 2 * score_error
        certain &= possible.sum(1, keepdims=True) == 1
    anchors, classes = np.nonzero(possible)
    order = np.argsort(-scores[anchors, classes], kind="stable")
    anchors, classes = anchors[order], classes[order]
    chosen = Candidates(
        boxes[anchors],
        scores[anchors, classes],
        classes,
        np.full(len(anchors), _OPEN),
        box_error,
        score_error,
    )
    _decide(chosen, certain[anchors, classes], suppression)
    left = chosen.state != _LOST
    return replace(
        chosen,
        boxes=chosen.boxes[left],
        scores=chosen.scores[left],
        classes=chosen.classes[left],
        state=chosen.state[left],
    )


def _decide(chosen: Candidates, certain: np.ndarray, suppression: Suppression) -> None:
    """Set ``chosen.state``, from the surest candidate on."""
    scores, state, tie = chosen.scores, chosen.state, 2 * chosen.score_error
    limit, threshold = suppression.limit, suppression.iou_threshold
    for i, score in enumerate(scores):
        end = int(np.searchsorted(-scores, -(score - tie), side="right"))  # these may be surer
        ahead = int(np.searchsorted(-scores, -(score + tie), side="left"))  # these are surer
        if (state[:ahead] == _KEPT).sum() >= limit:
            state[i:] = _LOST
            break
        same = (state[:end] != _LOST) & (chosen.classes[:end] == chosen.classes[i])
        same[i] = False
        rivals = np.flatnonzero(same)
        low, high = _overlap(chosen.boxes[i], chosen.boxes[rivals], chosen.box_error)
        winners = (state[rivals] == _KEPT) & (rivals < ahead)
        if (low[winners] > threshold).any():
            state[i] = _LOST
        elif certain[i] and not (high > threshold).any():
            state[i] = _KEPT
    _leave_open_at_the_limit(scores, state, tie, limit)


def _leave_open_at_the_limit(scores: np.ndarray, state: np.ndarray, tie: float, limit: int) -> None:
    """A candidate that as many as ``limit`` others may surpass is not certain."""
    for i in np.flatnonzero(state == _KEPT):
        end = int(np.searchsorted(-scores, -(scores[i] - tie), side="right"))
        if (state[:end] != _LOST).sum() - 1 >= limit:
            state[i] = _OPEN


def _overlap(box: np.ndarray, others: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the intersection over union of a box (4,) with others (M, 4).

    Args:
        error: of every coordinate of every box.
    """
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    own, their = box[2:] - box[:2], others[:, 2:] - others[:, :2]

    def areas(slack: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, b, c = (np.clip(each + slack, 0, None).prod(-1) for each in (sides, own, their))
        return a, b, c

    common_low, own_low, their_low = areas(-2 * error)
    common_high, own_high, their_high = areas(2 * error)
    union_high = own_high + their_high - common_low
    union_low = np.maximum(own_low + their_low - common_high, common_high)
    return _ratio(common_low, union_high), _ratio(common_high, union_low)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return result

"""From a detector's boxes and scores to detections, on the host: non-maximum suppression.

An exported detector ends with boxes and scores, because no operation for the rest exists in all of
the formats; `suppress` is that rest, in numpy, for Python and as the text to port to Kotlin or
Swift. Files written with ``--nms`` end with detections instead; `Suppression` says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..graph.specs import Meaning

__all__ = ["Detections", "FileOutput", "Suppression", "suppress"]


@dataclass(frozen=True)
class Detections:
    """Boxes of objects, the surest first.

    Attributes:
        boxes: (M, 4) left, top, right, bottom in pixels of the network's input.
        scores: (M,) probabilities.
        classes: (M,) indices from 0.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class FileOutput:
    """An output of a file that ends with detections.

    Attributes:
        shape: None for a number of rows that depends on the image.
        layout: what the values are, for people.
        meaning: in one of the words of `graph.specs.Meaning`.
        box: of boxes: their four numbers in order, and their unit, "pixels" or "image".
    """

    name: str
    shape: tuple[int | None, ...]
    layout: str
    meaning: Meaning
    box: tuple[tuple[str, str, str, str], str] | None = None


@dataclass(frozen=True)
class Suppression:
    """Non-maximum suppression as a file does it, read from the file.

    Attributes:
        limit: detections that it returns at most.
        best_class_only: a box competes with its best class alone; otherwise every pair of box and
            class is a candidate.
    """

    iou_threshold: float
    score_threshold: float
    limit: int
    best_class_only: bool
    outputs: tuple[FileOutput, ...]


def suppress(
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    score_threshold: float = 0.02,
    iou_threshold: float = 0.45,
    candidates: int = 1000,
    limit: int = 200,
    best_class_only: bool = False,
) -> Detections:
    """Greedy non-maximum suppression within each class.

    The defaults are those of EMO's SSDLite configurations, but for one thing: mmdetection takes its
    1000 candidates from each of the six feature maps, this takes them from all anchors together.

    Args:
        boxes: (N, 4) or (1, N, 4), left, top, right, bottom; or (N, classes, 4) or
            (1, N, classes, 4), where each class has a box of its own.
        scores: (N, classes) or (1, N, classes).
        score_threshold: less sure boxes are left out.
        iou_threshold: of two boxes of a class that overlap more, the surer stays (intersection
            over union).
        candidates: the surest pairs of box and class that are looked at.
        limit: detections that are returned at most.
        best_class_only: look at the best class of each box alone, as ultralytics does; the first
            of those that are alike.

    Raises:
        ValueError: the shapes do not belong together.
    """
    import numpy as np

    scores = _one_image(scores, None)
    own = boxes.ndim >= 3 and boxes.shape[-3:] == (*scores.shape, 4)
    boxes = boxes.reshape(*scores.shape, 4) if own else _one_image(boxes, 4)
    if len(boxes) != len(scores):
        raise ValueError(f"{len(boxes)} boxes, but scores of {len(scores)}")
    wanted = scores > score_threshold
    if best_class_only:
        wanted &= np.arange(scores.shape[1]) == scores.argmax(1)[:, None]
    anchors, classes = np.nonzero(wanted)
    values = scores[anchors, classes]
    order = np.argsort(-values, kind="stable")[:candidates]
    anchors, classes, values = anchors[order], classes[order], values[order]
    places = boxes[anchors, classes] if own else boxes[anchors]
    kept: list[int] = []
    for index, label in enumerate(classes):
        rivals = [k for k in kept if classes[k] == label]
        overlaps = _iou(places[index], places[rivals])
        if not (overlaps > iou_threshold).any():
            kept.append(index)
        if len(kept) == limit:
            break
    return Detections(places[kept], values[kept], classes[kept])


def _one_image(array: np.ndarray, width: int | None) -> np.ndarray:
    flat = array[0] if array.ndim == 3 and array.shape[0] == 1 else array
    if flat.ndim != 2 or (width is not None and flat.shape[1] != width):
        wanted = f"(N, {width or 'classes'})"
        raise ValueError(f"got an array of shape {array.shape}, expected {wanted} of one image")
    return flat


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (4,) with others (K, 4); 0 where both are empty."""
    import numpy as np

    corner = np.maximum(box[:2], others[:, :2])
    sides = np.clip(np.minimum(box[2:], others[:, 2:]) - corner, 0, None)
    intersection = sides.prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    union = (box[2:] - box[:2]).prod() + areas - intersection
    overlap: np.ndarray = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return overlap

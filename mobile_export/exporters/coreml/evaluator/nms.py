"""Core ML's non-maximum suppression model, the second half of a detector's pipeline.

Read from the package and computed as ``mlmodel/format/NonMaximumSuppression.proto`` of coremltools
says: boxes below the confidence threshold are discarded; the surest of the rest is kept and
discards those that overlap it more than the IoU threshold, with ``pickTop.perClass`` only those of
the same label, which is the class of the largest confidence; and so on. A box's confidence is its
largest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....artifacts.damage import reason
from ....errors import ArtifactError
from .text import FormatError, model_path, read_pipeline
from .wire import Message, WireError

__all__ = ["NmsModel", "read_nms"]

_NMS = 610
_LABELS = 100
"""``stringClassLabels``, a ``StringVector``."""


@dataclass(frozen=True)
class NmsModel:
    """The suppression model of a package.

    Attributes:
        per_class: only boxes of the same label suppress each other.
        confidence, coordinates: names of its inputs.
        outputs: names of the confidences and coordinates that it returns.
        rows: least and greatest number of rows of the outputs; None: not limited.
        labels: names of the classes; none where the file has indices.
    """

    per_class: bool
    iou_threshold: float
    confidence_threshold: float
    confidence: str
    coordinates: str
    outputs: tuple[str, str]
    rows: tuple[int, int | None]
    labels: tuple[str, ...] = ()

    def run(
        self,
        confidence: np.ndarray,
        coordinates: np.ndarray,
        *,
        iou_threshold: float | None = None,
        confidence_threshold: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ``confidence`` and ``coordinates`` that stay, the surest first.

        Args:
            confidence: (N, classes).
            coordinates: (N, 4) centre x, centre y, width, height.
            iou_threshold, confidence_threshold: None takes the file's.
        """
        iou = self.iou_threshold if iou_threshold is None else iou_threshold
        least = self.confidence_threshold if confidence_threshold is None else confidence_threshold
        best, label = confidence.max(1), confidence.argmax(1)
        waiting = np.argsort(-best, kind="stable")
        waiting = waiting[best[waiting] >= least]
        chosen: list[int] = []
        while len(waiting) and len(chosen) != self.rows[1]:
            top, waiting = waiting[0], waiting[1:]
            chosen.append(int(top))
            discarded = _iou(coordinates[top], coordinates[waiting]) > iou
            if self.per_class:
                discarded &= label[waiting] == label[top]
            waiting = waiting[~discarded]
        return self._filled(confidence[chosen]), self._filled(coordinates[chosen])

    def _filled(self, rows: np.ndarray) -> np.ndarray:
        missing = max(0, self.rows[0] - len(rows))
        return np.pad(rows, ((0, missing), (0, 0)))


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) with others (M, 4), as centre and size; 0 of empty."""
    low, high = box[:2] - box[2:] / 2, box[:2] + box[2:] / 2
    lows, highs = others[:, :2] - others[:, 2:] / 2, others[:, :2] + others[:, 2:] / 2
    sides = np.minimum(high, highs) - np.maximum(low, lows)
    common = np.clip(sides, 0, None).prod(1)
    union = box[2:].prod() + others[:, 2:].prod(1) - common
    result: np.ndarray = np.divide(common, union, out=np.zeros_like(union), where=union > 0)
    return result


def read_nms(path: Path) -> NmsModel | None:
    """The suppression model of a package; None when the package is an ML Program alone.

    Raises:
        ArtifactError: the package cannot be read, or its pipeline is another one.
    """
    try:
        parts = read_pipeline(Message(model_path(path).read_bytes()))
        if not parts:
            return None
        return _read(parts[1])
    except (FormatError, IndexError, StopIteration, UnicodeDecodeError, WireError) as error:
        raise ArtifactError(
            f"The suppression in {path} cannot be read: {reason(error)}."
        ) from error


def _read(model: Message) -> NmsModel:
    nms, description = model.message(_NMS), model.message(2)
    outputs = nms.text(210), nms.text(211)
    thresholds = [(nms.floats(number, "d") or [0.0])[-1] for number in (110, 111)]
    shapes = {
        feature.text(1): feature.message(3).message(5).message(31).messages(1)
        for feature in description.messages(10)
    }
    first = next(shapes[name][0] for name in outputs if shapes.get(name))
    upper = first.integer(2)
    return NmsModel(
        per_class=bool(nms.message(1).integer(1)),
        iou_threshold=thresholds[0],
        confidence_threshold=thresholds[1],
        confidence=nms.text(200),
        coordinates=nms.text(201),
        outputs=outputs,
        rows=(first.integer(1), None if upper < 0 else upper),
        labels=tuple(nms.message(_LABELS).texts(1)),
    )

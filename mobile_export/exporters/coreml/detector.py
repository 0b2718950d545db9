"""A Core ML pipeline of an ML Program and a suppression, as a detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...detection import Detections, FileOutput, Suppression
from ...detection.contract import BOXES, SCORES

if TYPE_CHECKING:
    from ...parity.samples import Sample
    from .evaluator import MilProgram, NmsModel

__all__ = ["PipelineDetector", "suppression_of"]

Rows = tuple[np.ndarray, np.ndarray]
"""Confidence (M, classes) and coordinates (M, 4) as centre and size in units of the image."""


def suppression_of(program: MilProgram, nms: NmsModel) -> Suppression:
    """What the second model of a pipeline does with the outputs of the first."""
    boxes, classes = program.output_types()[nms.confidence].shape
    least, most = nms.rows
    rows = most if least == most else None
    confidence, coordinates = nms.outputs
    return Suppression(
        iou_threshold=nms.iou_threshold,
        score_threshold=nms.confidence_threshold,
        limit=boxes if most is None else most,
        best_class_only=True,
        outputs=(
            FileOutput(
                confidence, (rows, classes), "each class's probability, a row a detection", "scores"
            ),
            FileOutput(
                coordinates,
                (rows, 4),
                "centre x, centre y, width, height from the upper left corner, in units of the "
                "image's width and height",
                "boxes",
                (("centre x", "centre y", "width", "height"), "image"),
            ),
        ),
    )


class PipelineDetector:
    """Runs the two models of a pipeline.

    Args:
        size: (height, width) of the image in pixels.
        names: of the original model's outputs, boxes and scores, in its order.
        network: the ML Program's outputs by name.
        suppress: the pipeline's outputs for a sample, given the ML Program's.
    """

    def __init__(
        self,
        nms: NmsModel,
        suppression: Suppression,
        *,
        size: tuple[int, int],
        names: tuple[str, ...],
        network: Callable[[Sample], Mapping[str, np.ndarray]],
        suppress: Callable[[Sample, Rows], Rows],
    ) -> None:
        self.nms, self.suppression, self.names = nms, suppression, names
        self.network, self.suppress = network, suppress
        self.pixels = np.array([size[1], size[0], size[1], size[0]])

    def detect(self, sample: Sample) -> tuple[list[np.ndarray], Detections]:
        """See `targets.Detector`."""
        results = self.network(sample)
        confidence, coordinates = results[self.nms.confidence], results[self.nms.coordinates]
        inside = {BOXES: self.corners(coordinates)[None], SCORES: confidence[None]}
        found = self._read(*self.suppress(sample, (confidence, coordinates)))
        return [inside[name] for name in self.names], found

    def _read(self, confidence: np.ndarray, coordinates: np.ndarray) -> Detections:
        real = confidence.max(1) > 0  # rows that fill up are zero
        confidence, coordinates = confidence[real], coordinates[real]
        return Detections(self.corners(coordinates), confidence.max(1), confidence.argmax(1))

    def corners(self, coordinates: np.ndarray) -> np.ndarray:
        """(M, 4) left, top, right, bottom in pixels."""
        centre, half = coordinates[:, :2], coordinates[:, 2:] / 2
        corners: np.ndarray = np.concatenate([centre - half, centre + half], 1) * self.pixels
        return corners

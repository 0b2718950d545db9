"""Ultralytics' YOLO detectors, up to the boxes and scores of all places of their maps.

Behind its network, ultralytics suppresses on the host: of every box its best class alone, within
each class, by the numbers of its ``predict`` (overlap 0.7, score 0.25, 300 detections at most).
`YoloDetector` ends in front of that. A model that is set to its head without suppression
(``model.end2end = True``; YOLO26 and YOLOv10 have one) takes the surest pairs of box and class as
they are: which is suppression where nothing overlaps too much, so its ``iou_threshold`` is 1.

YOLO26 gives distances as its last convolution has them, which may be negative where nothing is:
such a box is empty here, and turned inside out in ultralytics. Neither overlaps with anything.

Nothing of ultralytics is imported here: its modules are known by the names of their classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..graph.source import Source
from ..graph.specs import InputSpec, Thresholds, WeightsInfo

__all__ = ["YoloDetector", "is_yolo", "yolo_source"]

SIZE = (640, 640)
"""That ultralytics trains and predicts at."""

_PREDICT = Thresholds(0.7, 0.25, 300, best_class_only=True)
"""``iou``, ``conf`` and ``max_det`` of ultralytics 8.4's ``cfg/default.yaml`` and ``predict``."""


def is_yolo(module: nn.Module) -> bool:
    """Whether a module is a detection model of ultralytics whose last layer is a plain ``Detect``:
    heads of segments, poses and turned boxes return more."""
    ours = any(
        (base.__module__, base.__name__) == ("ultralytics.nn.tasks", "DetectionModel")
        for base in type(module).__mro__
    )
    head = type(_head(module)) if ours else None
    return (getattr(head, "__module__", ""), getattr(head, "__name__", "")) == (
        "ultralytics.nn.modules.head",
        "Detect",
    )


def _head(module: Any) -> Any:
    return module.model[-1]


def _as_they_are(predictions: Tensor) -> Tensor:
    """In the place of the choice of the surest ones."""
    return predictions


class YoloDetector(nn.Module):
    """A YOLO of ultralytics that returns boxes and scores.

    Args:
        model: an ``ultralytics.nn.tasks.DetectionModel``; its head is changed.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        head = _head(model)
        head.export, head.postprocess = True, _as_they_are
        self.alone = bool(head.end2end)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Boxes (N, A, 4) as left, top, right, bottom in pixels, and scores (N, A, classes).

        Args:
            image: (N, 3, H, W), from 0 to 1.
        """
        found = self.model(image)
        if self.alone:
            low, high = found[..., :2], found[..., 2:4]
        else:
            found = found.transpose(1, 2)
            middle, half = found[..., :2], found[..., 2:4] / 2
            low, high = middle - half, middle + half
        return {"boxes": torch.cat([low, torch.maximum(low, high)], -1), "scores": found[..., 4:]}

    def thresholds(self) -> Thresholds:
        """What ultralytics' ``predict`` suppresses with."""
        alone = replace(_PREDICT, iou_threshold=1.0, best_class_only=False)
        return alone if self.alone else _PREDICT

    def labels(self) -> tuple[str, ...] | None:
        """The names of its classes, where they are more than their numbers."""
        names = getattr(self.model, "names", None)
        found = tuple(map(str, names.values())) if isinstance(names, dict) else ()
        plain = all(name.isdigit() for name in found)
        unlike = len(found) != int(_head(self.model).nc) or len(set(found)) != len(found)
        return None if plain or unlike else found


def yolo_source(module: YoloDetector, spec: str, image: InputSpec, info: WeightsInfo) -> Source:
    """A detector as a source."""
    own = module.thresholds()
    how = (
        "without suppression: the surest pairs of box and class"
        if module.alone
        else f"with overlap {own.iou_threshold:g} and the best class of each box"
    )
    note = (
        f"ultralytics' predict keeps {own.max_detections} detections of score "
        f"{own.score_threshold:g} or more, {how}; `nms` takes these numbers."
    )
    return Source(
        spec,
        module,
        image,
        ("boxes", "scores"),
        module.labels(),
        replace(info, notes=(*info.notes, note)),
        task="detection",
        meanings={"boxes": "boxes", "scores": "scores"},
        suppression=own,
    )

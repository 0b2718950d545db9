"""From a model's outputs to an answer: what an app does after it has run a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifacts.words import class_count
from ..detection import Detections, suppress
from ..parity.reference import softmax

if TYPE_CHECKING:
    from ..artifacts.words import Meaning
    from .prepare import Prepared

__all__ = ["Answer", "Found", "Region", "Result", "decode"]

BEST = 5
"""Classes that are named."""
MOST_CLASSES = 65536
_LARGEST_MAP = 2**27
"""Elements of scores that are upsampled; beyond it, each pixel of the map decides."""


_MOST_VALUES = 4096
"""Of an output, in JSON."""


@dataclass(frozen=True)
class Result:
    """One output.

    Attributes:
        value: in PyTorch's order of axes.
        meaning: what its numbers are; None where nobody said.
    """

    name: str
    value: np.ndarray
    meaning: Meaning | None

    @property
    def range(self) -> tuple[float, float] | None:
        """Least and greatest value; None of no numbers."""
        if not self.value.size or self.value.dtype.kind not in "biuf":
            return None
        return float(self.value.min()), float(self.value.max())

    @property
    def values(self) -> list[float | None] | None:
        """The numbers in their order, where they are the answer, as of an embedding; None where
        another part of the answer says what they mean, and of more than `_MOST_VALUES`."""
        told = self.meaning not in (None, "embedding", "features")
        if told or self.range is None or self.value.size > _MOST_VALUES:
            return None
        return [_finite(each) for each in self.value.ravel().tolist()]


@dataclass(frozen=True)
class Found:
    """A class of the whole picture, or an object in it.

    Attributes:
        name: of the class; None where it has none.
        score: its probability.
        box: left, top, right, bottom in pixels of the picture; None of the whole.
    """

    index: int
    name: str | None
    score: float
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Region:
    """A class that pixels belong to, and their share of the picture."""

    index: int
    name: str | None
    share: float


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Answer:
    """What a model says of a picture.

    Attributes:
        classes: the likeliest first; ``objects``: the surest first; ``regions``: the largest first.
        labels: (H, W) index of the class of each pixel of the input.
        image: (H, W, 3) of 8 bits, an upscaled picture.
        map: (H, W) in [0, 1]: probability, or nearness relative to this picture.
        results: every output.
        notes: what a reader must know of it, a sentence each.
    """

    classes: tuple[Found, ...] = ()
    objects: tuple[Found, ...] = ()
    regions: tuple[Region, ...] = ()
    labels: np.ndarray | None = None
    image: np.ndarray | None = None
    map: np.ndarray | None = None
    results: tuple[Result, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; arrays by shape, least and greatest value, embeddings in full."""
        return {
            "classes": [vars(each) for each in self.classes],
            "objects": [{**vars(each), "box": _rounded(each.box)} for each in self.objects],
            "regions": [vars(each) for each in self.regions],
            "outputs": [
                {
                    "name": each.name,
                    "meaning": each.meaning,
                    "shape": list(each.value.shape),
                    "min": None if each.range is None else _finite(each.range[0]),
                    "max": None if each.range is None else _finite(each.range[1]),
                    "values": each.values,
                }
                for each in self.results
            ],
            "notes": list(self.notes),
        }


def decode(
    results: Sequence[Result],
    detections: Detections | None,
    labels: Sequence[str] | None,
    prepared: Prepared,
) -> Answer:
    """The answer in the words of the outputs' meanings.

    Args:
        detections: of a file that suppresses itself; None makes them of boxes and scores.
        labels: names of the classes; of another number than there are classes, they are left out.
    """
    by_meaning: dict[Meaning | None, np.ndarray] = {}
    for each in results:
        if _fits(each):
            by_meaning.setdefault(each.meaning, each.value)
    everything = tuple(results)
    count = class_count({meaning: value.shape for meaning, value in by_meaning.items()})
    notes: tuple[str, ...] = ()
    if labels is not None and count is not None and len(labels) != count:
        notes = (
            f"{len(labels)} names do not fit {count} classes: the classes are shown without names",
        )
        labels = None
    if detections is None:
        detections = _suppressed(by_meaning)
    elif not (np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all()):
        return Answer(results=everything)
    if detections is not None:
        objects = _objects(detections, labels, prepared)
        return Answer(objects=objects, results=everything, notes=notes)
    known = _of_values(by_meaning, labels, prepared)
    return Answer(**known, results=everything, notes=notes if known else ())


def _suppressed(values: Mapping[Meaning | None, np.ndarray]) -> Detections | None:
    """Detections from boxes and scores, if there is a row of scores for each box."""
    boxes, scores = values.get("boxes"), values.get("scores")
    if boxes is None or scores is None or boxes.shape[1] != scores.shape[1]:
        return None
    return suppress(boxes[0], scores[0])


def _fits(result: Result) -> bool:
    """Whether an output can be what it is said to be: a manifest may say anything."""
    value = result.value
    if value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        return False
    if result.meaning == "labels" and value.size:
        low, high = value.min(), value.max()
        return _shaped(result) and low >= 0 and high < MOST_CLASSES and (value == value // 1).all()
    return _shaped(result)


def _shaped(result: Result) -> bool:
    """Whether it has the shape of what it is said to be."""
    shape = result.value.shape
    if result.meaning in ("logits", "probabilities"):
        return len(shape) in (2, 4) and shape[0] == 1 and 0 not in shape
    if result.meaning in ("boxes", "scores"):
        return len(shape) == 3 and shape[0] == 1 and (result.meaning == "scores" or shape[2] == 4)
    if result.meaning == "labels":
        return len(shape) in (3, 4) and math.prod(shape[:-2]) == 1 and 0 not in shape
    if result.meaning == "upscaled":
        return len(shape) == 4 and shape[0] == 1 and shape[1] in (1, 3) and 0 not in shape
    if result.meaning in ("disparity", "depth"):
        return len(shape) in (3, 4) and math.prod(shape[:-2]) == 1 and 0 not in shape
    return True


def _of_values(
    values: Mapping[Meaning | None, np.ndarray], labels: Sequence[str] | None, prepared: Prepared
) -> dict[str, Any]:
    """The fields of an `Answer` for outputs that are no detections; none where nobody said."""
    scores = values.get("probabilities", values.get("logits"))
    if "labels" in values:
        return _segments(values["labels"].reshape(values["labels"].shape[-2:]), labels)
    if scores is not None and scores.ndim == 2:
        sure = scores[0] if "probabilities" in values else softmax(scores[0].astype(np.float64))
        return {"classes": _best(sure, labels)}
    if scores is not None and scores.ndim == 4 and scores.shape[1] > 1:
        if scores.shape[1] > MOST_CLASSES:
            return {}
        return _segments(_upsampled(scores, prepared)[0].argmax(0), labels)
    if scores is not None and scores.ndim == 4:
        return {"map": scores[0, 0].clip(0, 1)}
    if "upscaled" in values:
        return {"image": _pixels(values["upscaled"][0])}
    maps: tuple[Meaning, ...] = ("disparity", "depth")
    for meaning in maps:
        if meaning in values:
            near = _relative(values[meaning].reshape(values[meaning].shape[-2:]))
            return {"map": near if meaning == "disparity" else 1 - near}
    return {}


def _objects(
    found: Detections, labels: Sequence[str] | None, prepared: Prepared
) -> tuple[Found, ...]:
    boxes = prepared.placement.boxes(found.boxes, prepared.size)
    return tuple(
        Found(int(index), _name(labels, int(index)), float(score), _four(box))
        for index, score, box in zip(found.classes, found.scores, boxes, strict=True)
    )


def _rounded(box: tuple[float, ...] | None) -> list[float] | None:
    """Tenths of a pixel are enough to read."""
    return None if box is None else [round(edge, 1) for edge in box]


def _four(box: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right, bottom, in that order whatever the model gave."""
    left, top, right, bottom = (float(edge) for edge in box)
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def _best(probabilities: np.ndarray, labels: Sequence[str] | None) -> tuple[Found, ...]:
    order = np.argsort(-probabilities, kind="stable")[:BEST]
    return tuple(
        Found(int(index), _name(labels, int(index)), float(probabilities[index])) for index in order
    )


def _segments(classes: np.ndarray, labels: Sequence[str] | None) -> dict[str, Any]:
    whole = classes.astype(np.int64)
    indices, counts = np.unique(whole, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    regions = tuple(
        Region(int(indices[k]), _name(labels, int(indices[k])), float(counts[k] / whole.size))
        for k in order
    )
    return {"labels": whole, "regions": regions}


def _name(labels: Sequence[str] | None, index: int) -> str | None:
    return labels[index] if labels is not None and 0 <= index < len(labels) else None


def _upsampled(scores: np.ndarray, prepared: Prepared) -> np.ndarray:
    """(1, C, H, W) at the size of the input, bilinear, as segmenters are evaluated."""
    import torch
    from torch.nn.functional import interpolate

    size = prepared.sample.image.shape[-2:]
    if scores.shape[1] * math.prod(size) > _LARGEST_MAP:
        return scores
    values = torch.from_numpy(np.ascontiguousarray(scores, dtype=np.float32))
    return interpolate(values, size=size, mode="bilinear", align_corners=False).numpy()


def _pixels(image: np.ndarray) -> np.ndarray:
    """(C, H, W) in [0, 1] as (H, W, 3) of 8 bits."""
    eight = (image.clip(0, 1) * 255).round().astype(np.uint8)
    return (
        np.repeat(eight, 3, axis=0)[:3].transpose(1, 2, 0)
        if len(eight) == 1
        else (eight.transpose(1, 2, 0))
    )


def _relative(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)

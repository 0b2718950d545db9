"""What a model is for, and what its inputs and outputs are: the words of a manifest, importable
without anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

__all__ = ["Meaning", "Role", "Task", "class_count", "is_one_picture"]

Task = Literal[
    "classification",
    "video classification",
    "segmentation",
    "detection",
    "saliency",
    "depth",
    "super-resolution",
    "restoration",
    "embedding",
    "features",
]
"""What a model is for; ``features`` are a backbone's. ``restoration``: the picture without rain,
blur or noise, or the frame between two."""

Meaning = Literal[
    "logits",
    "probabilities",
    "labels",
    "label name",
    "boxes",
    "scores",
    "classes",
    "count",
    "deltas",
    "disparity",
    "depth",
    "upscaled",
    "embedding",
    "features",
]
"""What the numbers of an output are.

``logits``: before softmax or sigmoid. ``probabilities``: of each class, or of what is looked for at
each pixel. ``labels``: index of the class of each pixel. ``label name``: the best class, as text.
``boxes``, ``scores`` (probabilities), ``classes`` (indices) and ``count`` of detections.
``deltas``: from a detector's anchors. ``disparity``: grows with nearness; ``depth``: with distance.
``upscaled``: an image in [0, 1], of the input's size or larger. ``embedding``: to be compared with
another by its direction.
"""

Role = Literal["image", "mask", "indices", "state", "boxes", "values"]
"""What an input is. ``image``: a picture or a clip. ``mask``: zeros and ones. ``indices``: whole
numbers that choose among things, such as rows of an embedding table. ``state``: what a recurrent
model returned the last time. ``boxes``: regions of an image, as left, top, right, bottom in pixels.
``values``: other numbers.
"""


def is_one_picture(inputs: Sequence[Any]) -> bool:
    """Whether a model takes one image of float32, channels first, and nothing else.

    Args:
        inputs: of the model, as `graph.specs.InputSpec` or `artifacts.manifest.Input` has them.
    """
    first, *others = inputs
    plain = first.role == "image" and first.dtype == "float32" and not first.channels_last
    return not others and plain


def class_count(shapes: Mapping[Meaning | None, Sequence[int | None]]) -> int | None:
    """How many classes there are numbers for; None where the outputs do not tell.

    Args:
        shapes: of the outputs by what they are, with the batch, channels first.
    """
    if "scores" in shapes:
        return shapes["scores"][-1]
    found = shapes.get("probabilities", shapes.get("logits"))
    if found is None or "labels" in shapes or len(found) < 2:
        return None
    return None if len(found) == 4 and found[1] == 1 else found[1]

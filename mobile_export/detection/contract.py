"""What a program must be to get non-maximum suppression inside its file.

Its outputs are ``boxes`` (1, N, 4): left, top, right, bottom in pixels of the network's input, and
``scores`` (1, N, classes): each class's probability, without a background. Names and shapes are
checked on the program, the rest on what the model returns for the parity inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError

if TYPE_CHECKING:
    from ..graph.program import Program
    from ..graph.specs import Thresholds

__all__ = ["BOXES", "CORNERS", "SCORES", "check_detector", "check_values", "class_names", "pick"]

CORNERS = (("left", "top", "right", "bottom"), "pixels")
"""What the four numbers of a model's boxes are, and their unit."""
BOXES = "boxes"
SCORES = "scores"
_WANTED = (
    "`nms` needs a model that returns a dict of exactly boxes (1, N, 4), as left, top, right, "
    "bottom in pixels of the input, and scores (1, N, classes), as probabilities without a "
    "background."
)


def check_detector(program: Program, options: Thresholds) -> None:
    """Refuse a program whose outputs are not boxes and scores of one image.

    Raises:
        UsageError: names, shapes or the number of labels do not fit; or more detections are asked
            for than there are pairs of box and class.
    """
    if program.others or program.input.role != "image":
        raise UsageError(
            f"`nms` is for a detector of one image; {program.spec} takes "
            f"{', '.join(map(str, program.inputs))}.",
            hint="Leave `nms` out.",
        )
    shapes = {output.name: output.shape for output in program.outputs}
    boxes, scores = shapes.get(BOXES, ()), shapes.get(SCORES, ())
    fits = len(shapes) == 2 and len(boxes) == len(scores) == 3 and boxes[2] == 4
    if not fits or boxes[:2] != scores[:2] or boxes[0] != 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UsageError(
            f"`nms` does not fit {program.spec}, which returns {found}.",
            hint=f"{_WANTED} The zoo's detectors are {', '.join(_zoo_detectors())}.",
        )
    pairs = scores[1] * scores[2]
    if options.max_detections > pairs:
        raise UsageError(
            f"`max_detections` {options.max_detections} is more than the {pairs} pairs of box and "
            f"class of {program.spec}.",
            hint=f"Valid is 1 to {pairs}.",
        )
    if program.labels is not None and len(program.labels) != scores[2]:
        raise UsageError(
            f"{len(program.labels)} labels do not fit the {scores[2]} classes of {program.spec}.",
            hint="Give a text file with one label a line, in the order of the scores.",
        )


def check_values(program: Program, samples: Sequence[Sequence[np.ndarray]]) -> None:
    """Refuse boxes and scores that suppression would read wrongly.

    Args:
        samples: per parity input, the model's outputs in the order of ``program.outputs``.

    Raises:
        UsageError: scores are no probabilities, or boxes are no corners in pixels.
    """
    pairs = [pick(program, outputs) for outputs in samples]
    boxes = np.concatenate([boxes[0] for boxes, _ in pairs])
    scores = np.concatenate([scores[0] for _, scores in pairs])
    low, high = float(scores.min()), float(scores.max())
    problem = None
    if not (low >= 0 and high <= 1 + 1e-9):
        problem = f"scores from {low:.3g} to {high:.3g}: apply softmax or sigmoid in the model"
    elif (boxes[:, 2:] < boxes[:, :2]).any():
        problem = "boxes whose right or bottom side lies before the left or top one"
    elif boxes.max() <= 2 < min(program.input.size):
        problem = f"boxes that end at {boxes.max():.3g}, so they are not in pixels"
    if problem is not None:
        raise UsageError(
            f"`nms` does not fit {program.spec}, which returns {problem}.", hint=_WANTED
        )


def pick(program: Program, outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (1, N, 4) and scores (1, N, classes) among a detector's outputs."""
    found = {spec.name: value for spec, value in zip(program.outputs, outputs, strict=True)}
    return found[BOXES], found[SCORES]


def class_names(program: Program) -> tuple[str, ...]:
    """The labels, or the classes' indices as text where there are none."""
    if program.labels is not None:
        return program.labels
    shapes = {output.name: output.shape for output in program.outputs}
    return tuple(str(index) for index in range(shapes[SCORES][2]))


def _zoo_detectors() -> tuple[str, ...]:
    from ..models.table import entries

    return tuple(entry.name for entry in entries() if entry.task == "detection")

"""A TFLite file that ends with ``TFLite_Detection_PostProcess``, as a detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...artifacts.damage import reading
from ...detection import Detections, FileOutput, Suppression
from ...detection.contract import BOXES, SCORES
from ...errors import ArtifactError

if TYPE_CHECKING:
    from ...parity.samples import Sample

__all__ = ["POST_PROCESSING", "PostProcessing", "TFLiteDetector", "find_post_processing"]

POST_PROCESSING = "TFLite_Detection_PostProcess"
"""The operation's name."""
_LAYOUTS = {
    "boxes": "top, left, bottom, right, in units of the image's height and width, the surest "
    "first, then zeros",
    "classes": "index of the class, as a float",
    "scores": "probability",
    "count": "number of detections, as a float",
}

_BOX = (("top", "left", "bottom", "right"), "image")


@dataclass(frozen=True)
class PostProcessing:
    """The operation in a file: its options, and the indices of the tensors that it reads.

    Attributes:
        scores: of every class; where ``best_only``, the operation reads these with 0 for all but
            the best class of each box.
    """

    options: dict[str, float]
    scores: int
    anchors: int
    best_only: bool = False


def find_post_processing(path: Path) -> PostProcessing | None:
    """The last operation of a file, if that is the post-processing of decoded boxes.

    Raises:
        ArtifactError: it is, but its options or inputs are not those that mobile-export writes.
    """
    with reading(path, "TFLite"):
        return _find_post_processing(path)


def _find_post_processing(path: Path) -> PostProcessing | None:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    if not graph.OperatorsLength():  # it returns its input
        return None
    op = graph.Operators(graph.OperatorsLength() - 1)
    if op is None or model.OperatorCodes(op.OpcodeIndex()).CustomCode() != POST_PROCESSING.encode():
        return None
    options = _options(bytes(op.CustomOptionsAsNumpy()))
    encodings = graph.Tensors(op.Inputs(0))
    zeros = model.Buffers(encodings.Buffer()).DataAsNumpy()
    if not options["use_regular_nms"] or not isinstance(zeros, np.ndarray) or zeros.any():
        raise ArtifactError(
            f"The detection post-processing of {path} decodes boxes or suppresses across classes.",
            hint="Only files that mobile-export wrote with `nms` can be compared.",
        )
    whole = _scores_of_all(model, graph, op.Inputs(1))
    scores = op.Inputs(1) if whole is None else whole
    return PostProcessing(options, scores, op.Inputs(2), best_only=whole is not None)


def _scores_of_all(model: Any, graph: Any, scores: int) -> int | None:
    """The tensor x of which ``scores`` is x times a mask made of ARG_MAX of x; None of others."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    ops = [graph.Operators(place) for place in range(graph.OperatorsLength())]
    makers = {int(index): op for op in ops for index in op.OutputsAsNumpy()}

    def kind(op: Any) -> int:
        return int(model.OperatorCodes(op.OpcodeIndex()).BuiltinCode())

    product = makers.get(scores)
    if product is None or kind(product) != BuiltinOperator.MUL:
        return None
    for place in (0, 1):
        whole, waiting = product.Inputs(place), [product.Inputs(1 - place)]
        for _ in range(_LONGEST_MASK):
            made = [makers[each] for each in waiting if each in makers]
            if any(kind(op) == BuiltinOperator.ARG_MAX and op.Inputs(0) == whole for op in made):
                return int(whole)
            waiting = [int(index) for op in made for index in op.InputsAsNumpy()][:_LONGEST_MASK]
    return None


_LONGEST_MASK = 8
"""Operations from ARG_MAX to a mask, at most; of one, the operands that are followed."""


_READ = ("use_regular_nms", "max_detections", "nms_iou_threshold", "nms_score_threshold")
"""Options of the operation that are looked at."""


def _options(content: bytes) -> dict[str, float]:
    """The numbers `_READ` of a map in FlexBuffers' encoding; the rest of it is not unpacked: a
    hundred bytes can hold lists that unfold to billions."""
    from flatbuffers import flexbuffers

    options = flexbuffers.GetRoot(content).AsMap
    found = {name: options[name] for name in _READ}
    if not all(value.IsBool or value.IsNumeric for value in found.values()):
        raise TypeError("an option is no number")
    return {name: value.Value for name, value in found.items()}


class TFLiteDetector:
    """Boxes and scores are read from the inputs of the post-processing, after it ran.

    Args:
        interpreter: that ``invoke`` runs.
        invoke: the file's outputs by name.
        names: of the original model's outputs, boxes and scores, in its order.

    Attributes:
        suppression: as the operation's options say.
    """

    def __init__(
        self,
        interpreter: Any,
        invoke: Callable[[Sample], dict[str, np.ndarray]],
        names: tuple[str, ...],
        post_processing: PostProcessing,
    ) -> None:
        self.interpreter, self.invoke, self.names = interpreter, invoke, names
        self.post_processing = post_processing
        options = post_processing.options
        limit = int(options["max_detections"])
        shapes = {
            "boxes": (1, limit, 4),
            "classes": (1, limit),
            "scores": (1, limit),
            "count": (1,),
        }
        self.suppression = Suppression(
            iou_threshold=float(options["nms_iou_threshold"]),
            score_threshold=float(options["nms_score_threshold"]),
            limit=limit,
            best_class_only=post_processing.best_only,
            outputs=tuple(
                FileOutput(name, shape, _LAYOUTS[name], name, _BOX if name == "boxes" else None)  # type: ignore[arg-type]
                for name, shape in shapes.items()
            ),
        )

    def detect(self, sample: Sample) -> tuple[list[np.ndarray], Detections]:
        """See `targets.Detector`."""
        found = self.invoke(sample)
        inside = {
            BOXES: self.boxes(self.interpreter, sample),
            SCORES: self.interpreter.get_tensor(self.post_processing.scores),
        }
        count = int(found["count"][0])
        boxes = found["boxes"][0, :count][:, [1, 0, 3, 2]] * _extent(sample)
        kept = Detections(
            boxes, found["scores"][0, :count], found["classes"][0, :count].astype(np.int64)
        )
        return [inside[name] for name in self.names], kept

    def boxes(self, interpreter: Any, sample: Sample) -> np.ndarray:
        """Left, top, right, bottom in pixels (1, N, 4) of what the operation of a run was given."""
        anchors = interpreter.get_tensor(self.post_processing.anchors)
        y, x, tall, wide = np.moveaxis(anchors, -1, 0)
        corners = np.stack([x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2], -1)
        boxes: np.ndarray = (corners * _extent(sample))[None]
        return boxes


def _extent(sample: Sample) -> np.ndarray:
    height, width = sample.image.shape[-2:]
    return np.array([width, height, width, height], dtype=np.float32)

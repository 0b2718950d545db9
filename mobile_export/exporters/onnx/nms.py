"""Non-maximum suppression behind an ONNX detector, in standard operators.

``NonMaxSuppression`` returns the indices of what it keeps, class by class, as many as there are.
The nodes here sort them by score and make of them four outputs of fixed shape, the same as those of
TFLite's detection post-processing: boxes, classes, scores and their count, filled up with zeros.
Where a box competes with its best class alone, the scores of the others are multiplied by 0 before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

    from ...graph.specs import Thresholds

__all__ = ["append_suppression"]

_ALL_BOXES, _ALL_SCORES = "all_boxes", "all_scores"


def append_suppression(model: onnx.ModelProto, options: Thresholds) -> None:
    """Replace the outputs ``boxes`` (1, N, 4) and ``scores`` (1, N, classes) by detections."""
    from onnx import TensorProto, helper, numpy_helper

    graph, limit = model.graph, options.max_detections
    _rename(graph, {"boxes": _ALL_BOXES, "scores": _ALL_SCORES})
    constants = {
        "nms_limit": np.array([limit], dtype=np.int64),
        "nms_iou": np.array([options.iou_threshold], dtype=np.float32),
        "nms_score": np.array([options.score_threshold], dtype=np.float32),
        "nms_first": np.array([0], dtype=np.int64),
        "nms_class_column": np.array(1, dtype=np.int64),
        "nms_box_column": np.array(2, dtype=np.int64),
        "nms_no_scores": np.zeros(limit, dtype=np.float32),
        "nms_no_classes": np.zeros(limit, dtype=np.int64),
        "nms_no_boxes": np.zeros((limit, 4), dtype=np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in constants.items())
    node = helper.make_node
    scores = "nms_by_class"
    graph.node.append(node("Transpose", [_ALL_SCORES], [scores], perm=[0, 2, 1]))
    if options.best_class_only:
        graph.node.extend(_best_classes(graph, scores, "nms_best_scores"))
        scores = "nms_best_scores"
    graph.node.extend(
        [
            node(
                "NonMaxSuppression",
                [_ALL_BOXES, scores, "nms_limit", "nms_iou", "nms_score"],
                ["nms_kept"],  # (M, 3): image, class, box
            ),
            node("GatherND", ["nms_by_class", "nms_kept"], ["nms_scores"]),
            node("Concat", ["nms_scores", "nms_no_scores"], ["nms_filled_scores"], axis=0),
            node("TopK", ["nms_filled_scores", "nms_limit"], ["nms_top", "nms_order"], axis=0),
            node("Unsqueeze", ["nms_top", "nms_first"], ["scores"]),
            node("Gather", ["nms_kept", "nms_class_column"], ["nms_classes"], axis=1),
            node("Concat", ["nms_classes", "nms_no_classes"], ["nms_filled_classes"], axis=0),
            node("Gather", ["nms_filled_classes", "nms_order"], ["nms_sorted_classes"], axis=0),
            node("Unsqueeze", ["nms_sorted_classes", "nms_first"], ["classes"]),
            node("Gather", ["nms_kept", "nms_box_column"], ["nms_rows"], axis=1),
            node("Squeeze", [_ALL_BOXES, "nms_first"], ["nms_all_rows"]),
            node("Gather", ["nms_all_rows", "nms_rows"], ["nms_boxes"], axis=0),
            node("Concat", ["nms_boxes", "nms_no_boxes"], ["nms_filled_boxes"], axis=0),
            node("Gather", ["nms_filled_boxes", "nms_order"], ["nms_sorted_boxes"], axis=0),
            node("Unsqueeze", ["nms_sorted_boxes", "nms_first"], ["boxes"]),
            node("Shape", ["nms_rows"], ["nms_found"]),
            node("Min", ["nms_found", "nms_limit"], ["count"]),
        ]
    )
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, limit, 4]),
            helper.make_tensor_value_info("classes", TensorProto.INT64, [1, limit]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, limit]),
            helper.make_tensor_value_info("count", TensorProto.INT64, [1]),
        ]
    )


def _best_classes(graph: onnx.GraphProto, scores: str, result: str) -> list[onnx.NodeProto]:
    """(1, classes, N) -> the same, 0 but for the first of the highest of each column."""
    from onnx import helper, numpy_helper

    shapes = {
        each.name: [axis.dim_value for axis in each.type.tensor_type.shape.dim]
        for each in graph.output
    }
    classes = shapes["scores"][2]
    constants = {
        "nms_classes_count": np.array([classes], dtype=np.int64),
        "nms_off_on": np.array([0, 1], dtype=np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in constants.items())
    node = helper.make_node
    return [
        node("ArgMax", [scores], ["nms_best"], axis=1, keepdims=0),
        node("OneHot", ["nms_best", *constants], ["nms_is_best"], axis=1),
        node("Mul", [scores, "nms_is_best"], [result]),
    ]


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
    for info in graph.value_info:
        info.name = names.get(info.name, info.name)

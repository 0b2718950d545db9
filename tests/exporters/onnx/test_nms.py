"""Suppression among the best classes of boxes alone: expected is torchvision's batched NMS."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torchvision.ops import batched_nms

from mobile_export.detection import suppress
from mobile_export.exporters.onnx.nms import append_suppression
from mobile_export.graph.specs import Thresholds

BOXES, CLASSES = 200, 6
NUMBERS = Thresholds(0.5, 0.3, 150, best_class_only=True)


@pytest.fixture(scope="module")
def candidates() -> tuple[np.ndarray, np.ndarray]:
    """Boxes (1, N, 4) of a crowd, and scores (1, N, classes), many of them high in two classes."""
    generator = np.random.default_rng(3)
    corner = generator.uniform(0, 40, (BOXES, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(15, 30, (BOXES, 2))], 1)
    scores = generator.uniform(0, 1, (BOXES, CLASSES)) ** 2
    return boxes[None].astype(np.float32), scores[None].astype(np.float32)


def expected(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(M, 6) as ultralytics does it: the best class of each box, then torchvision."""
    best, labels = torch.from_numpy(scores[0]).max(1)
    sure = best > NUMBERS.score_threshold
    left = torch.from_numpy(boxes[0])[sure], best[sure], labels[sure]
    kept = batched_nms(*left, NUMBERS.iou_threshold)[: NUMBERS.max_detections]
    return np.column_stack([each[kept].numpy() for each in left])


def test_an_onnx_file_looks_at_the_best_class_of_each_box(
    candidates: tuple[np.ndarray, np.ndarray],
) -> None:
    infos = {"boxes": [1, BOXES, 4], "scores": [1, BOXES, CLASSES]}
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"given_{name}"], [name]) for name in infos],
        "detector",
        [
            helper.make_tensor_value_info(f"given_{name}", TensorProto.FLOAT, shape)
            for name, shape in infos.items()
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in infos.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    append_suppression(model, NUMBERS)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    given = dict(zip(("given_boxes", "given_scores"), candidates, strict=True))
    boxes, scores, classes, count = session.run(["boxes", "scores", "classes", "count"], given)
    rows = np.column_stack([boxes[0], scores[0], classes[0]])[: count[0]]
    exact = expected(*candidates)
    assert 20 < len(exact) < (candidates[1].max(-1) > 0.3).sum()
    np.testing.assert_allclose(rows, exact, rtol=1e-6)


def test_the_hosts_function_does_so_too(candidates: tuple[np.ndarray, np.ndarray]) -> None:
    boxes, scores = candidates
    found = suppress(
        boxes,
        scores,
        score_threshold=NUMBERS.score_threshold,
        iou_threshold=NUMBERS.iou_threshold,
        limit=NUMBERS.max_detections,
        best_class_only=True,
    )
    rows = np.column_stack([found.boxes, found.scores, found.classes])
    np.testing.assert_allclose(rows, expected(boxes, scores), rtol=1e-6)
    every = suppress(boxes, scores, score_threshold=0.3, iou_threshold=0.5, limit=1000)
    assert len(every.scores) > len(found.scores)

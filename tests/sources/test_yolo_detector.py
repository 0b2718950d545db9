"""Ultralytics' YOLO detectors: expected are ultralytics' own predictions on the same picture.

Their weights are random, and their scores spread, so that there are many detections. Skipped where
ultralytics (AGPL-3.0) is not installed; we ship nothing of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import mobile_export
from mobile_export.detection import suppress
from mobile_export.detection.options import NmsOptions
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source

ultralytics = pytest.importorskip("ultralytics")

SIZE = (128, 192)
PICTURE = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(5))


def made(name: str, *, alone: bool = False) -> Any:
    """A ``YOLO`` with spread scores; ``alone``: set to its head without suppression."""
    torch.manual_seed(0)
    yolo = ultralytics.YOLO(f"{name}.yaml")
    model = yolo.model
    noise = torch.Generator().manual_seed(1)
    torch.nn.Module.train(model, False)
    head = model.model[-1]
    for prefix in ("", "one2one_"):
        for part, spread, centre in (("cv3", 1.5, -2.5), ("cv2", 0.7, 2.0)):
            branches = getattr(head, prefix + part, None)
            spread_out(model, branches or (), spread, centre, noise)
    if alone:
        model.end2end = True
    return yolo


@torch.no_grad()
def spread_out(model: Any, branches: Any, spread: float, centre: float, noise: Any) -> None:
    """Give the last convolution of each branch random weights with which its results have this
    mean and standard deviation."""
    for layers in branches:
        seen: list[torch.Tensor] = []
        hook = layers[-1].register_forward_hook(lambda *call, seen=seen: seen.append(call[2]))
        torch.nn.init.normal_(layers[-1].weight, generator=noise)
        layers[-1].bias.zero_()
        model.predict(PICTURE)
        hook.remove()
        layers[-1].weight.mul_(spread / seen[0].std())
        layers[-1].bias.fill_(centre)


KINDS = [("yolo11n", False), ("yolo26n", False), ("yolo26n", True)]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}")
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def own(yolo: Any) -> np.ndarray:
    """(M, 6) left, top, right, bottom, score, class: as ultralytics' own predictor makes them."""
    from ultralytics.cfg import get_cfg
    from ultralytics.utils.nms import non_max_suppression

    settings = get_cfg()
    with torch.no_grad():
        found = yolo.model.eval()(PICTURE)
    (rows,) = non_max_suppression(
        found, 0.25, settings.iou, max_det=settings.max_det, end2end=yolo.model.end2end
    )
    rows[:, 2:4] = torch.maximum(rows[:, :2], rows[:, 2:4])  # inside out, which is empty here
    return rows.numpy()


def compare(found: np.ndarray, expected: np.ndarray) -> None:
    assert len(expected) > 20
    assert len(set(expected[:, 5].tolist())) > 3
    assert len(found) == len(expected)
    np.testing.assert_allclose(found[:, 4], expected[:, 4], atol=1e-5)
    distance = np.abs(found[:, None] - expected[None]).max(-1)  # rows of like scores may change
    assert (distance.min(1) < 1e-3).all()
    assert (distance.min(0) < 1e-3).all()


def test_boxes_scores_and_suppression_are_ultralytics(kind: Any) -> None:
    name, alone = kind
    expected = own(made(name, alone=alone))
    source = load_source(ModelRequest.of(made(name, alone=alone), size=SIZE))
    with torch.no_grad():
        found = source.module(PICTURE)
    numbers = source.suppression
    assert numbers is not None
    kept = suppress(
        found["boxes"].numpy(),
        found["scores"].numpy(),
        score_threshold=numbers.score_threshold,
        iou_threshold=numbers.iou_threshold,
        limit=numbers.max_detections,
        best_class_only=numbers.best_class_only,
        candidates=30_000,
    )
    compare(np.column_stack([kept.boxes, kept.scores, kept.classes]), expected)


def test_a_file_finds_what_ultralytics_finds(kind: Any, tmp_path: Path) -> None:
    name, alone = kind
    expected = own(made(name, alone=alone))
    (file,) = mobile_export.export(
        made(name, alone=alone), "onnx", tmp_path, size=SIZE, nms=NmsOptions()
    ).artifacts
    assert file.parity.status == "passed"
    session = onnxruntime.InferenceSession(str(file.path))
    wanted = ["boxes", "scores", "classes", "count"]
    boxes, scores, classes, count = session.run(wanted, {"image": PICTURE.numpy()})
    rows = np.column_stack([boxes[0], scores[0], classes[0]])[: count[0]]
    compare(rows, expected)


def test_it_is_taken_as_it_is() -> None:
    yolo = made("yolo11n")
    source = load_source(ModelRequest.of(yolo))
    assert source.input.size == (640, 640)
    assert source.labels is None
    yolo.model.names = {index: f"thing {index}" for index in range(80)}
    labels = load_source(ModelRequest.of(yolo, size=SIZE)).labels
    assert labels is not None
    assert labels[3] == "thing 3"


@pytest.mark.parametrize("format_", ["coreml", "tflite", "ncnn", "tnn"])
def test_every_format_takes_boxes_and_scores(format_: str, tmp_path: Path) -> None:
    """In float32: these weights make features too small for float16."""
    options: Any = {"size": 64, "precision": "fp32"}
    (file,) = mobile_export.export(made("yolo11n"), format_, tmp_path, **options).artifacts
    assert file.parity.status == "passed"

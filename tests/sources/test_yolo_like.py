"""Detectors with the interface of ultralytics' YOLO: expected are torchvision's suppression, or the
head's own choice, of what the model itself returns; ultralytics need not be installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mobile_export
from mobile_export.detection.options import NmsOptions
from mobile_export.exporters.table import FORMATS
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source
from tests.conftest import need
from tests.sources.yolo_like import built

ops = pytest.importorskip("torchvision.ops")

SIZE = (64, 96)
PICTURE = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(5))
SUPPRESSING = [row.name for row in FORMATS if row.suppresses]


def own(*, alone: bool) -> np.ndarray:
    """(M, 6) left, top, right, bottom, score, class, of score 0.25 and more."""
    with torch.no_grad():
        found = built(alone=alone)(PICTURE)[0]
    if alone:
        rows = found[0]
        return np.asarray(rows[rows[:, 4] > 0.25])
    centre, size, scores = found[0].T.split([2, 2, found.shape[1] - 4], 1)
    best, labels = scores.max(1)
    sure = best > 0.25
    boxes = torch.cat([centre - size / 2, centre + size / 2], 1)[sure]
    kept = ops.batched_nms(boxes, best[sure], labels[sure], 0.7)[:300]
    return np.column_stack([boxes[kept], best[sure][kept], labels[sure][kept]])


def compare(found: np.ndarray, exact: np.ndarray, error: float = 1e-3) -> None:
    assert len(exact) > 20
    assert len(set(exact[:, 5].tolist())) > 3
    assert len(found) == len(exact)
    distance = np.abs(found[:, None] - exact[None]).max(-1)  # rows of like scores may change
    assert (distance.min(1) < error).all()
    assert (distance.min(0) < error).all()


def rows_of(file: Path, format_: str) -> np.ndarray:
    """What a file finds on `PICTURE`, by the vendor's runtime."""
    height, width = SIZE
    if format_ == "onnx":
        runtime = pytest.importorskip("onnxruntime")
        names = ["boxes", "scores", "classes", "count"]
        given = {"image": PICTURE.numpy()}
        boxes, scores, classes, count = runtime.InferenceSession(str(file)).run(names, given)
    else:
        runtime = pytest.importorskip("ai_edge_litert.interpreter")
        loaded = runtime.Interpreter(str(file))
        run = loaded.get_signature_runner()
        found = run(image=PICTURE.permute(0, 2, 3, 1).contiguous().numpy())
        boxes, scores, classes, count = (found[n] for n in ("boxes", "scores", "classes", "count"))
        boxes = boxes[..., [1, 0, 3, 2]] * [width, height, width, height]
    kept = int(count[0])
    return np.column_stack([boxes[0], scores[0], classes[0]])[:kept]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("format_", [name for name in SUPPRESSING if name != "coreml"])
def test_a_file_finds_what_the_model_finds(format_: str, alone: bool, tmp_path: Path) -> None:
    need(format_)
    report = mobile_export.export(
        built(alone=alone), format_, tmp_path, size=SIZE, nms=NmsOptions(), precision="fp32"
    )
    (file,) = report.artifacts
    assert file.parity.status == "passed"
    assert not any("found twice" in note for note in report.notes)
    assert file.path is not None
    compare(rows_of(file.path, format_), own(alone=alone))


def test_core_ml_is_checked_by_the_same_detections(tmp_path: Path) -> None:
    need("coreml")
    options: Any = {"size": SIZE, "nms": NmsOptions(), "precision": "fp32"}
    (file,) = mobile_export.export(built(), "coreml", tmp_path, **options).artifacts
    assert file.parity.status == "passed"
    assert file.parity.detections is not None
    assert file.parity.detections.certain > 20


@pytest.mark.parametrize("format_", ["ncnn", "tnn"])
def test_boxes_and_scores_are_written_where_nothing_suppresses(
    format_: str, tmp_path: Path
) -> None:
    need(format_)
    (file,) = mobile_export.export(
        built(), format_, tmp_path, size=SIZE, precision="fp32"
    ).artifacts
    assert file.parity.status == "passed"


def test_it_is_taken_as_it_is() -> None:
    source = load_source(ModelRequest.of(built()))
    assert source.input.size == (640, 640)
    assert source.labels == tuple(f"thing {index}" for index in range(5))
    assert source.suppression is not None
    assert source.suppression.best_class_only

"""Torchvision's one-stage detectors: expected are their own ``postprocess_detections``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import mobile_export
from mobile_export.detection import suppress
from mobile_export.errors import SourceError, UsageError
from mobile_export.sources.dense_detector import DenseDetector
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source as load_request
from tests.conftest import load_source

detection = pytest.importorskip("torchvision.models.detection")


@pytest.fixture(scope="module", params=["SSD", "FCOS", "RetinaNet"])
def detector(request: pytest.FixtureRequest) -> Any:
    """Small ones, their layers scaled so that there are sure and unsure boxes."""
    return small(request.param)


def small(kind: str) -> Any:
    from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator

    some = {"topk_candidates": 5000}  # as many as there are
    torch.manual_seed(3)
    conv = torch.nn.Conv2d(3, 32, 16, 16)
    backbone: Any = torch.nn.Sequential(conv, torch.nn.ReLU())
    backbone.out_channels = 32
    if kind == "SSD":
        backbone.out_channels = [32]
        boxes = DefaultBoxGenerator([[2]])
        made = detection.ssd.SSD(backbone, boxes, (128, 96), 6, score_thresh=0.3, **some)
        made.transform.size_divisible = 1
    elif kind == "FCOS":
        cells = AnchorGenerator(((32,),), ((1.0,),))
        made = detection.FCOS(backbone, 6, 96, 128, anchor_generator=cells, **some)
    else:
        cells = AnchorGenerator(((24, 40),), ((0.5, 1.0, 2.0),))
        made = detection.RetinaNet(backbone, 6, 96, 128, anchor_generator=cells, **some)
    for name, parameter in made.head.named_parameters():
        if parameter.ndim == 4:
            scores = "cls_logits" in name or "classification_head.module_list" in name
            spread = 3.0 if scores else 1.4
            torch.nn.init.normal_(parameter, std=spread / parameter[0].numel() ** 0.5)
    return made.eval()


PICTURE = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(8))


def own(detector: Any) -> dict[str, np.ndarray]:
    """What torchvision finds in `PICTURE`, which needs no resizing."""
    with torch.no_grad():
        found = detector([PICTURE])[0]
    return {name: value.numpy() for name, value in found.items()}


def normalised(detector: Any) -> torch.Tensor:
    mean, std = (torch.tensor(x)[:, None, None] for x in (ways(detector).mean, ways(detector).std))
    return ((PICTURE - mean) / std)[None]


def ways(detector: Any) -> Any:
    return DenseDetector(detector).ways


def test_boxes_scores_and_suppression_are_torchvisions(detector: Any) -> None:
    expected = own(detector)
    assert len(set(expected["labels"].tolist())) > 1
    assert len(expected["scores"]) > 10
    dense = DenseDetector(detector).eval()
    with torch.no_grad():
        found = {name: value.numpy() for name, value in dense(normalised(detector)).items()}
    ours = suppress(
        found["boxes"],
        found["scores"],
        score_threshold=dense.ways.thresholds.score_threshold,
        iou_threshold=dense.ways.thresholds.iou_threshold,
        candidates=100_000,
        limit=dense.ways.thresholds.max_detections,
    )
    assert (ours.classes + dense.ways.first_label).tolist() == expected["labels"].tolist()
    np.testing.assert_allclose(ours.scores, expected["scores"], atol=1e-5)
    np.testing.assert_allclose(ours.boxes, expected["boxes"], atol=1e-3)


def test_an_onnx_file_with_nms_finds_what_torchvision_finds(detector: Any, tmp_path: Path) -> None:
    expected, image = own(detector), normalised(detector).numpy()
    report = mobile_export.export(
        detector, "onnx", tmp_path, name="det", size=(96, 128), nms=mobile_export.NmsOptions()
    )
    assert report.exit_code == 0, report.artifacts[0].parity
    assert any("torchvision suppresses with" in note for note in report.notes)
    session = onnxruntime.InferenceSession(str(tmp_path / "det.onnx"))
    boxes, classes, scores, count = session.run(None, {"image": image})
    n = int(count[0])
    labels = classes[0, :n] + ways(detector).first_label
    assert labels.tolist() == expected["labels"].tolist()
    np.testing.assert_allclose(scores[0, :n], expected["scores"], atol=1e-4)
    np.testing.assert_allclose(boxes[0, :n], expected["boxes"], atol=1e-2)


def test_named_ones_have_the_thresholds_size_and_classes_of_torchvision() -> None:
    source = load_source("torchvision/ssdlite320_mobilenet_v3_large")
    assert source.input.size == (320, 320)
    assert source.input.mean == (0.5, 0.5, 0.5)
    assert source.suppression is not None
    assert source.suppression.iou_threshold == 0.55
    assert source.suppression.max_detections == 300
    best = detection.SSDLite320_MobileNet_V3_Large_Weights.DEFAULT
    assert source.labels is not None
    assert source.labels[0] == best.meta["categories"][1] == "person"
    assert len(source.labels) == len(set(source.labels)) == 90
    found = source.module(torch.zeros(1, 3, 320, 320))
    assert found["boxes"].shape[:2] == found["scores"].shape[:2] == (1, 3234)


def test_a_file_of_torchvisions_weights_fits(tmp_path: Path) -> None:
    torch.manual_seed(2)
    detector = detection.retinanet_resnet50_fpn(weights_backbone=None, num_classes=4).eval()
    state = {
        name: value
        for name, value in detector.state_dict().items()
        if "num_batches_tracked" not in name  # as in the official file, whose norms are frozen
    }
    for part in ("classification_head", "regression_head"):  # and its names are of version 1
        for i in range(4):
            for kind in ("weight", "bias"):
                value = state.pop(f"head.{part}.conv.{i}.0.{kind}")
                state[f"head.{part}.conv.{2 * i}.{kind}"] = value
    torch.save(state, tmp_path / "own.pth")
    name = "torchvision/retinanet_resnet50_fpn"
    source = load_source(name, size=64, num_classes=4, weights=tmp_path / "own.pth")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = source.module(image)["scores"]
        features = list(detector.backbone(image).values())
        expected = detector.head(features)["cls_logits"].sigmoid()
    torch.testing.assert_close(found, expected)


def test_two_stages_and_sizes_that_are_filled_up_are_refused() -> None:
    with pytest.raises(SourceError, match="second stage") as caught:
        load_source("torchvision/fasterrcnn_mobilenet_v3_large_320_fpn")
    assert "fcos_resnet50_fpn" in str(caught.value.hint)
    with pytest.raises(UsageError, match="divisible by 32"):
        load_request(ModelRequest.of(small("FCOS"), size=100))
    own = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    with pytest.raises(SourceError, match="second stage"):
        load_request(ModelRequest.of(own))

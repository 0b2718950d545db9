"""Core ML's suppression model: NonMaximumSuppression.proto and torchvision as oracles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobile_export.exporters.coreml.evaluator.nms import NmsModel

ops = pytest.importorskip("torchvision.ops")

MODEL = NmsModel(
    per_class=True,
    iou_threshold=0.45,
    confidence_threshold=0.3,
    confidence="raw_confidence",
    coordinates="raw_coordinates",
    outputs=("confidence", "coordinates"),
    rows=(0, None),
)


def detector_output(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0, 0.5, (200, 4))
    return confidence, np.concatenate(
        [rng.uniform(0, 1, (200, 2)), rng.uniform(0.1, 0.5, (200, 2))], 1
    )


@pytest.mark.parametrize("per_class", [True, False])
def test_equals_torchvisions_on_the_best_classes(per_class: bool) -> None:
    confidence, coordinates = detector_output(0)
    sure = np.flatnonzero(confidence.max(1) >= 0.3)
    boxes = ops.box_convert(torch.from_numpy(coordinates[sure]), "cxcywh", "xyxy")
    labels = torch.from_numpy(confidence[sure].argmax(1)) * int(per_class)
    kept = sure[ops.batched_nms(boxes, torch.from_numpy(confidence[sure].max(1)), labels, 0.45)]
    found = replace(MODEL, per_class=per_class).run(confidence, coordinates)
    np.testing.assert_array_equal(found[0], confidence[kept])
    np.testing.assert_array_equal(found[1], coordinates[kept])


@pytest.mark.parametrize(("threshold", "left"), [(0.164, 1), (0.165, 2)])
def test_the_overlap_drawn_in_the_specification(threshold: float, left: int) -> None:
    """Its two boxes share 12 glyphs of 73: 0.1644. Here they are 41 and 44 wide and 1 high."""
    coordinates = np.array([[20.5, 0.5, 41.0, 1.0], [29.0 + 22.0, 0.5, 44.0, 1.0]])
    found, _ = MODEL.run(np.array([[0.9], [0.8]]), coordinates, iou_threshold=threshold)
    assert len(found) == left


def test_thresholds_given_at_run_time_replace_those_of_the_file() -> None:
    confidence, coordinates = detector_output(1)
    usual = MODEL.run(confidence, coordinates)[0]
    everything = MODEL.run(confidence, coordinates, iou_threshold=1.0, confidence_threshold=0.0)[0]
    assert len(everything) == 200 > len(usual)
    assert len(MODEL.run(confidence, coordinates, confidence_threshold=0.9)[0]) == 0


def test_rows_are_limited_and_filled_up_with_zeros() -> None:
    confidence, coordinates = detector_output(2)
    every = MODEL.run(confidence, coordinates)
    few = replace(MODEL, rows=(0, 7)).run(confidence, coordinates)
    np.testing.assert_array_equal(few[1], every[1][:7])
    count = len(every[0])
    padded = replace(MODEL, rows=(count + 3, count + 3)).run(confidence, coordinates)
    assert padded[0].shape == (count + 3, 4)
    assert not padded[0][count:].any()
    assert not padded[1][count:].any()


def test_empty_boxes_suppress_nothing() -> None:
    confidence = np.array([[0.9], [0.8]])
    assert len(MODEL.run(confidence, np.full((2, 4), [0.5, 0.5, 0.0, 0.0]))[0]) == 2

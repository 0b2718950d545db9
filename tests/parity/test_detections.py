"""Which detections of a file are right: interval suppression against torchvision's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobile_export.detection import Detections, Suppression
from mobile_export.exporters.table import precision_named
from mobile_export.parity.detections import Candidates, candidates, match, with_detections
from mobile_export.parity.judge import judge
from mobile_export.parity.reference import Reference
from mobile_export.parity.report import ParityReport
from mobile_export.parity.samples import Sample

ops = pytest.importorskip("torchvision.ops")

EVERY_PAIR = Suppression(0.45, 0.3, 150, best_class_only=False, outputs=())
BEST_CLASS = replace(EVERY_PAIR, best_class_only=True)


def detector_output(seed: int, count: int = 300, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 80, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], 1)
    return boxes, rng.uniform(0, 1, (count, classes))


def torchvision_finds(boxes: np.ndarray, scores: np.ndarray, how: Suppression) -> Detections:
    if how.best_class_only:
        anchor, label = np.arange(len(scores)), scores.argmax(1)
        sure = scores.max(1) >= how.score_threshold
        anchor, label = anchor[sure], label[sure]
    else:
        anchor, label = np.nonzero(scores >= how.score_threshold)
    arrays = boxes[anchor], scores[anchor, label], label
    kept = ops.batched_nms(*map(torch.from_numpy, arrays), how.iou_threshold)[: how.limit].numpy()
    return Detections(*(array[kept] for array in arrays))


@pytest.mark.parametrize("how", [EVERY_PAIR, BEST_CLASS], ids=["every-pair", "best-class"])
@pytest.mark.parametrize("seed", range(3))
def test_without_error_it_is_torchvisions_suppression(seed: int, how: Suppression) -> None:
    boxes, scores = detector_output(seed)
    wanted = torchvision_finds(boxes, scores, how)
    found = candidates(boxes, scores, how, 0.0, 0.0)
    assert (found.state == 2).all()
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.scores, wanted.scores)
    np.testing.assert_array_equal(found.classes, wanted.classes)


@pytest.mark.parametrize("how", [EVERY_PAIR, BEST_CLASS], ids=["every-pair", "best-class"])
@pytest.mark.parametrize("limit", [20, 10_000])
def test_every_disturbed_run_is_accepted(how: Suppression, limit: int) -> None:
    """torchvision on boxes and scores within the error finds what the intervals allow."""
    how = replace(how, limit=limit)
    rng = np.random.default_rng(0)
    boxes, scores = detector_output(7, count=150)
    possible = candidates(boxes, scores, how, 0.3, 0.003)
    opened = 0
    for _ in range(20):
        shaken = (
            boxes + rng.uniform(-0.3, 0.3, boxes.shape),
            scores + rng.uniform(-0.003, 0.003, scores.shape),
        )
        check = match(torchvision_finds(*shaken, how), possible)
        assert check.passed
        assert check.certain > 10
        opened += check.open
    assert opened > 0


UNLIMITED = replace(EVERY_PAIR, limit=10_000)


def exact(how: Suppression = UNLIMITED) -> tuple[Detections, Candidates]:
    boxes, scores = detector_output(3)
    return torchvision_finds(boxes, scores, how), candidates(boxes, scores, how, 1e-9, 1e-9)


def test_a_missing_detection_is_seen() -> None:
    found, possible = exact()
    less = Detections(found.boxes[1:], found.scores[1:], found.classes[1:])
    check = match(less, possible)
    assert (check.certain - check.found, check.unexpected) == (1, 0)
    assert not check.passed


@pytest.mark.parametrize("field", ["boxes", "scores", "classes"])
def test_a_wrong_value_is_seen(field: str) -> None:
    found, possible = exact()
    wrong = getattr(found, field).copy()
    wrong[4] = wrong[4] + 1
    check = match(replace(found, **{field: wrong}), possible)
    assert (check.certain - check.found, check.unexpected) == (1, 1)


def test_one_detection_twice_is_seen() -> None:
    found, possible = exact()
    twice = Detections(*(np.concatenate([a, a[:1]]) for a in vars(found).values()))
    assert match(twice, possible).unexpected == 1


@pytest.mark.parametrize("change", [{"iou_threshold": 0.6}, {"score_threshold": 0.35}])
def test_other_thresholds_are_seen(change: dict[str, float]) -> None:
    found, _ = exact(replace(UNLIMITED, **change))
    _, possible = exact()
    assert not match(found, possible).passed


def test_suppression_across_classes_is_seen() -> None:
    boxes, scores = detector_output(3)
    anchor, label = np.nonzero(scores >= 0.3)
    kept = ops.nms(torch.from_numpy(boxes[anchor]), torch.from_numpy(scores[anchor, label]), 0.45)
    found = Detections(boxes[anchor[kept]], scores[anchor, label][kept], label[kept])
    assert not match(found, exact()[1]).passed


def test_nothing_found_and_nothing_expected() -> None:
    boxes, scores = detector_output(0)
    nothing = candidates(boxes, scores * 0.1, EVERY_PAIR, 0.0, 0.0)
    found = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=int))
    assert match(found, nothing).passed


def report_on(found: Detections) -> ParityReport:
    """A file that has the reference's boxes and scores inside and returns ``found``."""
    boxes, scores = detector_output(3)
    exact = [(boxes[None], scores[None])]
    samples = (Sample("noise-0", torch.zeros(1)),)
    report = judge(
        Reference(samples, tuple(exact), float32_error=1e-7),
        exact,
        precision=precision_named("fp32"),
        runtime="a runtime",
        emulated=False,
        output_names=("boxes", "scores"),
    )
    return with_detections(report, UNLIMITED, exact, exact, [found])


def test_the_verdict_counts_the_detections() -> None:
    found, _ = exact()
    good = report_on(found)
    assert good.passed
    assert any("certain ones found" in note for note in good.notes)
    bad = report_on(Detections(found.boxes[:-1], found.scores[:-1], found.classes[:-1]))
    assert bad.status == "failed"
    assert bad.max_rel == 0.0
    facts = bad.to_dict()["detections"]
    assert facts["certain"] - facts["found"] == 1

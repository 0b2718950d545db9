"""Non-maximum suppression on the host, against torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobile_export.detection import suppress

ops = pytest.importorskip("torchvision.ops")


def random_boxes(seed: int, count: int = 300, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 80, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 40, (count, 2))], 1)
    return boxes, rng.uniform(0, 1, (count, classes))


@pytest.mark.parametrize("seed", range(5))
def test_equals_torchvisions_batched_nms(seed: int) -> None:
    boxes, scores = random_boxes(seed)
    found = suppress(boxes, scores, score_threshold=0.3, candidates=10_000, limit=150)
    anchor, label = np.nonzero(scores > 0.3)
    kept = ops.batched_nms(
        torch.from_numpy(boxes[anchor]),
        torch.from_numpy(scores[anchor, label]),
        torch.from_numpy(label),
        0.45,
    )[:150]
    np.testing.assert_array_equal(found.boxes, boxes[anchor[kept]])
    np.testing.assert_array_equal(found.scores, scores[anchor, label][kept])
    np.testing.assert_array_equal(found.classes, label[kept])


def test_a_batch_of_one_is_the_same_image() -> None:
    boxes, scores = random_boxes(9)
    np.testing.assert_array_equal(
        suppress(boxes[None], scores[None]).boxes, suppress(boxes, scores).boxes
    )


def test_nothing_is_sure_enough() -> None:
    boxes, scores = random_boxes(0)
    found = suppress(boxes, scores * 0)
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == found.classes.shape == (0,)


def test_empty_boxes_do_not_suppress_each_other() -> None:
    boxes = np.zeros((2, 4))
    assert len(suppress(boxes, np.full((2, 1), 0.5)).boxes) == 2


def test_shapes_that_do_not_belong_together() -> None:
    boxes, scores = random_boxes(0)
    for bad_boxes, bad_scores in ((boxes[:5], scores), (boxes[:, :3], scores), (boxes, scores[0])):
        with pytest.raises(ValueError, match=r"boxes|shape"):
            suppress(bad_boxes, bad_scores)

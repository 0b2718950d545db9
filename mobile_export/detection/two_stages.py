"""What stands between and behind the parts of a detector of two stages, on the host.

The parts are networks of fixed shapes (`mobile_export.models.heads.mask_rcnn`); which boxes go on
depends on the picture, and is decided here, in NumPy, for Python and as the text to port:

    image → proposals part → `choose_regions` → boxes part → `suppress` → masks part → `paste_mask`

The numbers are those of mmdetection's ``mask-rcnn_r50_fpn``; scores of less than 0.05 and overlaps
above 0.5 are left out behind the second part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import suppress

if TYPE_CHECKING:
    import numpy as np

__all__ = ["choose_regions", "paste_mask"]


def choose_regions(
    boxes: np.ndarray,
    scores: np.ndarray,
    counts: Sequence[int],
    *,
    regions: int = 1000,
    candidates: int = 1000,
    iou_threshold: float = 0.7,
) -> np.ndarray:
    """The proposals that the second stage looks at, the surest first.

    Of each map the surest ``candidates`` compete with one another; what is left of all maps is
    sorted by score.

    Args:
        boxes: (1, N, 4) or (N, 4), left, top, right, bottom.
        scores: (1, N, 1) or (N, 1).
        counts: anchors of each map, in order: N in all.
        regions: rows of the result.
        iou_threshold: of two boxes of a map that overlap more, the surer stays.

    Returns:
        (regions, 4); rows behind the last proposal are zeros.

    Raises:
        ValueError: the shapes do not belong together.
    """
    import numpy as np

    boxes, scores = np.asarray(boxes).reshape(-1, 4), np.asarray(scores).reshape(-1)
    if not len(boxes) == len(scores) == sum(counts):
        raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores, maps of {sum(counts)} anchors")
    found: list[np.ndarray] = []
    sure: list[np.ndarray] = []
    start = 0
    for count in counts:
        level = slice(start, start + count)
        kept = suppress(
            boxes[level],
            scores[level, None],
            score_threshold=-np.inf,
            iou_threshold=iou_threshold,
            candidates=candidates,
            limit=count,
        )
        found.append(kept.boxes)
        sure.append(kept.scores)
        start += count
    order = np.argsort(-np.concatenate(sure), kind="stable")[:regions]
    chosen = np.zeros((regions, 4), boxes.dtype)
    chosen[: len(order)] = np.concatenate(found)[order]
    return chosen


def paste_mask(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A region's mask at its place in the image, bilinear; 0 outside.

    Args:
        mask: (h, w) probabilities: those of the region's class.
        box: (4,) left, top, right, bottom in pixels.
        size: (height, width) of the image.

    Returns:
        (height, width) probabilities; 0.5 and more belong to the object.
    """
    import numpy as np

    left, top, right, bottom = (float(side) for side in box)
    rows = _along(mask.shape[0], top, bottom, size[0])
    columns = _along(mask.shape[1], left, right, size[1])
    pasted: np.ndarray = np.einsum("yi,ij,xj->yx", rows, mask, columns)
    return pasted


def _along(cells: int, start: float, end: float, extent: int) -> np.ndarray:
    """(extent, cells): what each cell of a mask gives to the middle of each pixel along an axis."""
    import numpy as np

    sides = max(end - start, 1e-6)
    place = (np.arange(extent) + 0.5 - start) / sides * cells - 0.5
    distance = np.abs(place[:, None] - np.arange(cells))
    weights: np.ndarray = np.clip(1 - distance, 0, None)
    return weights

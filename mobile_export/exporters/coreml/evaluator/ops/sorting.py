"""MIL op reference: topk, argsort, non_maximum_suppression. Equal values keep their order."""

from __future__ import annotations

import torch

from ..table import Site, Tensor, Tensors, op
from .elementwise import convert

__all__: list[str] = []


_ORDER_IS_OPEN = "the order of equal values: here the first comes first"


def _ties_are_open(x: Tensor, axis: int = -1, **_: object) -> str | None:
    """Whether an axis has a value twice."""
    values = torch.sort(x, dim=axis).values
    same = values.narrow(axis, 1, x.shape[axis] - 1) == values.narrow(axis, 0, x.shape[axis] - 1)
    return _ORDER_IS_OPEN if bool(same.any()) else None


def _topk_is_open(
    x: Tensor, k: int = 1, axis: int = -1, ascending: bool = False, **_: object
) -> str | None:
    """Whether equal values are among the first k + 1."""
    count = x.shape[axis] if k == -1 else min(k + 1, x.shape[axis])
    values = torch.sort(x, dim=axis, descending=not ascending).values
    return _ties_are_open(values.narrow(axis, 0, count), axis)


@op("argsort", unsettled=_ties_are_open)
def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    """The indices that sort, the largest value first by default."""
    return torch.sort(x, dim=axis, descending=not ascending, stable=True).indices


@op("topk", unsettled=_topk_is_open)
def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensors:
    """The k largest (``ascending``: smallest) values, sorted, and their indices; -1 takes all.

    Without ``sort`` the order is not defined; here it is sorted all the same.
    """
    values, indices = torch.sort(x, dim=axis, descending=not ascending, stable=True)
    count = x.shape[axis] if k == -1 else k
    values = values.narrow(axis, 0, count)
    if not return_indices:
        return (values,)
    return values, convert(indices.narrow(axis, 0, count), output_indices_dtype)


@op("non_maximum_suppression")
def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_boxes: int,
    site: Site,
    score_threshold: float | None = None,
    per_class_suppression: bool = False,
) -> Tensors:
    """Boxes (x centre, y centre, width, height) by falling score that overlap no better one.

    A box competes with its best class. iOS 17 puts the boxes on the last axis and has neither a
    score threshold nor the count among its outputs. What is missing is filled up with 0, 0, -1.
    """
    modern = site.ios >= 17
    if modern:
        boxes, scores = boxes.transpose(1, 2), scores.transpose(1, 2)
    kept_boxes = boxes.new_zeros(boxes.shape[0], max_boxes, 4)
    kept_scores = scores.new_zeros(scores.shape[0], max_boxes, scores.shape[2])
    indices = torch.full((boxes.shape[0], max_boxes), -1, dtype=torch.int32)
    counts = torch.zeros(boxes.shape[0], dtype=torch.int32)
    for n in range(boxes.shape[0]):
        best, label = scores[n].max(dim=1)
        order = torch.argsort(best, descending=True, stable=True)
        if score_threshold is not None:
            order = order[best[order] >= score_threshold]
        overlap = _iou(boxes[n])
        if per_class_suppression:
            overlap = overlap * (label[:, None] == label[None, :])
        chosen: list[int] = []
        for candidate in order.tolist():
            if len(chosen) == max_boxes:
                break
            if not chosen or float(overlap[candidate, chosen].max()) <= iou_threshold:
                chosen.append(candidate)
        count = len(chosen)
        kept_boxes[n, :count], kept_scores[n, :count] = boxes[n, chosen], scores[n, chosen]
        indices[n, :count] = torch.tensor(chosen, dtype=torch.int32)
        counts[n] = count
    if modern:
        return kept_boxes.transpose(1, 2), kept_scores.transpose(1, 2), indices
    return kept_boxes, kept_scores, indices, counts


def _iou(boxes: Tensor) -> Tensor:
    """Intersection over union of all pairs."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    sides = torch.minimum(high[:, None], high[None]) - torch.maximum(low[:, None], low[None])
    common = sides.clamp(min=0).prod(-1)
    area = boxes[:, 2:].prod(-1)
    return common / (area[:, None] + area[None] - common)

"""What the exporters of detectors share: boxes as centre and size, in units of the image."""

from __future__ import annotations

import torch

__all__ = ["centre_boxes"]


def centre_boxes(boxes: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre (x, y) and extent (width, height) of boxes, each (…, 2), as fractions of the image.

    Args:
        boxes: (…, 4) left, top, right, bottom in pixels.
        size: (height, width) of the image.
    """
    height, width = size
    corners = boxes / torch.tensor([width, height, width, height], dtype=boxes.dtype)
    low, high = corners[..., :2], corners[..., 2:]
    return (low + high) * 0.5, high - low

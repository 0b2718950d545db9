"""A detector of one stage: backbone, neck, a head that predicts from anchors, and boxes decoded.

What is left outside is non-maximum suppression: `suppress` in `mobile_export.detection`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from ..layers import check_classes

__all__ = [
    "AnchorHead",
    "DetectionOutput",
    "Detector",
    "check_detection_output",
    "decode_boxes",
    "grid_anchors",
    "per_anchor",
]

DetectionOutput = Literal["boxes", "raw"]
"""``boxes``: boxes (B, N, 4) as left, top, right, bottom in pixels of the input, inside the image,
and scores (B, N, classes), each class's probability.
``raw``: logits (B, N, values), as the head makes them, and deltas (B, N, 4) from the anchors
(`Detector.anchors`), in units of their size and of the head's ``delta_scales``."""

MAX_LOG_SCALE = abs(math.log(16 / 1000))


class AnchorHead(Protocol):
    """What a detector's head tells beside its predictions.

    Attributes:
        delta_scales: of the centre's shift and of the logarithm of the size.
        anchors_per_pixel: of every feature map.
    """

    delta_scales: tuple[float, float]
    anchors_per_pixel: int

    def __call__(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, N, values) and deltas (B, N, 4) of the anchors of all maps."""

    def anchors_of(self, level: int, height: int, width: int, like: Tensor) -> Tensor:
        """Anchors of one map, (N, 4) as centre x, centre y, width, height in pixels."""

    def scores(self, logits: Tensor) -> Tensor:
        """Probability of every class, (B, N, classes)."""


class Detector(nn.Module):
    """Normalised images (B, in_chans, H, W) -> boxes and scores.

    Args:
        backbone: what `pyramid` takes feature maps of.
    """

    bbox_head: AnchorHead

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        bbox_head: nn.Module,
        *,
        num_classes: int,
        output: DetectionOutput,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.output = output
        self.backbone = backbone
        self.neck = neck
        self.bbox_head = bbox_head  # type: ignore[assignment]

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The feature maps of the backbone that the neck takes."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.neck(self.pyramid(x))
        logits, deltas = self.bbox_head(features)
        if self.output == "raw":
            return {"logits": logits, "deltas": deltas}
        boxes = decode_boxes(
            self.anchors(features), deltas, x.shape[2], x.shape[3], self.bbox_head.delta_scales
        )
        return {"boxes": boxes, "scores": self.bbox_head.scores(logits)}

    def anchors(self, features: list[Tensor]) -> Tensor:
        """(N, 4) as centre x, centre y, width, height in pixels, map by map."""
        levels = [
            self.bbox_head.anchors_of(level, x.shape[2], x.shape[3], like=x)
            for level, x in enumerate(features)
        ]
        return torch.cat(levels)


def check_detection_output(output: str, num_classes: int) -> None:
    """Refuse an unknown option, or no classes, with a sentence.

    Raises:
        ValueError: either.
    """
    check_classes(num_classes)
    if output not in get_args(DetectionOutput):
        known = ", ".join(get_args(DetectionOutput))
        raise ValueError(f"output is {output!r}; it must be one of {known}")


def per_anchor(x: Tensor, values: int) -> Tensor:
    """(B, anchors·values, h, w) -> (B, h·w·anchors, values)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


def grid_anchors(
    stride: int,
    sizes: Sequence[float],
    aspects: Sequence[float],
    height: int,
    width: int,
    like: Tensor,
) -> Tensor:
    """Anchors of one map, row by row: (height·width·anchors, 4) as centre x, y, width, height.

    Their centres are the upper left corners of the pixels, as in mmdetection.

    Args:
        stride: pixels of the image a pixel of the map.
        sizes: of a pixel's square anchors, in strides.
        aspects: height over width of a pixel's anchors.
        like: a tensor of the dtype and device wanted.
    """
    rows = torch.arange(height, dtype=like.dtype, device=like.device)
    columns = torch.arange(width, dtype=like.dtype, device=like.device)
    y, x = torch.meshgrid(rows * stride, columns * stride, indexing="ij")
    shapes = [
        (stride * size / math.sqrt(aspect), stride * size * math.sqrt(aspect))
        for aspect in aspects
        for size in sizes
    ]
    boxes = [torch.stack([x, y, x * 0 + w, x * 0 + h], -1) for w, h in shapes]
    return torch.stack(boxes, 2).reshape(-1, 4)


def decode_boxes(
    anchors: Tensor, deltas: Tensor, height: int, width: int, scales: tuple[float, float]
) -> Tensor:
    """Anchors (…, 4) moved and scaled by deltas (B, …, 4): boxes, cut at the image's border.

    Follows ``DeltaXYWHBBoxCoder`` of mmdetection; ``scales`` are its target_stds of the centre's
    shift and of the size.
    """
    centre_scale, size_scale = scales
    centres = anchors[..., :2] + anchors[..., 2:] * _times(deltas[..., :2], centre_scale)
    growth = _times(deltas[..., 2:], size_scale).clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)
    halves = 0.5 * anchors[..., 2:] * growth.exp()
    corners = torch.cat([centres - halves, centres + halves], -1)
    left, top, right, bottom = torch.split(corners, 1, -1)
    return torch.cat(
        [
            left.clamp(0, width),
            top.clamp(0, height),
            right.clamp(0, width),
            bottom.clamp(0, height),
        ],
        -1,
    )


def _times(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else x * factor

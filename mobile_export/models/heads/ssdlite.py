"""SSDLite (MobileNetV2, arXiv 1801.04381, §6.2; SSD, arXiv 1512.02325).

Boxes are predicted from six feature maps: those of strides 16 and 32 of the backbone and four maps
made of the last one, each half as wide; every prediction is a depthwise 3x3 and a pointwise
convolution. A cell has six anchors. Channels, anchors and the coding of boxes are those of
mmdetection's ``ssdlite_mobilenetv2_scratch_600e_coco`` and of EMO's configurations
(github.com/zhangzjn/EMO), for images of 320 x 320 pixels; other sizes work, with anchors of the
same pixels. Parameter names are those of the checkpoints.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..layers import ConvBNAct
from .detector import per_anchor
from .layers import DepthwiseSeparable

__all__ = ["EXTRA_DIMS", "SSDLiteHead", "SSDNeck"]

EXTRA_DIMS = (512, 256, 256, 128)
STRIDES = (16, 32, 64, 107, 160, 320)
SIZES = (48, 100, 150, 202, 253, 304, 320)
"""Anchors of a map are between its own entry and the next one in pixels, for images of 320."""
ASPECTS = (1.0, 1.0, 1 / 2, 2.0, 1 / 3, 3.0)
"""Height over width of a cell's anchors; the second square one is the larger."""
NORM_EPS = 1e-3


def _conv(dim_in: int, dim_out: int, kernel: int, *, groups: int = 1) -> ConvBNAct:
    return ConvBNAct(dim_in, dim_out, kernel, groups=groups, eps=NORM_EPS, act=nn.ReLU6)


class SSDNeck(nn.Module):
    """Appends four feature maps, each of half the last one's size."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.extra_layers = nn.ModuleList(
            nn.Sequential(
                _conv(before, after // 2, 1),
                DepthwiseSeparable(after // 2, after, stride=2, eps=NORM_EPS, act=nn.ReLU6),
            )
            for before, after in pairwise((dims[-1], *EXTRA_DIMS))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = list(features)
        for layer in self.extra_layers:
            features.append(layer(features[-1]))
        return features


def _predictor(dim: int, values: int) -> nn.Sequential:
    return nn.Sequential(_conv(dim, dim, 3, groups=dim), nn.Conv2d(dim, len(ASPECTS) * values, 1))


class SSDLiteHead(nn.Module):
    """Class logits (B, N, classes + 1), the last of the background, and box deltas (B, N, 4)."""

    delta_scales = (0.1, 0.2)
    anchors_per_pixel = len(ASPECTS)

    def __init__(self, dims: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.cls_convs = nn.ModuleList(_predictor(dim, classes + 1) for dim in dims)
        self.reg_convs = nn.ModuleList(_predictor(dim, 4) for dim in dims)
        self.classes = classes

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits = [
            per_anchor(conv(x), self.classes + 1)
            for conv, x in zip(self.cls_convs, features, strict=True)
        ]
        deltas = [per_anchor(conv(x), 4) for conv, x in zip(self.reg_convs, features, strict=True)]
        return torch.cat(logits, 1), torch.cat(deltas, 1)

    @staticmethod
    def anchors_of(level: int, height: int, width: int, like: Tensor) -> Tensor:
        """Anchors of one map, row by row: (height·width·6, 4) as centre x, y, width, height."""
        stride, size = STRIDES[level], SIZES[level]
        larger = math.sqrt(size * SIZES[level + 1])
        rows = torch.arange(height, dtype=like.dtype, device=like.device)
        columns = torch.arange(width, dtype=like.dtype, device=like.device)
        y, x = torch.meshgrid((rows + 0.5) * stride, (columns + 0.5) * stride, indexing="ij")
        sides = [larger if index == 1 else size for index in range(len(ASPECTS))]
        shapes = [
            torch.stack([x, y, x * 0 + side / math.sqrt(a), x * 0 + side * math.sqrt(a)], -1)
            for side, a in zip(sides, ASPECTS, strict=True)
        ]
        return torch.stack(shapes, 2).reshape(-1, 4)

    @staticmethod
    def scores(logits: Tensor) -> Tensor:
        """Probability of every class without the background: (B, N, classes)."""
        return logits.softmax(-1)[..., :-1]

    @staticmethod
    def classes_of(values: int) -> int | None:
        """Number of classes of a head with so many values per pixel (for `sources.weights`).

        Every anchor has one per class and one for the background.
        """
        return None if values % len(ASPECTS) else values // len(ASPECTS) - 1

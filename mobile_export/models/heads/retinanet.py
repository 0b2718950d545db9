"""RetinaNet (arXiv 1708.02002): a feature pyramid of strides 8 to 128, and one head for all of it.

Nine anchors a pixel: three sizes, 4, 5.0 and 6.3 strides, by three aspects. Widths, anchors and the
coding of boxes are those of mmdetection's ``retinanet_r50_fpn_1x_coco``, as are parameter names.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .detector import grid_anchors, per_anchor
from .pyramid import WIDTH

__all__ = ["RetinaHead"]

STRIDES = (8, 16, 32, 64, 128)
SIZES = tuple(4 * 2 ** (step / 3) for step in range(3))
"""Of a pixel's square anchors, in strides."""
ASPECTS = (0.5, 1.0, 2.0)
"""Height over width of a pixel's anchors."""
DEPTH = 4
PRIOR = 0.01
"""Probability that an untrained head gives every class of every anchor (§4.1)."""


class ConvReLU(nn.Module):
    """3x3 convolution and ReLU, named as mmcv names them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv(x))
        return y


class RetinaHead(nn.Module):
    """Class logits (B, N, classes) and box deltas (B, N, 4) of all anchors of all maps."""

    delta_scales = (1.0, 1.0)
    anchors_per_pixel = len(SIZES) * len(ASPECTS)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.cls_convs = nn.ModuleList(ConvReLU() for _ in range(DEPTH))
        self.reg_convs = nn.ModuleList(ConvReLU() for _ in range(DEPTH))
        self.retina_cls = nn.Conv2d(WIDTH, self.anchors_per_pixel * classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(WIDTH, self.anchors_per_pixel * 4, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias) if module.bias is not None else None
        nn.init.constant_(self.retina_cls.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits, deltas = [], []
        for x in features:
            kind = place = x
            for convolve, regress in zip(self.cls_convs, self.reg_convs, strict=True):
                kind, place = convolve(kind), regress(place)
            logits.append(per_anchor(self.retina_cls(kind), self.classes))
            deltas.append(per_anchor(self.retina_reg(place), 4))
        return torch.cat(logits, 1), torch.cat(deltas, 1)

    @staticmethod
    def anchors_of(level: int, height: int, width: int, like: Tensor) -> Tensor:
        """Anchors of one map, (height·width·9, 4): see `grid_anchors`."""
        return grid_anchors(STRIDES[level], SIZES, ASPECTS, height, width, like)

    @staticmethod
    def scores(logits: Tensor) -> Tensor:
        """Probability of every class, each by itself: (B, N, classes)."""
        return logits.sigmoid()

    @classmethod
    def classes_of(cls, values: int) -> int | None:
        """Number of classes of a head with so many values per pixel (for `sources.weights`)."""
        return None if values % cls.anchors_per_pixel else values // cls.anchors_per_pixel

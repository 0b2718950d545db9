"""EMO for object detection: SSDLite (arXiv 2301.01146, §3.2 and Table 8).

SSDLite (arXiv 1801.04381, §6.2) predicts boxes from six feature maps: stages 3 and 4 of the
backbone and four maps made of the last one, each half as wide; every prediction is a depthwise 3x3
and a pointwise convolution. A cell has six anchors. Channels, anchors and the coding of boxes are
those of the official configurations (github.com/zhangzjn/EMO, mmdetection); EMO-5M's windows of
attention are 10 pixels wide there, the others' 7. Parameter names are those of the checkpoints.

Table 8's FLOPs are mmcv's count (no products of attention) of these networks at 320 x 320, cut
after one digit: 0.60, 0.98 and 1.87 G are printed as 0.6, 0.9 and 1.8. `mobile-export list` counts
the products, too: 0.62, 1.03 and 1.97 G.

Boxes are decoded inside the network. What is left is non-maximum suppression: `suppress` in
`mobile_export.detection`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..layers import ConvBNAct, check_classes
from .network import EMO_1M, EMO_2M, EMO_5M, EMOBackbone, EMOConfig

__all__ = [
    "DetectionOutput",
    "EMODetector",
    "emo_1m_ssdlite",
    "emo_2m_ssdlite",
    "emo_5m_ssdlite",
]

DetectionOutput = Literal["boxes", "raw"]
"""``boxes``: boxes (B, N, 4) as left, top, right, bottom in pixels of the input, inside the image,
and scores (B, N, classes), each class's probability.
``raw``: logits (B, N, classes + 1), the last being the background, and deltas (B, N, 4) from the
anchors (`EMODetector.anchors`), in units of their size and of `DELTA_SCALES`."""

EXTRA_DIMS = (512, 256, 256, 128)
STRIDES = (16, 32, 64, 107, 160, 320)
SIZES = (48, 100, 150, 202, 253, 304, 320)
"""Anchors of a map are between its own entry and the next one in pixels, for images of 320."""
ASPECTS = (1.0, 1.0, 1 / 2, 2.0, 1 / 3, 3.0)
"""Height over width of a cell's anchors; the second square one is the larger."""
DELTA_SCALES = (0.1, 0.2)
"""Of the centre's shift and of the logarithm of the size."""
MAX_LOG_SCALE = abs(math.log(16 / 1000))
NORM_EPS = 1e-3


def _conv(dim_in: int, dim_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> ConvBNAct:
    return ConvBNAct(
        dim_in, dim_out, kernel, stride=stride, groups=groups, eps=NORM_EPS, act=nn.ReLU6
    )


class SeparableConv(nn.Module):
    """Depthwise 3x3 of stride 2, then pointwise: (B, dim_in, H, W) -> (B, dim_out, ⌈H/2⌉, …)."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.depthwise_conv = _conv(dim_in, dim_in, 3, stride=2, groups=dim_in)
        self.pointwise_conv = _conv(dim_in, dim_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise_conv(self.depthwise_conv(x))
        return y


class Neck(nn.Module):
    """Appends four feature maps, each of half the last one's size."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        dims = (dim, *EXTRA_DIMS)
        self.extra_layers = nn.ModuleList(
            nn.Sequential(_conv(before, after // 2, 1), SeparableConv(after // 2, after))
            for before, after in pairwise(dims)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = list(features)
        for layer in self.extra_layers:
            features.append(layer(features[-1]))
        return features


def _predictor(dim: int, values: int) -> nn.Sequential:
    return nn.Sequential(_conv(dim, dim, 3, groups=dim), nn.Conv2d(dim, len(ASPECTS) * values, 1))


class SSDLiteHead(nn.Module):
    """Class logits (B, N, classes + 1) and box deltas (B, N, 4) of all anchors of all maps."""

    def __init__(self, dims: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.cls_convs = nn.ModuleList(_predictor(dim, classes + 1) for dim in dims)
        self.reg_convs = nn.ModuleList(_predictor(dim, 4) for dim in dims)
        self.classes = classes

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits = [
            _per_anchor(conv(x), self.classes + 1)
            for conv, x in zip(self.cls_convs, features, strict=True)
        ]
        deltas = [_per_anchor(conv(x), 4) for conv, x in zip(self.reg_convs, features, strict=True)]
        return torch.cat(logits, 1), torch.cat(deltas, 1)


def _per_anchor(x: Tensor, values: int) -> Tensor:
    """(B, anchors·values, h, w) -> (B, h·w·anchors, values)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


def anchors_of_map(level: int, height: int, width: int, like: Tensor) -> Tensor:
    """Anchors of one feature map, row by row: (height·width·6, 4) as centre x, y, width, height."""
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


class EMODetector(nn.Module):
    """EMO and SSDLite: normalised images (B, in_chans, H, W) -> boxes and scores.

    The anchors are made for 320 x 320 pixels; other sizes work, with anchors of the same pixels.
    """

    def __init__(
        self,
        config: EMOConfig,
        *,
        num_classes: int = 80,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        output: DetectionOutput = "boxes",
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        if output not in get_args(DetectionOutput):
            known = ", ".join(get_args(DetectionOutput))
            raise ValueError(f"output is {output!r}; it must be one of {known}")
        self.num_classes = num_classes
        self.output = output
        self.backbone = EMOBackbone(config, in_chans=in_chans, drop_path_rate=drop_path_rate)
        self.neck = Neck(config.dims[-1])
        self.bbox_head = SSDLiteHead((*config.dims[-2:], *EXTRA_DIMS), num_classes)

    @staticmethod
    def classes_of(values: int) -> int | None:
        """Number of classes of a head with so many values per pixel (for `sources.weights`).

        Every anchor has one per class and one for the background.
        """
        return None if values % len(ASPECTS) else values // len(ASPECTS) - 1

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.neck(self.backbone.stages(x)[-2:])
        logits, deltas = self.bbox_head(features)
        if self.output == "raw":
            return {"logits": logits, "deltas": deltas}
        anchors = self.anchors(features)
        boxes = decode_boxes(anchors, deltas, x.shape[2], x.shape[3])
        return {"boxes": boxes, "scores": logits.softmax(-1)[..., :-1]}

    def anchors(self, features: list[Tensor]) -> Tensor:
        """(N, 4) as centre x, centre y, width, height in pixels, map by map."""
        levels = [
            anchors_of_map(level, x.shape[2], x.shape[3], like=x)
            for level, x in enumerate(features)
        ]
        return torch.cat(levels)


def decode_boxes(anchors: Tensor, deltas: Tensor, height: int, width: int) -> Tensor:
    """Anchors (N, 4) moved and scaled by deltas (B, N, 4): boxes, cut at the image's border.

    Follows ``DeltaXYWHBBoxCoder`` of mmdetection with target_stds (0.1, 0.1, 0.2, 0.2).
    """
    centre_scale, size_scale = DELTA_SCALES
    centres = anchors[:, :2] + anchors[:, 2:] * (deltas[..., :2] * centre_scale)
    growth = (deltas[..., 2:] * size_scale).clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)
    halves = 0.5 * anchors[:, 2:] * growth.exp()
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


def emo_1m_ssdlite(
    num_classes: int = 80, *, in_chans: int = 3, output: DetectionOutput = "boxes"
) -> EMODetector:
    """EMO-1M with SSDLite: 22.0 AP on COCO (Table 8)."""
    return EMODetector(EMO_1M, num_classes=num_classes, in_chans=in_chans, output=output)


def emo_2m_ssdlite(
    num_classes: int = 80, *, in_chans: int = 3, output: DetectionOutput = "boxes"
) -> EMODetector:
    """EMO-2M with SSDLite: 25.2 AP on COCO (Table 8)."""
    return EMODetector(EMO_2M, num_classes=num_classes, in_chans=in_chans, output=output)


def emo_5m_ssdlite(
    num_classes: int = 80, *, in_chans: int = 3, output: DetectionOutput = "boxes"
) -> EMODetector:
    """EMO-5M with SSDLite: 27.9 AP on COCO (Table 8)."""
    config = replace(EMO_5M, window=10)
    return EMODetector(config, num_classes=num_classes, in_chans=in_chans, output=output)

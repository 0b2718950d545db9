"""Feature pyramid network (arXiv 1612.03144) and the segmentation head on it, Semantic FPN.

Parameter names are those of ``FPN`` of mmdetection and mmsegmentation, and of ``FPNHead`` of the
latter.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Conv, ConvBNAct
from .layers import resized

__all__ = ["FPN", "SemanticFPNHead"]

WIDTH = 256


class FPN(nn.Module):
    """Feature maps of rising strides -> maps of `WIDTH` channels that know the coarser ones.

    Args:
        dims: channels of the maps.
        extra: number of further maps, each of half the last one's size. The first is made of the
            last map of the backbone (RetinaNet's C5), the others of the one before.
        pooled: one further map has every second pixel of the last one (Mask R-CNN's P6).
    """

    def __init__(self, dims: tuple[int, ...], *, extra: int = 0, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.lateral_convs = nn.ModuleList(Conv(dim, WIDTH, 1) for dim in dims)
        convs = [Conv(WIDTH, WIDTH, 3) for _ in dims]
        convs += [Conv(WIDTH if index else dims[-1], WIDTH, 3, 2) for index in range(extra)]
        self.fpn_convs = nn.ModuleList(convs)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for index in reversed(range(len(laterals) - 1)):
            size = laterals[index].shape[2:]
            laterals[index] = laterals[index] + F.interpolate(
                laterals[index + 1], size=list(size), mode="nearest"
            )
        convs = list(self.fpn_convs)
        outputs = [conv(x) for conv, x in zip(convs, laterals, strict=False)]
        x = maps[-1]
        for conv in convs[len(laterals) :]:
            x = conv(x)
            outputs.append(x)
        if self.pooled:
            outputs.append(F.max_pool2d(outputs[-1], 1, stride=2))
        return outputs


class SemanticFPNHead(nn.Module):
    """Semantic FPN (Panoptic feature pyramid networks, arXiv 1901.02446, Figure 3).

    Each map is convolved and doubled until it has the size of the first one; their sum is
    classified per pixel: [(B, dims[i], H/4 …, W/4 …)] -> (B, classes, H/4, W/4).
    """

    def __init__(self, dims: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(width, classes, 1)
        heads: list[nn.Module] = []
        for level, dim in enumerate(dims):
            layers: list[nn.Module] = []
            for index in range(max(1, level)):
                layers.append(ConvBNAct(dim if index == 0 else width, width, 3))
                if level:
                    layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            heads.append(nn.Sequential(*layers))
        self.scale_heads = nn.ModuleList(heads)

    def forward(self, maps: list[Tensor]) -> Tensor:
        first, *others = [head(x) for head, x in zip(self.scale_heads, maps, strict=True)]
        for x in others:
            first = first + resized(x, first.shape[2:])
        scores: Tensor = self.conv_seg(first)
        return scores

"""Heads that join feature maps of several strides: LR-ASPP and SegFormer's.

Parameter names are those of mmsegmentation's ``LRASPPHead`` and ``SegformerHead``.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from ..layers import ConvBNAct
from .layers import concatenate, resized

__all__ = ["LRASPPHead", "SegFormerHead"]

POOL = 49
POOL_STRIDE = (16, 20)


class LRASPPHead(nn.Module):
    """Lite reduced atrous pyramid pooling (MobileNetV3, arXiv 1905.02244, §6.4 and Figure 10).

    The last map, gated by averages of 49 x 49 regions, is joined with two finer maps, one after the
    other, as mmsegmentation does; a map of fewer pixels than that is averaged as a whole, as
    torchvision's head does.

    [(B, d0, H, W), (B, d1, h, w), (B, dim, …)] -> (B, classes, H, W)
    """

    def __init__(self, dims: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(width, classes, 1)
        branches = (width // 4, width // 2)
        self.convs = nn.Sequential(
            OrderedDict(
                (f"conv{index}", nn.Conv2d(dims[index], branch, 1, bias=False))
                for index, branch in enumerate(branches)
            )
        )
        self.conv_ups = nn.Sequential(
            OrderedDict(
                (f"conv_up{index}", ConvBNAct(width + branch, width, 1))
                for index, branch in enumerate(branches)
            )
        )
        self.conv_up_input = nn.Conv2d(width, width, 1)
        self.aspp_conv = ConvBNAct(dims[-1], width, 1)
        gate = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(dims[-1], width, 1, bias=False), activate=nn.Sigmoid())
        )
        self.image_pool = nn.Sequential(nn.AvgPool2d(POOL, POOL_STRIDE), gate)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        pool, gate = self.image_pool
        pooled = pool(x) if min(x.shape[2:]) >= POOL else x.mean((2, 3), keepdim=True)
        x = self.conv_up_input(self.aspp_conv(x) * resized(gate(pooled), x.shape[2:]))
        for detail, conv, join in reversed(
            [*zip(maps[:-1], self.convs, self.conv_ups, strict=True)]
        ):
            x = join(torch.cat([resized(x, detail.shape[2:]), conv(detail)], 1))
        scores: Tensor = self.conv_seg(x)
        return scores


class SegFormerHead(nn.Module):
    """SegFormer's all-MLP head (arXiv 2105.15203, §3.2), of maps of strides 4 to 32.

    A 1x1 convolution each, brought to the finest map's size, joined, and a classifier per pixel.

    [(B, dims[i], H/4 …, W/4 …)] -> (B, classes, H/4, W/4)
    """

    def __init__(self, dims: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.convs = nn.ModuleList(ConvBNAct(dim, width, 1) for dim in dims)
        self.fusion_conv = ConvBNAct(len(dims) * width, width, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        projected = [conv(x) for conv, x in zip(self.convs, maps, strict=True)]
        joined = concatenate(projected, maps[0].shape[2:])
        scores: Tensor = self.conv_seg(self.fusion_conv(joined))
        return scores

"""Heads that look around on feature maps: FCN, PSPNet, DeepLabv3 and DeepLabv3+.

- FCN (arXiv 1411.4038) as mmsegmentation has it: two 3x3 convolutions, joined with their input.
- FCN as HRNet has it (arXiv 1908.07919): all maps at stride 4, joined, and a 1x1 convolution.
- Non-local (arXiv 1711.07971): FCN with an attention of all pixels between its convolutions.
- PSPNet (arXiv 1612.01105): a pyramid of averages over 1, 2, 3 and 6 bins.
- DeepLabv3 (arXiv 1706.05587): atrous spatial pyramid pooling of rates 12, 24 and 36.
- DeepLabv3+ (arXiv 1802.02611): the same with depthwise separable convolutions, and the map of
  stride 4, of which 48 channels are taken.

Parameter names are those of mmsegmentation's ``FCNHead``, ``NLHead``, ``PSPHead``, ``ASPPHead`` and
``DepthwiseSeparableASPPHead``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import Conv, ConvBNAct, attend
from .layers import DepthwiseSeparable, concatenate, pooled_branch, resized

__all__ = ["DeepLabHead", "DeepLabPlusHead", "FCNHead", "JoinedFCNHead", "NonLocalHead", "PSPHead"]

RATES = (1, 12, 24, 36)
BINS = (1, 2, 3, 6)
DETAIL_WIDTH = 48


class FCNHead(nn.Module):
    """Two 3x3 convolutions and a classifier per pixel: [(B, dim, h, w)] -> (B, classes, h, w)."""

    def __init__(self, dims: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        dim = dims[-1]
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.convs = nn.Sequential(ConvBNAct(dim, width, 3), ConvBNAct(width, width, 3))
        self.conv_cat = ConvBNAct(dim + width, width, 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        scores: Tensor = self.conv_seg(self.conv_cat(torch.cat([x, self.convs(x)], 1)))
        return scores


class NonLocal(nn.Module):
    """Attention of all pixels, added to the map: (B, dim, h, w) -> (B, dim, h, w)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        middle = dim // 2
        self.g = Conv(dim, middle, 1)
        self.conv_out = ConvBNAct(middle, dim, 1, act=nn.Identity)
        self.theta = Conv(dim, middle, 1)
        self.phi = Conv(dim, middle, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).flatten(2) for part in (self.theta, self.phi, self.g))
        mixed = attend(q, k, v, heads=1)
        y: Tensor = x + self.conv_out(mixed.reshape(x.shape[0], -1, *x.shape[2:]))
        return y


class NonLocalHead(FCNHead):
    """`FCNHead` with a `NonLocal` between its two convolutions."""

    def __init__(self, dims: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__(dims, width, classes)
        self.nl_block = NonLocal(width)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        y = self.convs[1](self.nl_block(self.convs[0](x)))
        scores: Tensor = self.conv_seg(self.conv_cat(torch.cat([x, y], 1)))
        return scores


class JoinedFCNHead(nn.Module):
    """All maps at the size of the finest, a 1x1 convolution and a classifier per pixel.

    The convolution keeps the channels, Σ dims.

    [(B, dims[i], H/4 …, W/4 …)] -> (B, classes, H/4, W/4)
    """

    def __init__(self, dims: tuple[int, ...], classes: int) -> None:
        super().__init__()
        width = sum(dims)
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.convs = nn.Sequential(ConvBNAct(width, width, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:
        scores: Tensor = self.conv_seg(self.convs(concatenate(maps, maps[0].shape[2:])))
        return scores


class DeepLabHead(nn.Module):
    """Atrous spatial pyramid pooling and a classifier per pixel: [(B, dim, h, w)] -> scores."""

    def __init__(self, dims: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        dim = dims[-1]
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.image_pool = pooled_branch(1, dim, width)
        self.aspp_modules = nn.ModuleList(
            ConvBNAct(dim, width, 1 if rate == 1 else 3, dilation=rate) for rate in RATES
        )
        self.bottleneck = ConvBNAct((len(RATES) + 1) * width, width, 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        branches = [self.image_pool(x), *(module(x) for module in self.aspp_modules)]
        scores: Tensor = self.conv_seg(self.bottleneck(concatenate(branches, x.shape[2:])))
        return scores


class PSPHead(nn.Module):
    """Pyramid pooling and a classifier per pixel: [(B, dim, h, w)] -> (B, classes, h, w)."""

    def __init__(self, dims: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        dim = dims[-1]
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.psp_modules = nn.ModuleList(pooled_branch(bins, dim, width) for bins in BINS)
        self.bottleneck = ConvBNAct(dim + len(BINS) * width, width, 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        branches = [x, *(module(x) for module in self.psp_modules)]
        scores: Tensor = self.conv_seg(self.bottleneck(concatenate(branches, x.shape[2:])))
        return scores


class DeepLabPlusHead(nn.Module):
    """Separable pyramid pooling, joined with details of stride 4, and a classifier per pixel.

    [(B, detail, H/4, W/4), (B, dim, h, w)] -> (B, classes, H/4, W/4)
    """

    def __init__(self, dims: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        detail, dim = dims
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.image_pool = pooled_branch(1, dim, width)
        self.aspp_modules = nn.ModuleList(
            ConvBNAct(dim, width, 1) if rate == 1 else DepthwiseSeparable(dim, width, dilation=rate)
            for rate in RATES
        )
        self.bottleneck = ConvBNAct((len(RATES) + 1) * width, width, 3)
        self.c1_bottleneck = ConvBNAct(detail, DETAIL_WIDTH, 1)
        self.sep_bottleneck = nn.Sequential(
            DepthwiseSeparable(width + DETAIL_WIDTH, width), DepthwiseSeparable(width, width)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        detail, x = maps
        branches = [self.image_pool(x), *(module(x) for module in self.aspp_modules)]
        context = self.bottleneck(concatenate(branches, x.shape[2:]))
        detail = self.c1_bottleneck(detail)
        joined = torch.cat([resized(context, detail.shape[2:]), detail], 1)
        scores: Tensor = self.conv_seg(self.sep_bottleneck(joined))
        return scores

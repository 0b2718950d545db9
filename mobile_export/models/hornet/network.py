"""HorNet, NeurIPS 2022 (arXiv 2207.14284).

"HorNet: Efficient High-Order Spatial Interactions with Recursive Gated Convolutions", Rao et al.
The frame of ConvNeXt; its blocks mix by gⁿConv (§3.1): a 7x7 depthwise convolution of channels in
groups that double in width, multiplied into a running product group by group. The order n grows
from 2 to 5 over the stages. Tiny: §4.1 of the paper.

Parameter names are those of the official checkpoints (github.com/raoyongming/HorNet).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ..layers import ChannelNorm, ConvNeXtFrame, DropPath, check_classes, drop_rates

__all__ = ["HorNet", "hornet_tiny_7x7"]

EPS = 1e-6
ORDERS = (2, 3, 4, 5)
DEPTHS = (2, 3, 18, 2)
SCALE = 1 / 3
"""Of the depthwise convolution's result, so that products do not grow."""
KERNEL = 7
LAYER_SCALE = 1e-6


class GatedConv(nn.Module):
    """gⁿConv: (B, dim, H, W) -> (B, dim, H, W), a product of ``order`` convolved groups."""

    def __init__(self, dim: int, order: int) -> None:
        super().__init__()
        self.dims = [dim // 2**power for power in reversed(range(order))]
        total = sum(self.dims)
        self.proj_in = nn.Conv2d(dim, 2 * dim, 1)
        self.dwconv = nn.Conv2d(total, total, KERNEL, padding=KERNEL // 2, groups=total)
        self.proj_out = nn.Conv2d(dim, dim, 1)
        self.pws = nn.ModuleList(
            nn.Conv2d(narrow, wide, 1)
            for narrow, wide in zip(self.dims[:-1], self.dims[1:], strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        product, groups = self.proj_in(x).split([self.dims[0], sum(self.dims)], 1)
        first, *others = (self.dwconv(groups) * SCALE).split(self.dims, 1)
        product = product * first
        for widen, group in zip(self.pws, others, strict=True):
            product = widen(product) * group
        y: Tensor = self.proj_out(product)
        return y


class Block(nn.Module):
    """gⁿConv and feed-forward, each scaled per channel and with a residual."""

    def __init__(self, dim: int, order: int, drop_path: float) -> None:
        super().__init__()
        self.gamma1 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.gamma2 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.norm1 = ChannelNorm(dim, EPS)
        self.gnconv = GatedConv(dim, order)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.gamma1[:, None, None] * self.gnconv(self.norm1(x)))
        last = self.norm2(x.permute(0, 2, 3, 1))
        last = self.gamma2 * self.pwconv2(self.act(self.pwconv1(last)))
        y: Tensor = x + self.drop_path(last.permute(0, 3, 1, 2))
        return y


class HorNet(ConvNeXtFrame):
    """HorNet classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    def __init__(
        self,
        dim: int,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        dims = [dim * 2**stage for stage in range(len(DEPTHS))]
        reduce = [nn.Sequential(nn.Conv2d(in_chans, dim, 4, 4), ChannelNorm(dim, EPS))]
        for before, after in pairwise(dims):
            reduce.append(nn.Sequential(ChannelNorm(before, EPS), nn.Conv2d(before, after, 2, 2)))
        drops = iter(drop_rates(drop_path_rate, sum(DEPTHS)))
        stages = [
            nn.Sequential(*(Block(width, order, next(drops)) for _ in range(depth)))
            for width, order, depth in zip(dims, ORDERS, DEPTHS, strict=True)
        ]
        super().__init__(reduce, stages, dims[-1], num_classes=num_classes, eps=EPS)


def hornet_tiny_7x7(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> HorNet:
    """HorNet-T with 7x7 convolutions: 22 M parameters, 82.8 % top-1 on ImageNet."""
    return HorNet(64, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)

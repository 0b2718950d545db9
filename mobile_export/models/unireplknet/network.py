"""UniRepLKNet, CVPR 2024 (arXiv 2311.15599).

"UniRepLKNet: A Universal Perception Large-Kernel ConvNet", Ding et al. Blocks of a depthwise 13x13
convolution with dilated ones beside it (§3.1, "dilated reparam block"), squeeze-and-excitation, and
a feed-forward with global response normalisation. The branches are those of training; an export
merges what can be merged. Variant A: the official code.

Parameter names are those of the official checkpoints (github.com/AILab-CVC/UniRepLKNet).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import ChannelNorm, ConvNeXtFrame, DropPath, check_classes, drop_rates

__all__ = ["UniRepLKNet", "unireplknet_a"]

EPS = 1e-6
BRANCHES = {13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5))}
"""Of each large kernel, the kernels and dilations of its branches."""
SMALL, LARGE = 3, 13
LAYER_SCALE = 1e-6
FFN_RATIO = 4


def depthwise(dim: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    """A depthwise convolution without bias that keeps the size."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(dim, dim, kernel, padding=padding, dilation=dilation, groups=dim, bias=False)


class DilatedBlock(nn.Module):
    """The sum of a large convolution and of dilated ones, each with a norm."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.branches = BRANCHES[kernel]
        self.lk_origin = depthwise(dim, kernel)
        self.origin_bn = nn.BatchNorm2d(dim)
        for size, dilation in self.branches:
            setattr(self, f"dil_conv_k{size}_{dilation}", depthwise(dim, size, dilation))
            setattr(self, f"dil_bn_k{size}_{dilation}", nn.BatchNorm2d(dim))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.origin_bn(self.lk_origin(x))
        for size, dilation in self.branches:
            conv = getattr(self, f"dil_conv_k{size}_{dilation}")
            y = y + getattr(self, f"dil_bn_k{size}_{dilation}")(conv(x))
        return y


class SqueezeExcite(nn.Module):
    """Channels scaled by what the averages say: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(dim, dim // 4, 1)
        self.up = nn.Conv2d(dim // 4, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        average = x.mean((2, 3), keepdim=True)
        y: Tensor = x * self.up(F.relu(self.down(average))).sigmoid()
        return y


class ToLast(nn.Module):
    """(B, C, H, W) -> (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class ToFirst(nn.Module):
    """(B, H, W, C) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt V2), channels last."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        length = x.square().sum((1, 2), keepdim=True).sqrt()
        share = length / (length.mean(3, keepdim=True) + EPS)
        return (self.gamma * share + 1) * x + self.beta


class Block(nn.Module):
    """Depthwise convolution, squeeze-and-excitation and feed-forward, with one residual."""

    def __init__(self, dim: int, kernel: int, drop_path: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.dwconv = DilatedBlock(dim, kernel) if kernel in BRANCHES else depthwise(dim, kernel)
        self.norm = nn.BatchNorm2d(dim)
        self.se = SqueezeExcite(dim)
        middle = FFN_RATIO * dim
        self.pwconv1 = nn.Sequential(ToLast(), nn.Linear(dim, middle))
        self.act = nn.Sequential(nn.GELU(), ResponseNorm(middle))
        self.pwconv2 = nn.Sequential(
            nn.Linear(middle, dim, bias=False), ToFirst(), nn.BatchNorm2d(dim)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.se(self.norm(self.dwconv(x)))
        y = self.pwconv2(self.act(self.pwconv1(y)))
        z: Tensor = x + self.drop_path(self.gamma[:, None, None] * y)
        return z


class UniRepLKNet(ConvNeXtFrame):
    """UniRepLKNet classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        half = dims[0] // 2
        stem = nn.Sequential(
            nn.Conv2d(in_chans, half, 3, 2, 1),
            ChannelNorm(half, EPS),
            nn.GELU(),
            nn.Conv2d(half, dims[0], 3, 2, 1),
            ChannelNorm(dims[0], EPS),
        )
        reduce = [stem]
        for before, after in pairwise(dims):
            conv = nn.Conv2d(before, after, 3, 2, 1)
            reduce.append(nn.Sequential(conv, ChannelNorm(after, EPS)))
        drops = iter(drop_rates(drop_path_rate, sum(depths)))
        stages = [
            nn.Sequential(
                *(Block(dim, LARGE if stage else SMALL, next(drops)) for _ in range(depth))
            )
            for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True))
        ]
        super().__init__(reduce, stages, dims[-1], num_classes=num_classes, eps=EPS)


def unireplknet_a(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> UniRepLKNet:
    """UniRepLKNet-A: 4.4 M parameters when merged, 77.0 % top-1 on ImageNet."""
    return UniRepLKNet(
        (40, 80, 160, 320),
        (2, 2, 6, 2),
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )

"""DenseNet-121 (arXiv 1608.06993) as an encoder: torchvision's names of weights."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FEATURE_DIMS", "DenseNet"]

WIDTH, GROWTH, BOTTLENECK = 64, 32, 4
DEPTHS = (6, 12, 24, 16)
KEPT = ("relu0", "pool0", "transition1", "transition2", "norm5")
"""The parts whose outputs are the maps of strides 2 to 32."""
FEATURE_DIMS = (64, 64, 128, 256, 1024)
"""Channels of these maps."""


class DenseLayer(nn.Module):
    """Joins 32 new channels: (B, dim, H, W) -> (B, dim + 32, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        middle = BOTTLENECK * GROWTH
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv1 = nn.Conv2d(dim, middle, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


def dense_block(dim: int, depth: int) -> nn.Sequential:
    """So many layers, each of which sees all before it."""
    return nn.Sequential(
        OrderedDict(
            (f"denselayer{index + 1}", DenseLayer(dim + index * GROWTH)) for index in range(depth)
        )
    )


def transition(dim: int) -> nn.Sequential:
    """Halves channels, height and width."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(dim),
            relu=nn.ReLU(),
            conv=nn.Conv2d(dim, dim // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, 2),
        )
    )


class DenseNet(nn.Module):
    """Images (B, in_chans, H, W) -> the maps of strides 2 to 32, of `FEATURE_DIMS` channels."""

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(in_chans, WIDTH, 7, 2, 3, bias=False),
            norm0=nn.BatchNorm2d(WIDTH),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, 2, 1),
        )
        dim = WIDTH
        for index, depth in enumerate(DEPTHS, 1):
            parts[f"denseblock{index}"] = dense_block(dim, depth)
            dim += depth * GROWTH
            if index < len(DEPTHS):
                parts[f"transition{index}"] = transition(dim)
                dim //= 2
        parts["norm5"] = nn.BatchNorm2d(dim)
        self.base_model = nn.Sequential(parts)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for name, part in self.base_model.named_children():
            x = part(x)
            if name in KEPT:
                maps.append(x)
        return maps

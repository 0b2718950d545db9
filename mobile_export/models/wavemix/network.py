"""WaveMix, 2022 (arXiv 2205.14375).

"WaveMix: A Resource-efficient Neural Network for Image Analysis", Jeevan et al. A block takes a
quarter of the channels through three levels of Haar's wavelet transform; from the coarsest level up
the coefficients of a level, joined with what came of the coarser one, pass a feed-forward that ends
in a transposed convolution (Level3Waveblock). All blocks work on the map of stride 4.

Parameter names are those of the official checkpoints (github.com/pranavphoenix/WaveMix).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["WaveMix", "wavemix_256_16"]

LEVELS = 3
RATIO = 2
"""Channels inside a feed-forward over those of the network."""
DROPOUT = 0.5
PATCH = 4
BANDS = ((1, 1, 1, 1), (1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))
"""Signs of Haar's filters over a 2x2 square, row by row: the mean, and the differences of rows, of
columns and of both."""


class HaarTransform(nn.Module):
    """One level of Haar's wavelet transform: (B, dim, H, W) -> means (B, dim, H/2, W/2) and
    differences (B, 3·dim, H/2, W/2), the three of a channel side by side."""

    filters: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        means, *others = (torch.tensor(signs).reshape(1, 1, 2, 2) / 2 for signs in BANDS)
        filters = torch.cat([means.repeat(dim, 1, 1, 1), torch.cat(others).repeat(dim, 1, 1, 1)])
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        means = F.conv2d(x, self.filters[: self.dim], stride=2, groups=self.dim)
        return means, F.conv2d(x, self.filters[self.dim :], stride=2, groups=self.dim)


def feed_forward(dim_in: int, width: int, dim_out: int) -> nn.Sequential:
    """1x1 convolutions, and a transposed one that doubles the map."""
    return nn.Sequential(
        nn.Conv2d(dim_in, RATIO * width, 1),
        nn.GELU(),
        nn.Dropout(DROPOUT),
        nn.Conv2d(RATIO * width, width, 1),
        nn.ConvTranspose2d(width, dim_out, 4, 2, 1),
        nn.BatchNorm2d(dim_out),
    )


class WaveBlock(nn.Module):
    """(B, dim, H, W) -> (B, dim, H, W); H and W are multiples of 8."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.feedforward1 = feed_forward(dim + half, dim, dim)
        self.feedforward2 = feed_forward(dim + half, dim, half)
        self.feedforward3 = feed_forward(dim, dim, half)
        self.reduction = nn.Conv2d(dim, dim // 4, 1)
        self.transform = HaarTransform(dim // 4)

    def forward(self, x: Tensor) -> Tensor:
        means = self.reduction(x)
        coefficients: list[Tensor] = []
        for _ in range(LEVELS):
            means, differences = self.transform(means)
            coefficients.append(torch.cat([means, differences], 1))
        first, second, third = coefficients
        y = torch.cat([second, self.feedforward3(third)], 1)
        y = torch.cat([first, self.feedforward2(y)], 1)
        mixed: Tensor = self.feedforward1(y)
        return mixed


class WaveMix(nn.Module):
    """WaveMix classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    def __init__(self, dim: int, depth: int, *, num_classes: int = 1000, in_chans: int = 3) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        self.layers = nn.ModuleList(WaveBlock(dim) for _ in range(depth))
        self.pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dim, num_classes)
        )
        self.conv = nn.Sequential(
            nn.Conv2d(in_chans, dim // 4, 3, 1, 1),
            nn.Conv2d(dim // 4, dim // 2, 3, 1, 1),
            nn.Conv2d(dim // 2, dim, PATCH, PATCH),
            nn.GELU(),
            nn.BatchNorm2d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for layer in self.layers:
            x = layer(x) + x
        logits: Tensor = self.pool(x)
        return logits


def wavemix_256_16(num_classes: int = 1000, *, in_chans: int = 3) -> WaveMix:
    """WaveMix-256/16 of three levels: 73.0 % top-1 on ImageNet."""
    return WaveMix(256, 16, num_classes=num_classes, in_chans=in_chans)

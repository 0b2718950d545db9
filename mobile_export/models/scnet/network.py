"""SCNet-T: super-resolution of 1x1 convolutions and shifts (arXiv 2307.16140).

"Fully 1x1 Convolutional Network for Lightweight Image Super-Resolution", Wu et al. Between the two
1x1 convolutions of a block, an eighth of the channels is moved by one pixel into each of the eight
directions, with zeros from outside (§III). The map grows by bilinear interpolation, and the result
is added to the image that is enlarged so.

Parameter names are those of the official checkpoints (github.com/Aitical/SCNet).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SCNet", "scnet_t_x4"]

WIDTH = 64
BLOCKS = 16
SLOPE = 0.1
UP_SLOPE = 0.02
MOVES = ((0, 1), (2, 1), (1, 0), (1, 2), (2, 2), (2, 0), (0, 2), (0, 0))
"""Where each eighth of the channels is cut from the map with a border of one pixel."""


def shift(x: Tensor) -> Tensor:
    """Every eighth of the channels moved by one pixel: (B, C, H, W) -> (B, C, H, W)."""
    height, width = x.shape[2:]
    parts = F.pad(x, (1, 1, 1, 1)).chunk(len(MOVES), 1)
    moved = [
        part[:, :, top : top + height, left : left + width]
        for part, (top, left) in zip(parts, MOVES, strict=True)
    ]
    return torch.cat(moved, 1)


class Shift(nn.Module):
    """`shift` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return shift(x)


class Block(nn.Module):
    """1x1 convolution, shift, ReLU, 1x1 convolution, with a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 1)
        self.conv2 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.conv2(F.relu(shift(self.conv1(x))))
        return y


class Enlarge(nn.Module):
    """Twice the height and width: (B, dim, H, W) -> (B, dim, 2·H, 2·W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.up_layer = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(dim, dim, 1),
            nn.LeakyReLU(UP_SLOPE),
            Shift(),
            nn.Conv2d(dim, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.up_layer(x)
        return y


class SCNet(nn.Module):
    """SCNet: images (B, in_chans, H, W) -> (B, in_chans, 4·H, 4·W), of pixels in [0, 1]."""

    def __init__(self, width: int, blocks: int, *, in_chans: int = 3) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(in_chans, width, 1)
        self.body = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.upconv1 = Enlarge(width)
        self.upconv2 = Enlarge(width)
        self.conv_hr = nn.Conv2d(width, width, 1)
        self.conv_last = nn.Conv2d(width, in_chans, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(F.leaky_relu(self.conv_first(x), SLOPE))
        for enlarge in (self.upconv1, self.upconv2):
            y = F.leaky_relu(enlarge(y), SLOPE)
        y = self.conv_last(F.leaky_relu(self.conv_hr(y), SLOPE))
        image = F.interpolate(x, scale_factor=4.0, mode="bilinear", align_corners=False)
        result: Tensor = y + image
        return result


def scnet_t_x4(*, in_chans: int = 3) -> SCNet:
    """SCNet-T for four times the height and width: 64 channels, 16 blocks."""
    return SCNet(WIDTH, BLOCKS, in_chans=in_chans)

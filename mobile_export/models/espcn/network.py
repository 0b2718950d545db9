"""ESPCN: super-resolution of the luma channel by three convolutions (arXiv 1609.05158).

"Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
Network", Shi et al.: three convolutions at low resolution (§3.2: f = 5, 3, 3; n = 64, 32) and a
pixel shuffle. No official code is public; parameter names and the final sigmoid are those of
github.com/leftthomas/ESPCN.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ESPCN", "espcn_x2", "espcn_x3", "espcn_x4"]


class ESPCN(nn.Module):
    """ESPCN: luma in [0, 1], (B, in_chans, H, W) -> (B, in_chans, scale·H, scale·W) in (0, 1)."""

    def __init__(self, scale: int, *, in_chans: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, in_chans * scale**2, 3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv2(torch.tanh(self.conv1(x))))
        return torch.sigmoid(self.pixel_shuffle(self.conv3(x)))


def espcn_x2(**kwargs: Any) -> ESPCN:
    """ESPCN for twice the size. Keywords: those of `ESPCN`."""
    return ESPCN(2, **kwargs)


def espcn_x3(**kwargs: Any) -> ESPCN:
    """ESPCN for three times the size. Keywords: those of `ESPCN`."""
    return ESPCN(3, **kwargs)


def espcn_x4(**kwargs: Any) -> ESPCN:
    """ESPCN for four times the size. Keywords: those of `ESPCN`."""
    return ESPCN(4, **kwargs)

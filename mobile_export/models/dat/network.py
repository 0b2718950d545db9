"""DAT-light, ICCV 2023 (arXiv 2308.03364): super-resolution of colour images.

"Dual Aggregation Transformer for Image Super-Resolution", Chen et al. Blocks attend within windows
of 8x32 and 32x8 pixels (one half of the channels each) and, in turn, over channels; beside either
stands a depthwise convolution, and each of both is weighted by what the other one sees (§3.3).
DAT-light: one group of 18 blocks of 60 channels (§4.1).

Parameter names are those of the official checkpoints (github.com/zhengchen1999/DAT).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import attend_channels, from_map, initialize_linear, to_map
from .frame import ResidualGroup, WindowUpscaler
from .windows import TwoWindows, padded

__all__ = ["DAT", "dat_light_x2", "dat_light_x4"]

DIM, DEPTH, HEADS = 60, 18, 6
WINDOW = (8, 32)
RATIO = 2
"""Channels of the feed-forward's middle over `DIM`."""
SLOPE = 0.2


class GatedConv(nn.Module):
    """Spatial gate: one half of the channels times a depthwise convolution of the other."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        plain, gate = x.chunk(2, -1)
        return plain * from_map(self.conv(to_map(self.norm(gate), size)))


class GatedFeedForward(nn.Module):
    """Linear, GELU, spatial gate, linear: tokens -> tokens."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, middle)
        self.sg = GatedConv(middle // 2)
        self.fc2 = nn.Linear(middle // 2, dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        y: Tensor = self.fc2(self.sg(F.gelu(self.fc1(x)), size))
        return y


class AdaptiveAttention(nn.Module):
    """What both kinds of attention share: a depthwise convolution beside them, and the weights that
    each of both gets of the other (adaptive interaction module, §3.3)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def add_interaction(self, dim: int) -> None:
        """Its layers; behind those of the attention, as in checkpoints."""
        self.dwconv = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.BatchNorm2d(dim), nn.GELU()
        )
        self.channel_interaction = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), *_bottleneck(dim, dim // 8, dim)
        )
        self.spatial_interaction = nn.Sequential(*_bottleneck(dim, dim // 16, 1))


def _bottleneck(dim: int, middle: int, out: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(dim, middle, 1),
        nn.BatchNorm2d(middle),
        nn.GELU(),
        nn.Conv2d(middle, out, 1),
    )


class SpatialAttention(AdaptiveAttention, TwoWindows):
    """Attention within windows, which lie half a window further in every second such block."""

    def __init__(self, dim: int, *, shifted: bool) -> None:
        super().__init__(dim)
        self.add_windows(dim, HEADS, WINDOW, shifted=shifted)
        self.add_interaction(dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        maps = to_map(self.qkv(x), size)
        convolved = self.dwconv(maps.chunk(3, 1)[2])
        attended = self.attend_windows(padded(maps, max(WINDOW)))[:, :, : size[0], : size[1]]
        by_channel = self.channel_interaction(convolved).sigmoid()
        by_pixel = self.spatial_interaction(attended).sigmoid()
        y: Tensor = self.proj(from_map(attended * by_channel + convolved * by_pixel))
        return y


class ChannelAttention(AdaptiveAttention):
    """Attention of channels to channels (XCiT, arXiv 2106.09681)."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.temperature = nn.Parameter(torch.ones(HEADS, 1, 1))
        self.add_interaction(dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).transpose(1, 2).reshape(batch, 3, HEADS, dim // HEADS, tokens)
        q, k, v = qkv.unbind(1)
        attended = attend_channels(q, k, v, self.temperature).reshape(batch, dim, *size)
        convolved = self.dwconv(v.reshape(batch, dim, *size))
        by_channel = self.channel_interaction(attended).sigmoid()
        by_pixel = self.spatial_interaction(convolved).sigmoid()
        y: Tensor = self.proj(from_map(attended * by_pixel + convolved * by_channel))
        return y


class Block(nn.Module):
    """Attention and feed-forward, each with a residual."""

    def __init__(self, dim: int, index: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        spatial = index % 2 == 0
        self.attn: nn.Module = (
            SpatialAttention(dim, shifted=index % 4 == 2) if spatial else ChannelAttention(dim)
        )
        self.ffn = GatedFeedForward(dim, RATIO * dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.attn(self.norm1(x), size)
        y: Tensor = x + self.ffn(self.norm2(x), size)
        return y


def _three_convs(dim: int) -> nn.Sequential:
    """Convolutions in place of one 3x3 convolution, with a quarter of the channels between."""
    return nn.Sequential(
        nn.Conv2d(dim, dim // 4, 3, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(dim // 4, dim // 4, 1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(dim // 4, dim, 3, padding=1),
    )


class DAT(WindowUpscaler):
    """Images in [0, 1], (B, 3, H, W) -> (B, 3, scale·H, scale·W)."""

    def __init__(self, scale: int, *, in_chans: int = 3) -> None:
        group = ResidualGroup((Block(DIM, index) for index in range(DEPTH)), _three_convs(DIM))
        super().__init__(DIM, [group], _three_convs(DIM), in_chans=in_chans)
        self.scale = scale
        self.upsample = nn.Sequential(
            nn.Conv2d(DIM, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )
        self.apply(initialize_linear)

    def reconstruct(self, deep: Tensor) -> Tensor:
        y: Tensor = self.upsample(deep)
        return y


def dat_light_x2(*, in_chans: int = 3) -> DAT:
    """DAT-light for images of twice the size."""
    return DAT(2, in_chans=in_chans)


def dat_light_x4(*, in_chans: int = 3) -> DAT:
    """DAT-light for images of four times the size: 573 K parameters."""
    return DAT(4, in_chans=in_chans)

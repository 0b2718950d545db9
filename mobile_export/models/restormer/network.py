"""Restormer, CVPR 2022 (arXiv 2111.09881): restoration of colour images.

"Restormer: Efficient Transformer for High-Resolution Image Restoration", Zamir et al. A U-shaped
network of blocks in which channels attend to channels (§3.1) and a feed-forward gates them behind
depthwise convolutions (§3.2). What it returns is added to the picture.

Parameter names are those of the official checkpoints (github.com/swz30/Restormer): those for rain
and blur have norms with a bias, those for noise have none.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import attend_channels, from_map, to_map

__all__ = ["Restormer", "restormer"]

DIM = 48
DEPTHS, HEADS = (4, 6, 6, 8), (1, 2, 4, 8)
REFINEMENT = 4
RATIO = 2.66
EPS = 1e-5

NormKind = Literal["bias", "bias_free"]


class BiasFreeNorm(nn.Module):
    """Layer norm of the last axis that keeps the mean and adds nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        variance = x.var(-1, keepdim=True, unbiased=False)
        return x / torch.sqrt(variance + EPS) * self.weight


class Norm(nn.Module):
    """A norm over the channels of a map."""

    def __init__(self, dim: int, kind: NormKind) -> None:
        super().__init__()
        self.body = BiasFreeNorm(dim) if kind == "bias_free" else nn.LayerNorm(dim, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return to_map(self.body(from_map(x)), (x.shape[2], x.shape[3]))


class GatedFeedForward(nn.Module):
    """Gated feed-forward with depthwise convolutions: GELU of one half times the other half."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        middle = int(dim * RATIO)
        self.project_in = nn.Conv2d(dim, 2 * middle, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * middle, 2 * middle, 3, padding=1, groups=2 * middle, bias=False)
        self.project_out = nn.Conv2d(middle, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, plain = self.dwconv(self.project_in(x)).chunk(2, 1)
        y: Tensor = self.project_out(F.gelu(gate) * plain)
        return y


class ChannelAttention(nn.Module):
    """Attention of channels to channels, whose queries, keys and values are convolved."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim, bias=False)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, dim, height, width = x.shape
        heads = self.temperature.shape[0]
        qkv = self.qkv_dwconv(self.qkv(x))
        q, k, v = qkv.reshape(batch, 3, heads, dim // heads, height * width).unbind(1)
        y: Tensor = self.project_out(attend_channels(q, k, v, self.temperature).reshape(x.shape))
        return y


class Block(nn.Module):
    """Attention and feed-forward, each with a residual."""

    def __init__(self, dim: int, heads: int, norm: NormKind) -> None:
        super().__init__()
        self.norm1 = Norm(dim, norm)
        self.attn = ChannelAttention(dim, heads)
        self.norm2 = Norm(dim, norm)
        self.ffn = GatedFeedForward(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.ffn(self.norm2(x))
        return y


class Resize(nn.Module):
    """Half the size and twice the channels, or the other way round."""

    def __init__(self, dim: int, *, smaller: bool) -> None:
        super().__init__()
        out = dim // 2 if smaller else 2 * dim
        self.body = nn.Sequential(
            nn.Conv2d(dim, out, 3, padding=1, bias=False),
            nn.PixelUnshuffle(2) if smaller else nn.PixelShuffle(2),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y


class PatchEmbed(nn.Module):
    """The first convolution."""

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, DIM, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(x)
        return y


class Restormer(nn.Module):
    """Images in [0, 1], (B, in_chans, H, W) -> the same restored; H and W are multiples of 8."""

    def __init__(self, norm: NormKind, *, in_chans: int = 3) -> None:
        super().__init__()

        def blocks(level: int, depth: int, dim: int) -> nn.Sequential:
            return nn.Sequential(*(Block(dim, HEADS[level], norm) for _ in range(depth)))

        one, two, four, eight = (DIM * 2**level for level in range(4))
        self.patch_embed = PatchEmbed(in_chans)
        self.encoder_level1 = blocks(0, DEPTHS[0], one)
        self.down1_2 = Resize(one, smaller=True)
        self.encoder_level2 = blocks(1, DEPTHS[1], two)
        self.down2_3 = Resize(two, smaller=True)
        self.encoder_level3 = blocks(2, DEPTHS[2], four)
        self.down3_4 = Resize(four, smaller=True)
        self.latent = blocks(3, DEPTHS[3], eight)
        self.up4_3 = Resize(eight, smaller=False)
        self.reduce_chan_level3 = nn.Conv2d(eight, four, 1, bias=False)
        self.decoder_level3 = blocks(2, DEPTHS[2], four)
        self.up3_2 = Resize(four, smaller=False)
        self.reduce_chan_level2 = nn.Conv2d(four, two, 1, bias=False)
        self.decoder_level2 = blocks(1, DEPTHS[1], two)
        self.up2_1 = Resize(two, smaller=False)
        self.decoder_level1 = blocks(0, DEPTHS[0], two)
        self.refinement = blocks(0, REFINEMENT, two)
        self.output = nn.Conv2d(two, in_chans, 3, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        first = self.encoder_level1(self.patch_embed(image))
        second = self.encoder_level2(self.down1_2(first))
        third = self.encoder_level3(self.down2_3(second))
        x = self.up4_3(self.latent(self.down3_4(third)))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([x, third], 1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), second], 1)))
        x = self.decoder_level1(torch.cat([self.up2_1(x), first], 1))
        y: Tensor = self.output(self.refinement(x)) + image
        return y


def restormer(*, in_chans: int = 3, norm: NormKind = "bias") -> Restormer:
    """Restormer of 48 channels.

    Args:
        norm: "bias" for rain and blur, "bias_free" for noise.
    """
    return Restormer(norm, in_chans=in_chans)

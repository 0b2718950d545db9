"""MedViT, 2023 (arXiv 2302.09462).

"MedViT: A Robust Vision Transformer for Generalized Medical Image Classification", Manzari et al.
Blocks of grouped convolutions (efficient convolution block), and behind every few of them one that
also attends, to tokens of which runs are averaged (local transformer block, §3). Either ends in a
feed-forward with a depthwise convolution and squeeze-and-excitation. Small: 3, 4, 10 and 3 blocks.

Parameter names are those of the official checkpoints (github.com/Omid-Nejati/MedViT).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import attend, check_classes

__all__ = ["MedViT", "medvit_small"]

STEM = ((64, 2), (32, 1), (64, 1), (64, 2))
"""Channels and strides of its convolutions."""
WIDTHS = ((96, 96), (192, 256), (384, 512), (768, 1024))
"""Of each stage: channels of its convolution blocks, and of the blocks that attend."""
RUNS = (64, 16, 4, 1)
"""Tokens that are averaged for keys and values, in each stage."""
PERIOD = 5
"""In the third stage every so-manieth block attends; in the others the last one does."""
HEAD_DIM = 32
ATTENDING = 0.75
"""Share of a block's channels that come of attention."""
CONV_RATIO, MIXED_RATIO = 3, 2


class ConvNormReLU(nn.Module):
    """3x3 convolution, norm and activation of the stem."""

    def __init__(self, dim_in: int, dim_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class PatchEmbed(nn.Module):
    """Halves a map, or changes its channels, or leaves it as it is."""

    def __init__(self, dim_in: int, dim_out: int, stride: int = 1) -> None:
        super().__init__()
        self.halves = stride == 2
        plain = stride == 1 and dim_in == dim_out
        self.conv = nn.Identity() if plain else nn.Conv2d(dim_in, dim_out, 1, bias=False)
        self.norm = nn.Identity() if plain else nn.BatchNorm2d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        if self.halves:
            x = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
        y: Tensor = self.norm(self.conv(x))
        return y


class ConvAttention(nn.Module):
    """Multi-head convolutional attention: a convolution of groups of `HEAD_DIM` channels, mixed."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        groups = dim // HEAD_DIM
        self.group_conv3x3 = nn.Conv2d(dim, dim, 3, padding=1, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        self.projection = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.projection(F.relu(self.norm(self.group_conv3x3(x))))
        return y


class SqueezeExcite(nn.Module):
    """Scales channels by what their means tell; `middle` neurons see all of them."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(dim, middle), nn.ReLU(), nn.Linear(middle, dim), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.fc(x.mean((2, 3)))[:, :, None, None]
        return y


class LocalFeedForward(nn.Module):
    """1x1, depthwise 3x3, squeeze-and-excitation, 1x1, with a residual."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        middle = dim * ratio
        self.conv = nn.Sequential(
            nn.Conv2d(dim, middle, 1, bias=False),
            nn.BatchNorm2d(middle),
            nn.Hardswish(),
            nn.Conv2d(middle, middle, 3, padding=1, groups=middle, bias=False),
            nn.BatchNorm2d(middle),
            nn.Hardswish(),
            SqueezeExcite(middle, ratio),
            nn.Conv2d(middle, dim, 1, bias=False),
            nn.BatchNorm2d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.conv(x)
        return y


class ConvBlock(nn.Module):
    """Efficient convolution block."""

    def __init__(self, dim_in: int, dim: int, stride: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(dim_in, dim, stride)
        self.mhca = ConvAttention(dim)
        self.conv = LocalFeedForward(dim, CONV_RATIO)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = x + self.mhca(x)
        y: Tensor = x + self.conv(self.norm(x))
        return y


class RunAttention(nn.Module):
    """Attention of all tokens to averages of runs of them: (B, dim, N) -> (B, dim, N)."""

    def __init__(self, dim: int, run: int) -> None:
        super().__init__()
        self.heads = dim // HEAD_DIM
        self.run = run
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.proj = nn.Linear(dim, dim)
        if run > 1:
            self.norm = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        if self.run > 1:
            seen = self.norm(F.avg_pool1d(x, self.run))
        tokens, seen = x.transpose(1, 2), seen.transpose(1, 2)
        q, k, v = (
            layer(y).transpose(1, 2)
            for layer, y in ((self.q, tokens), (self.k, seen), (self.v, seen))
        )
        mixed = attend(q, k, v, self.heads)
        y: Tensor = self.proj(mixed.transpose(1, 2)).transpose(1, 2)
        return y


class MixedBlock(nn.Module):
    """Local transformer block: channels of attention, and channels convolved of these."""

    def __init__(self, dim_in: int, dim: int, stride: int, run: int) -> None:
        super().__init__()
        attended = int(dim * ATTENDING) // HEAD_DIM * HEAD_DIM
        self.patch_embed = PatchEmbed(dim_in, attended, stride)
        self.norm1 = nn.BatchNorm2d(attended)
        self.e_mhsa = RunAttention(attended, run)
        self.projection = PatchEmbed(attended, dim - attended)
        self.mhca = ConvAttention(dim - attended)
        self.norm2 = nn.BatchNorm2d(dim)
        self.conv = LocalFeedForward(dim, MIXED_RATIO)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = x + self.e_mhsa(self.norm1(x).flatten(2)).reshape(x.shape)
        y = self.projection(x)
        y = y + self.mhca(y)
        x = torch.cat([x, y], 1)
        whole: Tensor = x + self.conv(self.norm2(x))
        return whole


class MedViT(nn.Module):
    """MedViT classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    classifier_parts = ("norm", "proj_head")

    def __init__(
        self, depths: tuple[int, ...], *, num_classes: int = 1000, in_chans: int = 3
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        stem: list[nn.Module] = []
        dim = in_chans
        for width, stride in STEM:
            stem.append(ConvNormReLU(dim, width, stride))
            dim = width
        self.stem = nn.Sequential(*stem)
        blocks: list[nn.Module] = []
        self.ends: list[int] = []
        for stage, depth in enumerate(depths):
            plain, mixed = WIDTHS[stage]
            for index in range(depth):
                stride = 2 if stage and index == 0 else 1
                every = PERIOD if stage == 2 else depth
                if stage and index % every == every - 1:
                    blocks.append(MixedBlock(dim, mixed, stride, RUNS[stage]))
                    dim = mixed
                else:
                    blocks.append(ConvBlock(dim, plain, stride))
                    dim = plain
            self.ends.append(len(blocks) - 1)
        self.features = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(dim)
        self.proj_head = nn.Sequential(nn.Linear(dim, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        x = self.stem(x)
        maps: list[Tensor] = []
        for index, block in enumerate(self.features):
            x = block(x)
            if index in self.ends:
                maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        last = self.norm(self.feature_maps(x)[-1])
        logits: Tensor = self.proj_head(last.mean((2, 3)))
        return logits


def medvit_small(num_classes: int = 1000, *, in_chans: int = 3) -> MedViT:
    """MedViT-S: 83.7 % top-1 on ImageNet."""
    return MedViT((3, 4, 10, 3), num_classes=num_classes, in_chans=in_chans)

"""tiny-MOAT, ICLR 2023 (arXiv 2210.01820).

"MOAT: Alternating Mobile Convolution and Attention Brings Strong Vision Models", Yang et al. Two
stages of inverted bottlenecks with squeeze-and-excitation, then two of MOAT blocks: an inverted
bottleneck without it, and attention of all pixels with relative positions in place of a
feed-forward (§2.2). Table of tiny-MOAT: appendix.

The official code is TensorFlow (github.com/google-research/deeplab2): names of layers are its own,
files of weights do not fit. Its norms add 1e-3, and its convolutions of stride 2 pad below and on
the right only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["MOAT", "tiny_moat_0", "tiny_moat_1"]

DEPTHS = (2, 3, 7, 2)
POSITIONS = (0, 0, 14, 7)
"""Side of the maps whose relative positions a stage has a table of; 0: it does not attend."""
EXPANSION = 4
SQUEEZE = 0.25
HEAD_DIM = 32
NORM_EPS = 1e-3


def _norm(dim: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(dim, eps=NORM_EPS)


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with TensorFlow's "same" padding, of maps whose sides are even."""

    def __init__(self, dim_in: int, dim_out: int, stride: int, *, depthwise: bool = False) -> None:
        padding = 1 if stride == 1 else 0
        groups = dim_in if depthwise else 1
        super().__init__(dim_in, dim_out, 3, stride, padding, groups=groups, bias=not depthwise)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)) if self.stride[0] == 2 else x)


class SqueezeExcite(nn.Module):
    """Scales channels by what their means tell."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(dim, middle, 1)
        self.expand = nn.Conv2d(middle, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = F.silu(self.reduce(x.mean((2, 3), keepdim=True)))
        y: Tensor = x * self.expand(seen).sigmoid()
        return y


class Bottleneck(nn.Module):
    """Inverted bottleneck with a norm in front: (B, dim_in, H, W) -> (B, dim, H/stride, …)."""

    def __init__(self, dim_in: int, dim: int, stride: int, *, squeezes: bool) -> None:
        super().__init__()
        middle = EXPANSION * dim
        self.stride = stride
        self.shortcut_conv = nn.Identity() if dim_in == dim else nn.Conv2d(dim_in, dim, 1)
        self.pre_norm = _norm(dim_in)
        self.expand_conv = nn.Conv2d(dim_in, middle, 1, bias=False)
        self.expand_norm = _norm(middle)
        self.depthwise_conv = Conv3x3(middle, middle, stride, depthwise=True)
        self.depthwise_norm = _norm(middle)
        self.se = SqueezeExcite(middle, max(1, int(dim * SQUEEZE))) if squeezes else nn.Identity()
        self.shrink_conv = nn.Conv2d(middle, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        short = F.avg_pool2d(x, 2) if self.stride == 2 else x
        y = F.gelu(self.expand_norm(self.expand_conv(self.pre_norm(x))))
        y = F.gelu(self.depthwise_norm(self.depthwise_conv(y)))
        whole: Tensor = self.shortcut_conv(short) + self.shrink_conv(self.se(y))
        return whole


class Attention(nn.Module):
    """Attention of all pixels, with a number per head for each offset: (B, dim, H, W) -> the same.

    Args:
        side: of the maps that the table of offsets is made for; it is interpolated for others.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.heads = dim // HEAD_DIM
        extent = 2 * side - 1
        self.relative_position_embedding = nn.Parameter(torch.empty(self.heads, extent, extent))
        nn.init.normal_(self.relative_position_embedding, std=0.02)
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def positions(self, height: int, width: int) -> Tensor:
        """(heads, height·width, height·width): of a query's pixel and a key's."""
        table: Tensor = self.relative_position_embedding
        extent = (2 * height - 1, 2 * width - 1)
        if tuple(table.shape[1:]) != extent:
            table = F.interpolate(table[None], extent, mode="bilinear", align_corners=False)[0]
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        down = rows.flatten()[None] - rows.flatten()[:, None] + height - 1
        across = columns.flatten()[None] - columns.flatten()[:, None] + width - 1
        return table.flatten(1)[:, down * extent[1] + across]

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, dim = x.shape
        tokens = x.reshape(batch, height * width, dim)
        q, k, v = (
            layer(tokens).reshape(batch, -1, self.heads, HEAD_DIM).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        weights = q * HEAD_DIM**-0.5 @ k.transpose(-2, -1) + self.positions(height, width)
        mixed = (weights.softmax(-1) @ v).transpose(1, 2).reshape(batch, height, width, dim)
        y: Tensor = self.o(mixed)
        return y


class MOATBlock(nn.Module):
    """Inverted bottleneck, then attention with a residual."""

    def __init__(self, dim_in: int, dim: int, stride: int, side: int) -> None:
        super().__init__()
        self.mbconv = Bottleneck(dim_in, dim, stride, squeezes=False)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, side)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mbconv(x)
        y = self.attention(self.attention_norm(x.permute(0, 2, 3, 1)))
        whole: Tensor = x + y.permute(0, 3, 1, 2)
        return whole


class MOAT(nn.Module):
    """MOAT classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are multiples of 32.
    """

    classifier_parts = ("final_layer_norm", "logits_head")

    def __init__(
        self, dims: tuple[int, ...], *, num_classes: int = 1000, in_chans: int = 3
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        stem = dims[0]
        self.stem = nn.Sequential(
            Conv3x3(in_chans, stem, 2), _norm(stem), nn.GELU(), Conv3x3(stem, stem, 1)
        )
        stages: list[nn.Module] = []
        before = stem
        for dim, depth, side in zip(dims, DEPTHS, POSITIONS, strict=True):
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if index == 0 else 1
                blocks.append(
                    MOATBlock(before, dim, stride, side)
                    if side
                    else Bottleneck(before, dim, stride, squeezes=True)
                )
                before = dim
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.final_layer_norm = nn.LayerNorm(before)
        self.logits_head = nn.Linear(before, num_classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        x = self.stem(x)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        last = self.final_layer_norm(self.feature_maps(x)[-1].mean((2, 3)))
        logits: Tensor = self.logits_head(last)
        return logits


def tiny_moat_0(num_classes: int = 1000, *, in_chans: int = 3) -> MOAT:
    """tiny-MOAT-0: 3.4 M parameters, 75.5 % top-1 on ImageNet."""
    return MOAT((32, 64, 128, 256), num_classes=num_classes, in_chans=in_chans)


def tiny_moat_1(num_classes: int = 1000, *, in_chans: int = 3) -> MOAT:
    """tiny-MOAT-1: 5.1 M parameters, 78.3 % top-1 on ImageNet."""
    return MOAT((40, 80, 160, 320), num_classes=num_classes, in_chans=in_chans)

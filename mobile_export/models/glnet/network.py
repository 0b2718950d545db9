"""GLNet: convolutions of the grid beside attention of a few slots (arXiv 2411.14429).

"Revisiting the Integration of Convolution and Attention for Vision Backbone", Zhu et al., NeurIPS
2024. A GLMix block clusters the pixels softly into 64 slots, which start as means of the map, lets
the slots attend to each other and hands them out again by the same likeness; three convolutions of
the grid are added (§3.2). STL has the layout of Swin-Tiny, with attention of pixels in the last
stage (§3.3).

Parameter names are those of the official checkpoints (github.com/rayleizhu/GLMix).
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import (
    ChannelNorm,
    DropPath,
    attend,
    check_classes,
    drop_rates,
    from_map,
    initialize_linear,
    to_map,
)

__all__ = ["GLNet", "glnet_stl"]

EPS = 1e-6
DIMS = (96, 192, 384, 768)
DEPTHS = (2, 2, 6, 2)
HEAD_DIM = 32
RATIO = 4
KERNEL = 5
SLOTS = 8
"""Along the height and along the width."""


class JointAttention(nn.Module):
    """Multi-head self-attention with PyTorch's names: (B, N, dim) -> (B, N, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.heads = dim // HEAD_DIM
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias).transpose(1, 2)
        q, k, v = qkv.chunk(3, 1)
        y: Tensor = self.out_proj(attend(q, k, v, self.heads).transpose(1, 2))
        return y


class MixBlock(nn.Module):
    """Slots and convolutions, then a feed-forward of 1x1 convolutions: (B, dim, H, W) -> same."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.slot_scale = nn.Parameter(torch.tensor(dim**-0.5))
        self.norm1 = ChannelNorm(dim, EPS)
        self.relation_mha = JointAttention(dim)
        self.feature_conv = nn.Sequential(
            nn.Conv2d(dim, dim, 1),
            nn.Conv2d(dim, dim, KERNEL, padding=KERNEL // 2, groups=dim),
            nn.Conv2d(dim, dim, 1),
        )
        self.norm2 = ChannelNorm(dim, EPS)
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, RATIO * dim, 1),
            nn.Identity(),
            nn.GELU(),
            nn.Conv2d(RATIO * dim, dim, 1),
        )
        self.drop_path = DropPath(drop_path)

    def mix(self, x: Tensor, slots: Tensor) -> Tensor:
        """What the slots hand out, and the convolutions; ``slots`` (B, 64, dim) are the first."""
        pixels = from_map(x)
        scaled = self.slot_scale * F.normalize(pixels, dim=-1)
        alike = F.normalize(slots, dim=-1) @ scaled.transpose(1, 2)
        gathered = self.relation_mha(alike.softmax(-1) @ pixels)
        given = alike.transpose(1, 2).softmax(-1) @ gathered
        y: Tensor = to_map(given, (x.shape[2], x.shape[3])) + self.feature_conv(x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        slots = from_map(F.adaptive_avg_pool2d(x, SLOTS))
        x = x + self.drop_path(self.mix(self.norm1(x), slots))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class AttentionBlock(nn.Module):
    """Attention of all pixels and a feed-forward: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.mha_op = JointAttention(dim)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = nn.Sequential(
            nn.Linear(dim, RATIO * dim), nn.GELU(), nn.Linear(RATIO * dim, dim)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        tokens = from_map(x)
        tokens = tokens + self.drop_path(self.mha_op(self.norm1(tokens)))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return to_map(tokens, (x.shape[2], x.shape[3]))


class Stage(nn.Module):
    """Blocks in a row."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class GLNet(nn.Module):
    """GLNet classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are multiples of 32.
    """

    classifier_parts = ("head",)

    def __init__(
        self, *, num_classes: int = 1000, in_chans: int = 3, drop_path_rate: float = 0.0
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        stem = nn.Sequential(nn.Conv2d(in_chans, DIMS[0], 4, 4), nn.BatchNorm2d(DIMS[0]))
        steps = [
            nn.Sequential(nn.BatchNorm2d(before), nn.Conv2d(before, dim, 2, 2))
            for before, dim in itertools.pairwise(DIMS)
        ]
        self.downsample_layers = nn.ModuleList([stem, *steps])
        drops = iter(drop_rates(drop_path_rate, sum(DEPTHS)))
        kinds = [MixBlock] * (len(DIMS) - 1) + [AttentionBlock]
        self.stages = nn.ModuleList(
            Stage([kind(dim, next(drops)) for _ in range(depth)])
            for kind, dim, depth in zip(kinds, DIMS, DEPTHS, strict=True)
        )
        self.norm = nn.BatchNorm2d(DIMS[-1])
        self.head = nn.Linear(DIMS[-1], num_classes)
        self.apply(initialize_linear)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        maps: list[Tensor] = []
        for step, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(step(x))
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.feature_maps(x)[-1]).mean((2, 3)))
        return logits


def glnet_stl(num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0) -> GLNet:
    """GLNet-STL: 30 M parameters, 4.4 G MACs, 82.5 % top-1."""
    return GLNet(num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)

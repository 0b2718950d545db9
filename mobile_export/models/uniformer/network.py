"""UniFormer, ICLR 2022 (arXiv 2201.04676).

"UniFormer: Unified Transformer for Efficient Spatiotemporal Representation Learning", Li et al.
Four stages of blocks that begin with a depthwise convolution for the position. Those of the first
two stages mix neighbours with a 5x5 depthwise convolution between two pointwise ones ("local
relation aggregator", §3.2), those of the last two attend to all pixels. Small: Table 1 of the
paper. EdgeViT (`models.edgevit`) is made of these blocks.

Parameter names are those of the official checkpoints (github.com/Sense-X/UniFormer).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import (
    Attention,
    ConvFeedForward,
    DropPath,
    FeedForward,
    check_classes,
    drop_rates,
    from_map,
    initialize_linear,
    to_map,
)

__all__ = ["EPS", "GlobalBlock", "LocalBlock", "Pyramid", "UniFormer", "uniformer_small"]

EPS = 1e-6
MLP_RATIO = 4
HEAD_DIM = 64


def depthwise(dim: int, kernel: int) -> nn.Conv2d:
    """A depthwise convolution that keeps the size."""
    return nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)


class LocalBlock(nn.Module):
    """Position, neighbours and feed-forward, each with a residual: (B, dim, H, W) -> the same."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = depthwise(dim, 3)
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv1 = nn.Conv2d(dim, dim, 1)
        self.conv2 = nn.Conv2d(dim, dim, 1)
        self.attn = depthwise(dim, 5)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = ConvFeedForward(dim, MLP_RATIO * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class MapAttention(Attention):
    """`Attention` that is told the map's size, and needs it not."""

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        return super().forward(x)


class GlobalBlock(nn.Module):
    """Position, attention and feed-forward, each with a residual: (B, dim, H, W) -> the same.

    Args:
        attention: takes tokens (B, H·W, dim) and their map's size.
    """

    def __init__(self, dim: int, attention: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = depthwise(dim, 3)
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = attention
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = FeedForward(dim, MLP_RATIO * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        size = (x.shape[2], x.shape[3])
        tokens = from_map(x)
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), size))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return to_map(tokens, size)


class PatchEmbed(nn.Module):
    """Patches side by side, normalised: (B, C, H, W) -> (B, dim, H/patch, W/patch)."""

    def __init__(self, dim_in: int, dim: int, patch: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.proj = nn.Conv2d(dim_in, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        return F.layer_norm(
            x.permute(0, 2, 3, 1), (x.shape[1],), self.norm.weight, self.norm.bias
        ).permute(0, 3, 1, 2)


class Pyramid(nn.Module):
    """A classifier of four stages: normalised images (B, in_chans, H, W) -> (B, num_classes).

    H and W are multiples of 32.

    Args:
        dims: channels of the stages.
        depths: blocks of the stages.
        block: made of the stage, from 0, and of the rate of stochastic depth.
    """

    classifier_parts = ("norm", "head")

    def __init__(
        self,
        dims: Sequence[int],
        depths: Sequence[int],
        block: Callable[[int, float], nn.Module],
        *,
        num_classes: int,
        in_chans: int,
        drop_path_rate: float,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.stages = len(dims)
        before = (in_chans, *dims)
        for index, dim in enumerate(dims):
            patches = PatchEmbed(before[index], dim, 2 if index else 4)
            setattr(self, f"patch_embed{index + 1}", patches)
        drops = iter(drop_rates(drop_path_rate, sum(depths)))
        for index, depth in enumerate(depths):
            blocks = nn.ModuleList([block(index, next(drops)) for _ in range(depth)])
            setattr(self, f"blocks{index + 1}", blocks)
        self.norm = nn.BatchNorm2d(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(initialize_linear)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        maps: list[Tensor] = []
        for index in range(1, self.stages + 1):
            x = getattr(self, f"patch_embed{index}")(x)
            for block in getattr(self, f"blocks{index}"):
                x = block(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.feature_maps(x)[-1]).mean((2, 3)))
        return logits


class UniFormer(Pyramid):
    """UniFormer classifier; see `Pyramid`."""

    def __init__(
        self,
        dims: Sequence[int],
        depths: Sequence[int],
        *,
        num_classes: int,
        in_chans: int,
        drop_path_rate: float,
    ) -> None:
        def block(stage: int, drop: float) -> nn.Module:
            dim = dims[stage]
            if stage < 2:
                return LocalBlock(dim, drop)
            return GlobalBlock(dim, MapAttention(dim, dim // HEAD_DIM), drop)

        super().__init__(
            dims,
            depths,
            block,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_path_rate=drop_path_rate,
        )


def uniformer_small(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> UniFormer:
    """UniFormer-S: 22 M parameters, 82.9 % top-1 on ImageNet."""
    return UniFormer(
        (64, 128, 320, 512),
        (3, 4, 8, 3),
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )

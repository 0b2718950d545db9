"""PVT: pyramid vision transformer, ICCV 2021 (arXiv 2102.12122).

"Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions", Wang
et al. Four stages; each cuts its map into patches, adds a learnt position and attends (§3.2), keys
and values being of a smaller map (spatial reduction, §3.3). The last stage has a class token,
which a classifier reads; a head of `models.heads` stands on the maps without it. Tiny: Table 1 of
the paper.

Parameter names are those of the official checkpoints (github.com/whai362/PVT).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import (
    DropPath,
    FeedForward,
    check_classes,
    drop_rates,
    from_map,
    initialize_linear,
    to_map,
)

__all__ = ["EPS", "PVT", "Block", "PatchEmbed", "ReducedAttention", "pvt_tiny"]

EPS = 1e-6
GRID = 224
"""Side in pixels of the images of training; for others, positions are interpolated."""


@dataclass(frozen=True)
class PVTConfig:
    """One variant; each tuple has one value per stage 1 to 4.

    Attributes:
        dims: channels.
        heads: of attention.
        mlp_ratios: width of the feed-forward over the channels.
        depths: number of blocks.
        reductions: side of the patches that become one key and value.
    """

    dims: tuple[int, ...] = (64, 128, 320, 512)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    mlp_ratios: tuple[int, ...] = (8, 8, 4, 4)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    reductions: tuple[int, ...] = (8, 4, 2, 1)


TINY = PVTConfig()


class ReducedAttention(nn.Module):
    """Multi-head attention whose keys and values are of a map that is smaller by ``reduction``.

    (B, N, dim) -> (B, N, dim); ``size`` is the map's, whose h·w tokens are all of N unless there is
    no reduction.
    """

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.reduction = reduction
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, reduction, reduction)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        batch, tokens, dim = x.shape
        q = self.q(x).reshape(batch, tokens, self.heads, -1).transpose(1, 2)
        if self.reduction > 1:
            x = self.norm(from_map(self.sr(to_map(x, size))))
        kv = self.kv(x).reshape(batch, -1, 2, self.heads, dim // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * (dim // self.heads) ** -0.5).softmax(-1)
        y: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, dim))
        return y


class TokenFeedForward(FeedForward):
    """`FeedForward` that is told the map's size, and needs it not."""

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        return super().forward(x)


class Block(nn.Module):
    """Attention and feed-forward, each after a norm and with a residual.

    Args:
        feed_forward: made of the channels and of those between its linear layers; takes tokens and
            their map's size.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_ratio: int,
        reduction: int,
        drop_path: float,
        feed_forward: Callable[[int, int], nn.Module] = TokenFeedForward,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = ReducedAttention(dim, heads, reduction)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = feed_forward(dim, dim * mlp_ratio)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x), size))
        return y


class PatchEmbed(nn.Module):
    """Patches, normalised: (B, C, H, W) -> tokens (B, h·w, dim) and their map's size (h, w)."""

    def __init__(self, dim_in: int, dim: int, patch: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim_in, dim, patch, stride, padding)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        x = self.proj(x)
        return self.norm(from_map(x)), (x.shape[2], x.shape[3])


class PVT(nn.Module):
    """PVT classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are multiples of 32.
    """

    classifier_parts = ("norm", "cls_token", "head")

    def __init__(
        self,
        config: PVTConfig,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.stages = len(config.dims)
        drops = iter(drop_rates(drop_path_rate, sum(config.depths)))
        dim = in_chans
        for index, dim_out in enumerate(config.dims):
            tokens = self._grid(index) ** 2 + (index == self.stages - 1)
            blocks = [
                Block(
                    dim_out,
                    config.heads[index],
                    config.mlp_ratios[index],
                    config.reductions[index],
                    next(drops),
                )
                for _ in range(config.depths[index])
            ]
            patch = 2 if index else 4
            setattr(self, f"patch_embed{index + 1}", PatchEmbed(dim, dim_out, patch, patch))
            position = nn.Parameter(torch.zeros(1, tokens, dim_out))
            setattr(self, f"pos_embed{index + 1}", position)
            setattr(self, f"block{index + 1}", nn.ModuleList(blocks))
            nn.init.trunc_normal_(position, std=0.02)
            dim = dim_out
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.apply(initialize_linear)

    @staticmethod
    def _grid(index: int) -> int:
        """Side of a stage's map in training, in tokens."""
        return cast(int, GRID // 2 ** (index + 2))

    def _positions(self, index: int, size: tuple[int, int]) -> Tensor:
        """Of a stage's map of this size: (1, h·w, C)."""
        embedding = cast(Tensor, getattr(self, f"pos_embed{index + 1}"))
        side = self._grid(index)
        if index == self.stages - 1:
            embedding = embedding[:, 1:]
        if size == (side, side):
            return embedding
        grid = to_map(embedding, (side, side))
        return from_map(F.interpolate(grid, size=size, mode="bilinear", align_corners=False))

    def _blocks(self, index: int, x: Tensor, size: tuple[int, int]) -> Tensor:
        for block in getattr(self, f"block{index + 1}"):
            x = block(x, size)
        return x

    def _embedded(self, index: int, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        x, size = getattr(self, f"patch_embed{index + 1}")(x)
        return x + self._positions(index, size), size

    def _maps(self, x: Tensor, stages: int) -> list[Tensor]:
        maps: list[Tensor] = []
        for index in range(stages):
            x, size = self._embedded(index, x)
            x = to_map(self._blocks(index, x, size), size)
            maps.append(x)
        return maps

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        return self._maps(x, self.stages)

    def forward(self, x: Tensor) -> Tensor:
        last = self.stages - 1
        x, size = self._embedded(last, self._maps(x, last)[-1])
        embedding = cast(Tensor, getattr(self, f"pos_embed{self.stages}"))
        token = (self.cls_token + embedding[:, :1]).expand(x.shape[0], -1, -1)
        x = self._blocks(last, torch.cat([token, x], 1), size)
        logits: Tensor = self.head(self.norm(x)[:, 0])
        return logits


def pvt_tiny(num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0) -> PVT:
    """PVT-Tiny: 13.2 M parameters, 75.1 % top-1 (Tables 1 and 2)."""
    return PVT(TINY, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)

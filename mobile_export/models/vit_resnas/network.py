"""ViT-ResNAS, 2021 (arXiv 2109.00642).

"Searching for Efficient Multi-Stage Vision Transformers", Liao et al. A vision transformer whose
tokens are halved in height and width twice, with a residual (residual spatial reduction, §3.1). The
widths of every block were searched for (§3.2); those of the tiny one stand in the official script
scripts/vit-sr-nas/searched_net/tiny.sh.

Parameter names are those of the official checkpoints (github.com/yilunliao/vit-search).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import (
    Attention,
    ConvBNAct,
    DropPath,
    FeedForward,
    check_classes,
    drop_rates,
    from_map,
    initialize_linear,
    to_map,
)

__all__ = ["TINY", "ViTResNAS", "vit_resnas_tiny"]

PATCH = 14
STEM_WIDTH = 24
EPS = 1e-6

Stage = tuple[int, int, tuple[tuple[int, int], ...]]
"""Channels, those of a head, and of every block the heads and the channels of the feed-forward."""

TINY: tuple[Stage, ...] = (
    (176, 32, ((3, 704), (3, 576), (3, 640), (4, 576), (4, 704))),
    (352, 48, ((10, 1408), (8, 1408), (8, 1280), (8, 1408), (10, 1280), (10, 1024))),
    (704, 64, ((10, 2560), (10, 1792), (10, 2816), (8, 2816), (8, 2560))),
)


class PatchEmbed(nn.Module):
    """Three convolutions, then patches: (B, in_chans, H, W) -> (B, H/14 · W/14, dim)."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(in_chans, STEM_WIDTH, 3, stride=2)
        self.conv2 = ConvBNAct(STEM_WIDTH, STEM_WIDTH, 3)
        self.conv3 = ConvBNAct(STEM_WIDTH, STEM_WIDTH, 3)
        self.conv_proj = nn.Conv2d(STEM_WIDTH, dim, PATCH // 2, PATCH // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return from_map(self.conv_proj(x + self.conv3(self.conv2(x))))


class Block(nn.Module):
    """Attention and feed-forward, each with a residual."""

    def __init__(self, dim: int, heads: int, head_dim: int, middle: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads, head_dim=head_dim)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = FeedForward(dim, middle)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class SpatialReduction(nn.Module):
    """Halves height and width of the tokens, the class token aside, and widens all.

    (B, 1 + H·W, dim_in) -> (B, 1 + H·W/4, dim_out); the residual is padded with zeros.
    """

    def __init__(self, size: tuple[int, int], dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.size = size
        self.pos_embed = nn.Parameter(torch.zeros(1, size[0] * size[1] // 4, dim_out))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.norm = nn.LayerNorm(dim_in, eps=EPS)
        self.patch_reduce = nn.Conv2d(dim_in, dim_out, 3, 2, 1)
        self.token_transform = nn.Linear(dim_in, dim_out)
        self.wider = dim_out - dim_in

    def forward(self, x: Tensor) -> Tensor:
        pooled = from_map(F.avg_pool2d(to_map(x[:, 1:], self.size), 2))
        residual = F.pad(torch.cat([x[:, :1], pooled], 1), (0, self.wider))
        x = self.norm(x)
        patches = from_map(self.patch_reduce(to_map(x[:, 1:], self.size))) + self.pos_embed
        return torch.cat([self.token_transform(x[:, :1]), patches], 1) + residual


class ViTResNAS(nn.Module):
    """ViT-ResNAS classifier: normalised images (B, in_chans, *size) -> logits (B, num_classes)."""

    training_only = ("patch_head.",)

    def __init__(
        self,
        stages: tuple[Stage, ...],
        *,
        size: tuple[int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        height, width = size[0] // PATCH, size[1] // PATCH
        dim = stages[0][0]
        self.tokens = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + height * width, dim))
        self.patch_embed = PatchEmbed(in_chans, dim)
        drops = iter(drop_rates(drop_path_rate, sum(len(blocks) for _, _, blocks in stages)))
        parts: list[nn.Module] = []
        for wider, head_dim, blocks in stages:
            if wider != dim:
                parts.append(SpatialReduction((height, width), dim, wider))
                dim, height, width = wider, height // 2, width // 2
            parts += [Block(dim, heads, head_dim, mid, next(drops)) for heads, mid in blocks]
        self.blocks = nn.Sequential(*parts)
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.cls_head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.tokens, std=0.02)
        self.apply(initialize_linear)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed(x)
        tokens = torch.cat([self.tokens.expand(x.shape[0], -1, -1), patches], 1) + self.pos_embed
        logits: Tensor = self.cls_head(self.norm(self.blocks(tokens)[:, 0]))
        return logits


def vit_resnas_tiny(
    num_classes: int = 1000,
    *,
    in_chans: int = 3,
    size: tuple[int, int] = (224, 224),
    drop_path_rate: float = 0.0,
) -> ViTResNAS:
    """ViT-ResNAS-Tiny."""
    return ViTResNAS(
        TINY,
        size=size,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )

"""T2T-ViT, ICCV 2021 (arXiv 2101.11986).

"Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet", Yuan et al. Patches
that overlap are unfolded three times (§3.1, "soft split"); between the splits a Performer attends,
whose softmax kernel is made of random features. A narrow ViT with a class token follows (§3.2).
T2T-ViT-7: Table 1 of the paper.

Parameter names are those of the official checkpoints (github.com/yitu-opensource/T2T-ViT); the
random features and the positions are stored there, too.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import (
    TransformerBlock,
    check_classes,
    drop_rates,
    initialize_linear,
    to_map,
)

__all__ = ["T2TViT", "t2t_vit_7"]

TOKEN_DIM = 64
EPSILON = 1e-8
SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))
"""Kernel, stride and padding of each soft split."""


class Performer(nn.Module):
    """Attention with positive random features, and a feed-forward: (B, N, dim) -> (B, N, 64)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.features = TOKEN_DIM // 2
        random = nn.init.orthogonal_(torch.empty(self.features, TOKEN_DIM))
        self.w = nn.Parameter(random * math.sqrt(self.features), requires_grad=False)
        self.kqv = nn.Linear(dim, 3 * TOKEN_DIM)
        self.proj = nn.Linear(TOKEN_DIM, TOKEN_DIM)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(TOKEN_DIM)
        self.mlp = nn.Sequential(
            nn.Linear(TOKEN_DIM, TOKEN_DIM), nn.GELU(), nn.Linear(TOKEN_DIM, TOKEN_DIM)
        )

    def _kernel(self, x: Tensor) -> Tensor:
        """exp(wᵀx - |x|²/2) / √m: (B, N, 64) -> (B, N, m)."""
        length = (x * x).sum(2, keepdim=True) / 2
        return torch.exp(F.linear(x, self.w) - length) / math.sqrt(self.features)

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = self.kqv(self.norm1(x)).split(TOKEN_DIM, 2)
        keys, queries = self._kernel(k), self._kernel(q)
        total = queries @ keys.sum(1, keepdim=True).transpose(1, 2)
        mixed = queries @ (keys.transpose(1, 2) @ v) / (total + EPSILON)
        y = v + self.proj(mixed)
        z: Tensor = y + self.mlp(self.norm2(y))
        return z


class TokensToToken(nn.Module):
    """Three soft splits with attention between them: (B, C, H, W) -> (B, H·W/256, dim)."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.attention1 = Performer(in_chans * SPLITS[0][0] ** 2)
        self.attention2 = Performer(TOKEN_DIM * SPLITS[1][0] ** 2)
        self.project = nn.Linear(TOKEN_DIM * SPLITS[2][0] ** 2, dim)

    def forward(self, x: Tensor) -> Tensor:
        for index, attention in enumerate((self.attention1, self.attention2, self.project)):
            kernel, stride, padding = SPLITS[index]
            height, width = x.shape[2] // stride, x.shape[3] // stride
            tokens = F.unfold(x, kernel, padding=padding, stride=stride).transpose(1, 2)
            tokens = attention(tokens)
            if index < len(SPLITS) - 1:
                x = to_map(tokens, (height, width))
        return tokens


def sinusoids(positions: int, dim: int) -> Tensor:
    """Sines (even channels) and cosines (odd) of falling frequency: (1, positions, dim)."""
    steps = torch.arange(positions, dtype=torch.float64)[:, None]
    channels = torch.arange(dim, dtype=torch.float64)
    angles = steps / 10000 ** (2 * (channels // 2) / dim)
    return torch.where(channels % 2 == 0, angles.sin(), angles.cos()).float()[None]


class T2TViT(nn.Module):
    """T2T-ViT classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are those of ``size``, multiples of 16.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: int,
        *,
        size: tuple[int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        tokens = size[0] // 16 * (size[1] // 16)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(sinusoids(tokens + 1, dim), requires_grad=False)
        self.tokens_to_token = TokensToToken(in_chans, dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, heads, mlp_ratio, drop, bias=False, eps=1e-5)
            for drop in drop_rates(drop_path_rate, depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.apply(initialize_linear)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens_to_token(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x)[:, 0])
        return logits


def t2t_vit_7(
    num_classes: int = 1000,
    *,
    size: tuple[int, int] = (224, 224),
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
) -> T2TViT:
    """T2T-ViT-7: 4.3 M parameters, 71.7 % top-1 on ImageNet."""
    return T2TViT(
        256,
        7,
        4,
        2,
        size=size,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )

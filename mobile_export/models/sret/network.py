"""SReT, ECCV 2022 (arXiv 2111.05297).

"Sliced Recursive Transformer", Shen et al. Three stages of strides 8 to 32; every block is used
twice in a row, with a small layer of its own behind each use (§3.2, "non-linear projection"), and
the terms of its residuals have learnt coefficients. This is the form without slices: the sliced one
shuffles tokens at random when it runs. Tiny: Table 1 and the official code.

Parameter names are those of the official checkpoints (github.com/szq0214/SReT), where a block's
weights stand once for each use.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import (
    Attention,
    DropPath,
    FeedForward,
    check_classes,
    drop_rates,
    from_map,
    to_map,
)

__all__ = ["SReT", "sret_tiny"]

EPS = 1e-6
USES = 2
"""Of every block."""
HEAD_DIM = 32
HEADS = (2, 4, 8)
BLOCKS = (2, 5, 3)
MLP_RATIO = 3.6


class Coefficient(nn.Module):
    """A learnt factor."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.bias


class Projection(nn.Module):
    """Feed-forward after a norm, with a residual: (B, N, dim) -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = FeedForward(dim, dim)
        self.coefficient1 = Coefficient()
        self.coefficient2 = Coefficient()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.coefficient1(x) + self.coefficient2(self.mlp(self.norm1(x)))
        return y


class Block(nn.Module):
    """Attention and feed-forward after norms, with residuals: (B, N, dim) -> the same."""

    def __init__(self, dim: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = FeedForward(dim, int(dim * MLP_RATIO))
        for index in range(1, 5):
            setattr(self, f"coefficient{index}", Coefficient())

    def forward(self, x: Tensor) -> Tensor:
        attended = self.drop_path(self.attn(self.norm1(x)))
        x = self.coefficient1(x) + self.coefficient2(attended)  # type: ignore[operator]
        fed = self.drop_path(self.mlp(self.norm2(x)))
        y: Tensor = self.coefficient3(x) + self.coefficient4(fed)  # type: ignore[operator]
        return y


class Stage(nn.Module):
    """Blocks and projections in turn: (B, dim, H, W) -> the same."""

    def __init__(self, dim: int, heads: int, drops: list[float]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for drop in drops:
            block = Block(dim, heads, drop)
            for _ in range(USES):
                layers += [block, Projection(dim)]
        self.blocks = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2], x.shape[3])
        tokens = from_map(x)
        for block in self.blocks:
            tokens = block(tokens)
        return to_map(tokens, size)


class Pool(nn.Module):
    """A convolution of stride 2 that widens each channel by itself."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim, 3, 2, 1, groups=dim_in)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class Stem(nn.Module):
    """Three convolutions of stride 2, each with norm and ReLU."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        before = (in_chans, dim // 2, dim, dim)
        for index in range(1, 4):
            conv = nn.Conv2d(before[index - 1], before[index], 3, 2, 1)
            setattr(self, f"conv{index}", conv)
            setattr(self, f"bn{index}", nn.BatchNorm2d(before[index]))

    def forward(self, x: Tensor) -> Tensor:
        for index in range(1, 4):
            x = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(x)).relu()
        return x


class SReT(nn.Module):
    """SReT classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are those of ``size``, multiples of 8.
    """

    classifier_parts = ("norm", "head")

    def __init__(
        self,
        *,
        size: tuple[int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        dims = [HEAD_DIM * heads for heads in HEADS]
        self.pos_embed = nn.Parameter(torch.empty(1, dims[0], size[0] // 8, size[1] // 8))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.patch_embed = Stem(in_chans, dims[0])
        drops = iter(drop_rates(drop_path_rate, sum(BLOCKS)))
        self.transformers = nn.ModuleList(
            Stage(dim, heads, [next(drops) for _ in range(blocks)])
            for dim, heads, blocks in zip(dims, HEADS, BLOCKS, strict=True)
        )
        self.pools = nn.ModuleList([Pool(dims[0], dims[1]), Pool(dims[1], dims[2])])
        self.norm = nn.LayerNorm(dims[-1], eps=EPS)
        self.head = nn.Linear(dims[-1], num_classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 8 to 32 that a head of `models.heads` stands on."""
        x = self.patch_embed(x) + self.pos_embed
        maps: list[Tensor] = []
        for index, stage in enumerate(self.transformers):
            x = stage(self.pools[index - 1](x) if index else x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.feature_maps(x)[-1].mean((2, 3))))
        return logits


def sret_tiny(
    num_classes: int = 1000,
    *,
    size: tuple[int, int] = (224, 224),
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
) -> SReT:
    """SReT-Tiny without slices: 4.8 M parameters, 76.1 % top-1 on ImageNet."""
    return SReT(
        size=size, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )

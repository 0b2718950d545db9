"""Swin Transformer's blocks (arXiv 2103.14030), under the official names, on tokens of a map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..dat.windows import shifted_masks
from ..layers import FeedForward
from ..swin.network import neighbours
from ..swin.windows import WINDOW, WindowAttention, merge, partition

__all__ = ["PatchMerging", "SwinStages"]

RATIO = 4

Size = tuple[int, int]


class Block(nn.Module):
    """Attention within windows, shifted or not, and a feed-forward: (B, H·W, dim) -> the same."""

    def __init__(self, dim: int, heads: int, size: Size, *, shifted: bool) -> None:
        super().__init__()
        self.size = size
        self.shift = WINDOW // 2 if shifted and min(size) > WINDOW else 0
        step = (self.shift, self.shift)
        masks = shifted_masks(size, (WINDOW, WINDOW), step) if self.shift else None
        self.register_buffer("attn_mask", masks)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, RATIO * dim)

    def windows(self, x: Tensor) -> Tensor:
        """What the windows' tokens gather, in the place of each."""
        batch, _, dim = x.shape
        height, width = self.size
        y = x.reshape(batch, height, width, dim)
        y = torch.roll(y, (-self.shift, -self.shift), (1, 2)) if self.shift else y
        masks = self.get_buffer("attn_mask") if self.shift else None
        y = merge(self.attn.attend(partition(y), masks), height, width)
        y = torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y
        return y.reshape(batch, -1, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.windows(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class Stage(nn.Module):
    """Blocks, every second one shifted."""

    def __init__(self, dim: int, heads: int, depth: int, size: Size) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(Block(dim, heads, size, shifted=index % 2 == 1) for index in range(depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x)
        return y


class SwinStages(nn.Module):
    """The stages alone, ``layers``.

    Args:
        size: (height, width) of the first stage's map.
    """

    def __init__(
        self, dims: tuple[int, ...], depths: tuple[int, ...], heads: tuple[int, ...], size: Size
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Stage(dim, heads[index], depths[index], (size[0] >> index, size[1] >> index))
            for index, dim in enumerate(dims)
        )


class PatchMerging(nn.Module):
    """Four neighbours become one: (B, H·W, dim) -> (B, H·W/4, 2·dim)."""

    def __init__(self, dim: int, size: Size) -> None:
        super().__init__()
        self.size = size
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, dim = x.shape
        height, width = self.size
        joined = neighbours(x.reshape(batch, height, width, dim)).reshape(batch, -1, 4 * dim)
        y: Tensor = self.reduction(self.norm(joined))
        return y

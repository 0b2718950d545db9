"""Swin Transformer's blocks (arXiv 2103.14030), under the official names, on tokens of a map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..dat.windows import shifted_masks
from ..layers import Attention, FeedForward

__all__ = ["PatchMerging", "SwinStages"]

WINDOW = 7
RATIO = 4

Size = tuple[int, int]


class WindowAttention(Attention):
    """Attention within windows, with a bias for every offset: (windows, 49, dim) -> the same."""

    relative_position_index: Tensor

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        offsets = 2 * WINDOW - 1
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets**2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        rows, columns = torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")
        place = rows.flatten() * offsets + columns.flatten()
        middle = (WINDOW - 1) * offsets + WINDOW - 1
        self.register_buffer("relative_position_index", place[:, None] - place[None] + middle)

    def attend(self, x: Tensor, masks: Tensor | None) -> Tensor:
        """Args:
        masks: (windows, 49, 49), added to the similarities.
        """
        windows, area, _ = x.shape
        qkv = self.qkv(x).reshape(windows, area, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = q * self.head_dim**-0.5 @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        weights = weights + bias.reshape(area, area, self.heads).permute(2, 0, 1)
        if masks is not None:
            apart = weights.reshape(-1, len(masks), self.heads, area, area)
            weights = (apart + masks[:, None]).reshape(weights.shape)
        mixed = (weights.softmax(-1) @ v).transpose(1, 2).flatten(2)
        y: Tensor = self.proj(mixed)
        return y


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
        down, across = height // WINDOW, width // WINDOW
        y = x.reshape(batch, height, width, dim)
        y = torch.roll(y, (-self.shift, -self.shift), (1, 2)) if self.shift else y
        cut = y.reshape(batch, down, WINDOW, across, WINDOW, dim).transpose(2, 3)
        masks = self.get_buffer("attn_mask") if self.shift else None
        mixed = self.attn.attend(cut.reshape(-1, WINDOW**2, dim), masks)
        whole = mixed.reshape(batch, down, across, WINDOW, WINDOW, dim).transpose(2, 3)
        y = whole.reshape(batch, height, width, dim)
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
        pairs = x.reshape(batch, height // 2, 2, width // 2, 2, dim).permute(0, 1, 3, 4, 2, 5)
        y: Tensor = self.reduction(self.norm(pairs.reshape(batch, -1, 4 * dim)))
        return y

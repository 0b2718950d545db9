"""The frame of SwinIR (arXiv 2108.10257) for super-resolution: groups of blocks on tokens, between
a first convolution and what makes the larger image."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..layers import from_map, to_map

__all__ = ["ResidualGroup", "WindowUpscaler"]

MEAN = (0.4488, 0.4371, 0.4040)
"""Of the training images' colours."""


class ResidualGroup(nn.Module):
    """Blocks and a convolution, with a residual around.

    Args:
        blocks: each takes tokens and the map's (height, width).
    """

    def __init__(self, blocks: Iterable[nn.Module], conv: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.conv = conv

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        y = x
        for block in self.blocks:
            y = block(y, size)
        return x + from_map(self.conv(to_map(y, size)))


class WindowUpscaler(nn.Module):
    """Images in [0, 1], (B, 3, H, W) -> (B, 3, scale·H, scale·W).

    Args:
        layers: groups of blocks.
        conv: behind the last one.
    """

    def __init__(
        self, dim: int, layers: Iterable[nn.Module], conv: nn.Module, *, in_chans: int
    ) -> None:
        super().__init__()
        if in_chans != len(MEAN):
            raise ValueError(f"it takes RGB images, not {in_chans} channels")
        self.conv_first = nn.Conv2d(in_chans, dim, 3, padding=1)
        self.before_RG = nn.Sequential(nn.Identity(), nn.LayerNorm(dim))
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = conv

    def reconstruct(self, deep: Tensor) -> Tensor:
        """The larger image without the mean of colours, of the features (B, dim, H, W)."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        mean = torch.tensor(MEAN, dtype=image.dtype, device=image.device)[:, None, None]
        shallow = self.conv_first(image - mean)
        size = (image.shape[2], image.shape[3])
        x = self.before_RG(from_map(shallow))
        for layer in self.layers:
            x = layer(x, size)
        deep = self.conv_after_body(to_map(self.norm(x), size))
        return self.reconstruct(deep + shallow) + mean

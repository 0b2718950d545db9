"""CAT-R, NeurIPS 2022 (arXiv 2211.13654): super-resolution of colour images.

"Cross Aggregation Transformer for Image Restoration", Chen et al. Blocks attend within rectangles
of 4x16 and 16x4 pixels (one half of the channels each), which lie half a rectangle further in every
second block, and add a depthwise convolution of the values (locality complementary module, §3.3).

Parameter names are those of the official checkpoints (github.com/zhengchen1999/CAT).
"""

from __future__ import annotations

from torch import Tensor, nn

from ..dat.frame import ResidualGroup, WindowUpscaler
from ..dat.windows import TwoWindows
from ..layers import FeedForward, from_map, initialize_linear, to_map

__all__ = ["CAT", "cat_r_x4"]

DIM, GROUPS, DEPTH, HEADS = 180, 6, 6, 6
WINDOW = (4, 16)
RATIO = 4
"""Channels of the feed-forward's middle over `DIM`."""
LAST = 64
"""Channels while the image grows."""


class Block(TwoWindows):
    """Attention and feed-forward, each with a residual: tokens of a map of ``size`` -> tokens."""

    def __init__(self, dim: int, *, shifted: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.norm1 = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, dim)
        self.add_windows(dim, HEADS, WINDOW, shifted=shifted)
        self.mlp = FeedForward(dim, RATIO * dim)
        self.norm2 = nn.LayerNorm(dim)
        self.get_v = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        maps = to_map(self.qkv(self.norm1(x)), size)
        mixed = self.attend_windows(maps) + self.get_v(maps.chunk(3, 1)[2])
        x = x + self.proj(from_map(mixed))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class CAT(WindowUpscaler):
    """Images in [0, 1], (B, 3, H, W) -> (B, 3, 4·H, 4·W); H and W are multiples of 16."""

    def __init__(self, *, in_chans: int = 3) -> None:
        groups = [
            ResidualGroup(
                (Block(DIM, shifted=index % 2 == 1) for index in range(DEPTH)),
                nn.Conv2d(DIM, DIM, 3, padding=1),
            )
            for _ in range(GROUPS)
        ]
        super().__init__(DIM, groups, nn.Conv2d(DIM, DIM, 3, padding=1), in_chans=in_chans)
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(DIM, LAST, 3, padding=1), nn.LeakyReLU()
        )
        doublings: list[nn.Module] = []
        for _ in range(2):
            doublings += [nn.Conv2d(LAST, 4 * LAST, 3, padding=1), nn.PixelShuffle(2)]
        self.upsample = nn.Sequential(*doublings)
        self.conv_last = nn.Conv2d(LAST, in_chans, 3, padding=1)
        self.apply(initialize_linear)

    def reconstruct(self, deep: Tensor) -> Tensor:
        y: Tensor = self.conv_last(self.upsample(self.conv_before_upsample(deep)))
        return y


def cat_r_x4(*, in_chans: int = 3) -> CAT:
    """CAT-R for images of four times the size: 16.6 M parameters."""
    return CAT(in_chans=in_chans)

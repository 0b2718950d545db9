"""The variants of Mobile-Former (arXiv 2108.05895), as the official code has them.

Tested by tests/models/mobile_former/test_network.py: keys, shapes and outputs of every variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["M96", "M151", "M214", "M294", "M508", "Block", "MobileFormerConfig"]


class Block(NamedTuple):
    """One block after the first.

    Attributes:
        channels: that leave it.
        expansion: width of the (first) depthwise convolution over the input channels.
        second: of a block that halves the resolution: width of its second depthwise convolution
            over the output channels; None: the block keeps the resolution.
    """

    channels: int
    expansion: int
    second: int | None = None


@dataclass(frozen=True)
class MobileFormerConfig:
    """One variant.

    Attributes:
        stem_dim: channels after the stem, and after the first block, which has no tokens.
        blocks: the other blocks.
        tokens, token_dim: number of tokens and their width.
        head_dim: width of the classifier's middle.
    """

    stem_dim: int
    blocks: tuple[Block, ...]
    tokens: int
    token_dim: int
    head_dim: int


M96 = MobileFormerConfig(
    stem_dim=12,
    blocks=(
        Block(16, 6, 4),
        Block(32, 6, 4),
        Block(32, 3),
        Block(64, 6, 4),
        Block(64, 4),
        Block(88, 6),
        Block(128, 6, 4),
        Block(128, 6),
    ),
    tokens=4,
    token_dim=128,
    head_dim=1280,
)
M151 = MobileFormerConfig(
    stem_dim=12,
    blocks=(
        Block(16, 6, 4),
        Block(16, 3),
        Block(32, 6, 4),
        Block(32, 3),
        Block(64, 6, 4),
        Block(64, 4),
        Block(88, 6),
        Block(88, 6),
        Block(128, 6, 4),
        Block(128, 6),
        Block(128, 6),
    ),
    tokens=6,
    token_dim=192,
    head_dim=1280,
)
M214 = MobileFormerConfig(
    stem_dim=12,
    blocks=(
        Block(20, 6, 4),
        Block(20, 3),
        Block(40, 6, 4),
        Block(40, 4),
        Block(80, 6, 4),
        Block(80, 4),
        Block(112, 6),
        Block(112, 6),
        Block(160, 6, 4),
        Block(160, 6),
        Block(160, 6),
    ),
    tokens=6,
    token_dim=192,
    head_dim=1600,
)
M294 = MobileFormerConfig(
    stem_dim=16,
    blocks=(
        Block(24, 6, 4),
        Block(24, 4),
        Block(48, 6, 4),
        Block(48, 4),
        Block(96, 6, 4),
        Block(96, 4),
        Block(128, 6),
        Block(128, 6),
        Block(192, 6, 4),
        Block(192, 6),
        Block(192, 6),
    ),
    tokens=6,
    token_dim=192,
    head_dim=1920,
)
M508 = MobileFormerConfig(
    stem_dim=24,
    blocks=(
        Block(40, 6, 4),
        Block(40, 3),
        Block(72, 6, 4),
        Block(72, 3),
        Block(128, 6, 4),
        Block(128, 4),
        Block(176, 6),
        Block(176, 6),
        Block(240, 6, 4),
        Block(240, 6),
        Block(240, 6),
    ),
    tokens=6,
    token_dim=192,
    head_dim=1920,
)

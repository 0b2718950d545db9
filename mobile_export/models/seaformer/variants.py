"""The variants of SeaFormer: Table 1 of the paper, and what the official configurations add.

Tested by tests/models/seaformer/test_network.py: keys, shapes and outputs of every variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["BASE", "LARGE", "SMALL", "TINY", "Block", "SeaFormerConfig"]


class Block(NamedTuple):
    """One MobileNetV2 block of Table 1: [MB, kernel, expansion, channels, stride]."""

    kernel: int
    expansion: int
    channels: int
    stride: int


@dataclass(frozen=True)
class SeaFormerConfig:
    """One variant of Table 1; tuples of attention have one value per attending stage.

    Attributes:
        stem_dim: channels after the first convolution.
        stages: the MobileNetV2 blocks of strides 4, 8, 16, 32 and 64 (the first also of stride 2).
        depths: number of SEA layers after each of the last stages.
        heads: attention heads of every layer.
        key_dims: channels of a head's queries and keys.
        mlp_ratios: width of a feed-forward's middle over its input.
        fuse_dims: channels of the segmentation head's fusion blocks.
    """

    stem_dim: int
    stages: tuple[tuple[Block, ...], ...]
    depths: tuple[int, ...]
    heads: int
    key_dims: tuple[int, ...]
    mlp_ratios: tuple[int, ...]
    fuse_dims: tuple[int, ...]

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels that leave each stage."""
        return tuple(blocks[-1].channels for blocks in self.stages)

    @property
    def attending_dims(self) -> tuple[int, ...]:
        """Channels of the stages with SEA layers."""
        return self.dims[-len(self.depths) :]


def _stages(
    dims: tuple[int, int, int, int, int],
    first: Block,
    expansions: tuple[tuple[int, int], tuple[int, int], tuple[int, int], int, int],
) -> tuple[tuple[Block, ...], ...]:
    """Stages 2 to 6 of Table 1: kernels 3, 5, 3, 5, 3; two blocks at strides 4, 8 and 16."""
    (e1, e2), (e3, e4), (e5, e6), e7, e8 = expansions
    return (
        (first, Block(3, e1, dims[0], 2), Block(3, e2, dims[0], 1)),
        (Block(5, e3, dims[1], 2), Block(5, e4, dims[1], 1)),
        (Block(3, e5, dims[2], 2), Block(3, e6, dims[2], 1)),
        (Block(5, e7, dims[3], 2),),
        (Block(3, e8, dims[4], 2),),
    )


TINY = SeaFormerConfig(
    stem_dim=16,
    stages=_stages((16, 32, 64, 128, 160), Block(3, 1, 16, 1), ((4, 3), (3, 3), (3, 3), 3, 6)),
    depths=(2, 2),
    heads=4,
    key_dims=(16, 24),
    mlp_ratios=(2, 4),
    fuse_dims=(64, 96),
)
SMALL = SeaFormerConfig(
    stem_dim=16,
    stages=_stages((24, 48, 96, 160, 192), Block(3, 1, 16, 1), ((4, 3), (3, 3), (3, 3), 4, 6)),
    depths=(3, 3),
    heads=6,
    key_dims=(16, 24),
    mlp_ratios=(2, 4),
    fuse_dims=(96, 128),
)
BASE = SeaFormerConfig(
    stem_dim=16,
    stages=_stages((32, 64, 128, 192, 256), Block(3, 1, 16, 1), ((4, 3), (3, 3), (3, 3), 4, 6)),
    depths=(4, 4),
    heads=8,
    key_dims=(16, 24),
    mlp_ratios=(2, 4),
    fuse_dims=(128, 160),
)
LARGE = SeaFormerConfig(
    stem_dim=32,
    stages=_stages((64, 128, 192, 256, 320), Block(3, 3, 32, 1), ((4, 4), (4, 4), (4, 4), 4, 6)),
    depths=(3, 3, 3),
    heads=8,
    key_dims=(16, 20, 24),
    mlp_ratios=(2, 4, 6),
    fuse_dims=(128, 160, 192),
)

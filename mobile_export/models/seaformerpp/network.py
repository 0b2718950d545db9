"""SeaFormer++, IJCV 2025 (arXiv 2301.13156): SeaFormer with adaptive squeeze and expand.

These are the networks of `models.seaformer` with two changes in SEA attention (§3.2.1, Equation 4):
weighted sums replace the means that squeeze rows and columns, and the tokens that attention gives
back are spread over their rows and columns with weights, too. All weights ("masks") depend on the
input: a 1x1 convolution and batch norm of x each, without an activation.

The code is not released. What is deduced, and from what:

- Six squeezing masks (queries, keys and values, along rows and along columns; the text repeats
  "the adaptive squeeze operation on k and v") and two expanding ones (Figure 4).
- A squeezing mask has one channel per channel of one head, shared by all heads. Equation 4 can be
  read as one channel in all, but that adds 0.005 M parameters to Tiny, where Tables 2, 7, 13 and 14
  say 0.1 M and 10 M more FLOPs; a mask of all heads' channels adds too much to Small, Base and
  Large. This reading adds 0.094 M and 12 M to Tiny, and all variants are within 3 % of the tables.
- An expanding mask has one channel: Figure 4 has a matrix product of tokens and weights.

There are no official weights; the names that SeaFormer has too are SeaFormer's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..seaformer.network import VALUE_RATIO, ConvNorm, SeaAttention, SeaFormer
from ..seaformer.segmenter import SeaFormerSegmenter
from ..seaformer.variants import BASE, LARGE, SMALL, TINY
from ..segmentation import SegmentationOutput

__all__ = [
    "AdaptiveSeaAttention",
    "seaformerpp_base",
    "seaformerpp_base_seg",
    "seaformerpp_large",
    "seaformerpp_large_seg",
    "seaformerpp_small",
    "seaformerpp_small_seg",
    "seaformerpp_tiny",
    "seaformerpp_tiny_seg",
]


class AdaptiveSeaAttention(SeaAttention):
    """SEA attention with adaptive squeeze and expand: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, key_dim: int, heads: int) -> None:
        super().__init__(dim, key_dim, heads)
        self.mask_rowq = ConvNorm(dim, key_dim)
        self.mask_rowk = ConvNorm(dim, key_dim)
        self.mask_rowv = ConvNorm(dim, VALUE_RATIO * key_dim)
        self.mask_columnq = ConvNorm(dim, key_dim)
        self.mask_columnk = ConvNorm(dim, key_dim)
        self.mask_columnv = ConvNorm(dim, VALUE_RATIO * key_dim)
        self.expand_row = ConvNorm(dim, 1)
        self.expand_column = ConvNorm(dim, 1)

    def axial(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = self.attend_rows(
            self.weigh(q, self.mask_rowq(x)).mean(-1),
            self.weigh(k, self.mask_rowk(x)).mean(-1),
            self.weigh(v, self.mask_rowv(x)).mean(-1),
        )
        columns = self.attend_columns(
            self.weigh(q, self.mask_columnq(x)).mean(-2),
            self.weigh(k, self.mask_columnk(x)).mean(-2),
            self.weigh(v, self.mask_columnv(x)).mean(-2),
        )
        spread: Tensor = rows * self.expand_row(x) + columns * self.expand_column(x)
        return spread

    def weigh(self, x: Tensor, mask: Tensor) -> Tensor:
        """x times the mask of one head, repeated for all: shape of ``x``."""
        return x * torch.cat([mask] * self.heads, 1)


def seaformerpp_tiny(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> SeaFormer:
    """SeaFormer-Tiny++: 1.9 M parameters, 69.8 % top-1 (Table 14)."""
    return SeaFormer(
        TINY,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        attention=AdaptiveSeaAttention,
    )


def seaformerpp_small(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> SeaFormer:
    """SeaFormer-Small++: 4.2 M parameters, 74.5 % top-1 (Table 14)."""
    return SeaFormer(
        SMALL,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        attention=AdaptiveSeaAttention,
    )


def seaformerpp_base(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> SeaFormer:
    """SeaFormer-Base++: 8.8 M parameters, 77.0 % top-1 (Table 14)."""
    return SeaFormer(
        BASE,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        attention=AdaptiveSeaAttention,
    )


def seaformerpp_large(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> SeaFormer:
    """SeaFormer-Large++: 14.1 M parameters, 80.6 % top-1 (Table 14)."""
    return SeaFormer(
        LARGE,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        attention=AdaptiveSeaAttention,
    )


def seaformerpp_tiny_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
) -> SeaFormerSegmenter:
    """SeaFormer-Tiny++, light head: 1.8 M parameters, 36.8 % mIoU on ADE20K (Table 2)."""
    return SeaFormerSegmenter(
        TINY,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
        attention=AdaptiveSeaAttention,
    )


def seaformerpp_small_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
) -> SeaFormerSegmenter:
    """SeaFormer-Small++, light head: 4.1 M parameters, 39.7 % mIoU on ADE20K (Table 2)."""
    return SeaFormerSegmenter(
        SMALL,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
        attention=AdaptiveSeaAttention,
    )


def seaformerpp_base_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
) -> SeaFormerSegmenter:
    """SeaFormer-Base++, light head: 8.7 M parameters, 41.4 % mIoU on ADE20K (Table 2)."""
    return SeaFormerSegmenter(
        BASE,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
        attention=AdaptiveSeaAttention,
    )


def seaformerpp_large_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
) -> SeaFormerSegmenter:
    """SeaFormer-Large++, light head: 14.1 M parameters, 43.8 % mIoU on ADE20K (Table 2)."""
    return SeaFormerSegmenter(
        LARGE,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
        attention=AdaptiveSeaAttention,
    )

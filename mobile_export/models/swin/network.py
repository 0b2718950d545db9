"""Swin Transformer, ICCV 2021 (arXiv 2103.14030), and with other attentions in its place.

"Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al. Four stages of
blocks whose tokens attend within windows of 7x7 pixels, shifted by half a window in every second
block; four neighbours become one between stages (§3.1). Swin-T: 96 channels, 2, 2, 6 and 2 blocks,
heads of 32 channels. Any size that is a multiple of 32, padded to whole windows.

The other attentions are those of SeaFormer++ (arXiv 2301.13156), Table 8. It does not say how they
are set up; each is what its own paper or code has, with Swin's heads, and has the parameters and
FLOPs printed there (tests/models/swin). With CCNet's and A2-Nets' there are twice as many blocks.

Parameter names are those of the official checkpoints (github.com/microsoft/Swin-Transformer).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..layers import Attention, FeedForward, check_classes, initialize_linear
from ..seaformer.network import SeaAttention
from .crossed import CrissCrossAttention, DoubleAttention, InterlacedAttention
from .windows import ACmix, LocalAttention, MapWindows, MixingAttention

__all__ = ["Swin", "neighbours", "swin_tiny"]

DIM, DEPTHS, HEADS = 96, (2, 2, 6, 2), (3, 6, 12, 24)
PATCH, RATIO = 4, 4
DOUBLED: dict[str, Callable[[int], nn.Module]] = {
    "ccnet": CrissCrossAttention,
    "a2": DoubleAttention,
}
"""Attentions with which every stage has twice as many blocks."""
SEA_KEYS = 16
"""Channels of a head's keys in SEA attention, whose values have twice as many: Swin's 32."""


class GlobalAttention(Attention):
    """Every pixel attends to all: (B, H, W, dim) -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x.flatten(1, 2))
        return y.reshape(x.shape)


class AxialAttention(nn.Module):
    """Every pixel attends to its row, and by weights of their own to its column; the sum of both.

    (B, H, W, dim) -> the same.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.rows = Attention(dim, heads)
        self.columns = Attention(dim, heads)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, dim = x.shape
        across = self.rows(x.reshape(batch * height, width, dim)).reshape(x.shape)
        turned = x.transpose(1, 2)
        down = self.columns(turned.reshape(batch * width, height, dim)).reshape(turned.shape)
        found: Tensor = across + down.transpose(1, 2)
        return found


class MapSeaAttention(SeaAttention):
    """SEA attention of a map whose channels are last: (B, H, W, dim) -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def attention(kind: str, dim: int, heads: int, *, shifted: bool) -> nn.Module:
    """The attention of a block."""
    if kind == "seaformer":
        return MapSeaAttention(dim, SEA_KEYS, heads)
    whole: dict[str, Callable[[int, int], nn.Module]] = {
        "local": LocalAttention,
        "global": GlobalAttention,
        "axial": AxialAttention,
        "issa": InterlacedAttention,
    }
    if kind in whole:
        return whole[kind](dim, heads)
    if kind in DOUBLED:
        return DOUBLED[kind](dim)
    kinds = {"window": MapWindows, "mixformer": MixingAttention, "acmix": ACmix}
    return kinds[kind](dim, heads, shifted=shifted)


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and with a residual."""

    def __init__(self, attn: nn.Module, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, RATIO * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


def neighbours(x: Tensor) -> Tensor:
    """Four pixels become one: (B, H, W, C) -> (B, H/2, W/2, 4·C)."""
    batch, height, width, dim = x.shape
    pairs = x.reshape(batch, height // 2, 2, width // 2, 2, dim).permute(0, 1, 3, 4, 2, 5)
    return pairs.reshape(batch, height // 2, width // 2, 4 * dim)


class Merging(nn.Module):
    """`neighbours`, a norm and a linear layer: (B, H, W, dim) -> (B, H/2, W/2, 2·dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.reduction(self.norm(neighbours(x)))
        return y


class Stage(nn.Module):
    """Blocks, then `Merging` unless it is the last stage."""

    def __init__(self, kind: str, dim: int, heads: int, depth: int, *, last: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                Block(attention(kind, dim, heads, shifted=index % 2 == 1), dim)
                for index in range(depth)
            )
        )
        self.downsample = nn.Identity() if last else Merging(dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.downsample(self.blocks(x))
        return y


class PatchEmbedding(nn.Module):
    """Images (B, in_chans, H, W) -> (B, H/4, W/4, DIM)."""

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, DIM, PATCH, PATCH)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return y


class Swin(nn.Module):
    """Swin-T: normalised images (B, in_chans, H, W) -> logits; H and W multiples of 32."""

    classifier_parts = ("head",)
    training_only = tuple(
        f"layers.{stage}.blocks.{index}.attn_mask"
        for stage, depth in enumerate(DEPTHS)
        for index in range(1, depth, 2)
    )
    """Not even that: checkpoints hold the shifted windows' masks of 224 x 224 pixels."""

    def __init__(self, kind: str, *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        self.patch_embed = PatchEmbedding(in_chans)
        last = len(DEPTHS) - 1
        depths = [2 * depth if kind in DOUBLED else depth for depth in DEPTHS]
        self.layers = nn.Sequential(
            *(
                Stage(kind, DIM << index, HEADS[index], depths[index], last=index == last)
                for index in range(len(DEPTHS))
            )
        )
        width = DIM << last
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self.apply(initialize_linear)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.layers(self.patch_embed(x)))
        logits: Tensor = self.head(x.mean((1, 2)))
        return logits


def swin_tiny(num_classes: int = 1000, *, in_chans: int = 3, attention: str = "window") -> Swin:
    """Swin-T: 28.3 M parameters, 81.3 % top-1.

    Args:
        attention: "window" is Swin's own; the others are those of SeaFormer++'s Table 8.
    """
    return Swin(attention, num_classes=num_classes, in_chans=in_chans)

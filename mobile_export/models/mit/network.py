"""MiT: mix transformer, the backbone of SegFormer, NeurIPS 2021 (arXiv 2105.15203).

"SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", Xie et al.
Four stages of PVT's attention (§3.1, "efficient self-attention"); patches overlap, and a depthwise
convolution in the feed-forward stands for positions ("Mix-FFN"). A classifier averages the last
map. SegFormer itself is ``mit_b0+segformer``. Variants: the paper's appendix.

Parameter names are those of the official checkpoints (github.com/NVlabs/SegFormer), whose
classifier is the layer ``head``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes, drop_rates, from_map, initialize_linear, to_map
from ..pvt.network import EPS, Block, PatchEmbed

__all__ = ["MiT", "mit_b0", "mit_b1"]

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
DEPTH = 2
MLP_RATIO = 4
B0 = (32, 64, 160, 256)
B1 = (64, 128, 320, 512)


class Depthwise(nn.Module):
    """Depthwise 3x3 convolution on the map of tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return from_map(self.dwconv(to_map(x, size)))


class MixFeedForward(nn.Module):
    """Linear, depthwise convolution, GELU, linear: (B, h·w, dim) -> (B, h·w, dim)."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, middle)
        self.dwconv = Depthwise(middle)
        self.fc2 = nn.Linear(middle, dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.dwconv(self.fc1(x), size)))
        return y


class MiT(nn.Module):
    """MiT classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are at least 29: the first map must hold a patch of 8 (`REDUCTIONS`).
    """

    classifier_parts = ("head",)

    def __init__(
        self,
        dims: tuple[int, ...],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.stages = len(dims)
        before = (in_chans, *dims)
        for index, dim in enumerate(dims):
            kernel, stride = (3, 2) if index else (7, 4)
            patches = PatchEmbed(before[index], dim, kernel, stride, kernel // 2)
            setattr(self, f"patch_embed{index + 1}", patches)
        drops = iter(drop_rates(drop_path_rate, DEPTH * len(dims)))
        for index, dim in enumerate(dims):
            heads, reduction = HEADS[index], REDUCTIONS[index]
            blocks = [
                Block(dim, heads, MLP_RATIO, reduction, next(drops), MixFeedForward)
                for _ in range(DEPTH)
            ]
            setattr(self, f"block{index + 1}", nn.ModuleList(blocks))
            setattr(self, f"norm{index + 1}", nn.LayerNorm(dim, eps=EPS))
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(initialize_linear)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        maps: list[Tensor] = []
        for index in range(1, self.stages + 1):
            x, size = getattr(self, f"patch_embed{index}")(x)
            for block in getattr(self, f"block{index}"):
                x = block(x, size)
            x = to_map(getattr(self, f"norm{index}")(x), size)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.feature_maps(x)[-1].mean((2, 3)))
        return logits


def mit_b0(num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0) -> MiT:
    """MiT-B0: with SegFormer's head 3.8 M parameters, 37.4 % mIoU on ADE20K."""
    return MiT(B0, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)


def mit_b1(num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0) -> MiT:
    """MiT-B1: with SegFormer's head 13.7 M parameters, 41.6 % mIoU on ADE20K."""
    return MiT(B1, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)

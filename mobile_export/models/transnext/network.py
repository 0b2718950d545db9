"""TransNeXt, CVPR 2024 (arXiv 2311.17132).

"TransNeXt: Robust Foveal Visual Perception for Vision Transformers", Shi. In the first three stages
a token attends to its eight neighbours and itself, and to averages over the whole map, with one
softmax over both (aggregated attention, §3.2, `attention`); in the last to all. The feed-forward is
a convolutional gated linear unit (§3.5).

Parameter names are those of the official checkpoints (github.com/DaiShiResearch/TransNeXt). Biases
of position are those of weights trained at 224x224, whatever the size of the images.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import DropPath, check_classes, drop_rates, from_map, initialize_linear, to_map
from .attention import AggregatedAttention, GlobalAttention

__all__ = ["TransNeXt", "transnext_micro", "transnext_tiny"]

EPS = 1e-6
HEAD_DIM = 24
RATIOS = (8, 8, 4, 4)
"""Of the feed-forwards, stage by stage, before a third is taken off for the gate."""
POOLS = (8, 4, 2, 1)
"""Height and width of what is averaged, stage by stage; 1: every token is attended to."""
TRAINED = 224


class DepthwiseConv(nn.Module):
    """3x3 depthwise convolution of tokens, (B, N, dim) -> (B, N, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return from_map(self.dwconv(to_map(x, size)))


class ConvGLU(nn.Module):
    """Convolutional gated linear unit: (B, N, dim) -> (B, N, dim)."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * middle)
        self.dwconv = DepthwiseConv(middle)
        self.fc2 = nn.Linear(middle, dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        gate, plain = self.fc1(x).chunk(2, -1)
        y: Tensor = self.fc2(F.gelu(self.dwconv(gate, size)) * plain)
        return y


class Block(nn.Module):
    """Attention and feed-forward, each with a residual: (B, N, dim) -> (B, N, dim)."""

    def __init__(self, dim: int, stage: int, drop_path: float) -> None:
        super().__init__()
        heads, trained = dim // HEAD_DIM, TRAINED >> (stage + 2)
        pool = POOLS[stage]
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = (
            GlobalAttention(dim, heads, trained)
            if pool == 1
            else AggregatedAttention(dim, heads, trained, pool)
        )
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = ConvGLU(dim, 2 * RATIOS[stage] * dim // 3)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x), size))
        return y


class PatchEmbed(nn.Module):
    """The convolution in front of a stage, and its norm: a map -> tokens."""

    def __init__(self, dim_in: int, dim_out: int, *, stem: bool) -> None:
        super().__init__()
        kernel, stride = (7, 4) if stem else (3, 2)
        self.proj = nn.Conv2d(dim_in, dim_out, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(dim_out)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        y = self.proj(x)
        return self.norm(from_map(y)), (y.shape[2], y.shape[3])


class TransNeXt(nn.Module):
    """TransNeXt classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    classifier_parts = ("head",)

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        self.stages = len(dims)
        drops = iter(drop_rates(drop_path_rate, sum(depths)))
        for stage, (before, dim) in enumerate(pairwise((in_chans, *dims))):
            self.add_module(f"patch_embed{stage + 1}", PatchEmbed(before, dim, stem=stage == 0))
            blocks = nn.ModuleList(Block(dim, stage, next(drops)) for _ in range(depths[stage]))
            self.add_module(f"block{stage + 1}", blocks)
            self.add_module(f"norm{stage + 1}", nn.LayerNorm(dim, eps=EPS))
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(initialize_linear)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        maps: list[Tensor] = []
        for stage in range(1, self.stages + 1):
            tokens, size = self.get_submodule(f"patch_embed{stage}")(x)
            for block in self.get_submodule(f"block{stage}").children():
                tokens = block(tokens, size)
            x = to_map(self.get_submodule(f"norm{stage}")(tokens), size)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.feature_maps(x)[-1].mean((2, 3)))
        return logits


def transnext_micro(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> TransNeXt:
    """TransNeXt-Micro: 12.8 M parameters, 82.5 % top-1 on ImageNet."""
    return TransNeXt(
        (48, 96, 192, 384),
        (2, 2, 15, 2),
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )


def transnext_tiny(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> TransNeXt:
    """TransNeXt-Tiny: 28.2 M parameters, 84.0 % top-1 on ImageNet."""
    return TransNeXt(
        (72, 144, 288, 576),
        (2, 2, 15, 2),
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )

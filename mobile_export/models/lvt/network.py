"""LVT, CVPR 2022 (arXiv 2112.10809).

"Lite Vision Transformer with Enhanced Self-Attention", Yang et al. The first stage mixes windows of
3x3 pixels by an attention that is predicted from their centre ("convolutional self-attention",
§3.1); the others attend to a smaller map with queries that are convolved at three dilations, twice
with the same weights ("recursive atrous self-attention", §3.2). Two class-attention blocks and
token labelling's second classifier follow. Configuration: the official code.

Parameter names are those of the official checkpoints (github.com/Chenglin-Yang/LVT).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import (
    DropPath,
    FeedForward,
    check_classes,
    drop_rates,
    from_map,
    initialize_linear,
)

__all__ = ["LVT", "lvt"]

DIMS = (64, 64, 160, 256)
DEPTHS = (2, 2, 2, 2)
HEADS = (2, 2, 5, 8)
MLP_RATIOS = (4, 8, 4, 4)
REDUCTIONS = (8, 4, 2, 1)
DILATIONS = (1, 3, 5)
POST_DEPTH = 2
WINDOW = 3
AUXILIARY = 0.5
"""Weight of the best score of all pixels, beside the class token's."""


class ConvAttention(nn.Module):
    """Windows of every second pixel, mixed and laid down again: (B, H, W, dim) -> the same.

    H and W are even.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        area = WINDOW**2
        self.heads = heads
        self.attn = nn.Linear(dim, area**2 * heads)
        self.weight = nn.Conv2d(area * dim, area * dim, 1, groups=area, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, dim = x.shape
        area, heads = WINDOW**2, self.heads
        maps = x.permute(0, 3, 1, 2)
        centres = F.avg_pool2d(maps, 2).flatten(2).transpose(1, 2)
        weights = self.attn(centres).reshape(batch, -1, heads, area, area).transpose(1, 2)
        weights = (weights * (dim // heads) ** -0.5).softmax(-1)
        windows = F.unfold(maps, WINDOW, padding=1, stride=2)
        windows = windows.reshape(batch, dim, area, -1).transpose(1, 2)
        values = self.weight(windows.reshape(batch, area * dim, height // 2, width // 2))
        values = values.reshape(batch, area, heads, dim // heads, -1).permute(0, 2, 4, 1, 3)
        mixed = (weights @ values).permute(0, 1, 4, 3, 2).reshape(batch, dim * area, -1)
        laid = F.fold(mixed, (height, width), WINDOW, padding=1, stride=2)
        y: Tensor = self.proj(laid.permute(0, 2, 3, 1))
        return y


class AtrousQueries(nn.Module):
    """One depthwise 3x3 kernel at several dilations: the sum of SiLU of each."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, 1, 3, 3))
        nn.init.kaiming_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        total = None
        for dilation in DILATIONS:
            y = F.silu(F.conv2d(x, self.weight, None, 1, dilation, dilation, groups=x.shape[1]))
            total = y if total is None else total + y
        assert total is not None
        return total


class RecursiveAttention(nn.Module):
    """Attention to a smaller map, applied twice: (B, H, W, dim) -> the same."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, reduction, reduction)
            self.norm = nn.LayerNorm(dim)
        self.ds = AtrousQueries(dim)

    def _once(self, x: Tensor) -> Tensor:
        batch, height, width, dim = x.shape
        queries = self.ds(self.q(x).permute(0, 3, 1, 2))
        q = queries.reshape(batch, self.heads, -1, height * width).transpose(2, 3)
        small = x
        if self.reduction > 1:
            small = self.norm(self.sr(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        kv = self.kv(small).reshape(batch, -1, 2, self.heads, dim // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * (dim // self.heads) ** -0.5).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).reshape(batch, height, width, dim)
        return F.silu(self.proj(mixed))

    def forward(self, x: Tensor) -> Tensor:
        return self._once(self._once(x) + x)


class MixFeedForward(nn.Module):
    """Pointwise, depthwise, GELU, pointwise: (B, H, W, dim) -> the same."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, middle, 1)
        self.depconv = nn.Conv2d(middle, middle, 3, padding=1, groups=middle)
        self.fc2 = nn.Conv2d(middle, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.depconv(self.fc1(x.permute(0, 3, 1, 2)))))
        return y.permute(0, 2, 3, 1)


class Block(nn.Module):
    """Attention and feed-forward, each after a norm and with a residual; channels last."""

    def __init__(self, stage: int, drop_path: float) -> None:
        super().__init__()
        dim, heads = DIMS[stage], HEADS[stage]
        middle = MLP_RATIOS[stage] * dim
        self.norm1 = nn.LayerNorm(dim)
        self.attn = (
            RecursiveAttention(dim, heads, REDUCTIONS[stage])
            if stage
            else ConvAttention(dim, heads)
        )
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MixFeedForward(dim, middle) if stage else FeedForward(dim, middle)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class PatchEmbed(nn.Module):
    """A strided convolution, normalised: (B, C, H, W) -> channels last."""

    def __init__(self, dim_in: int, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim_in, dim, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return y


class ClassAttention(nn.Module):
    """What the class token gathers: (B, 1 + N, dim) -> (B, 1, dim)."""

    def __init__(self, dim: int, heads: int, *, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.kv = nn.Linear(dim, 2 * dim, bias=bias)
        self.q = nn.Linear(dim, dim, bias=bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        kv = self.kv(x).reshape(batch, tokens, 2, self.heads, dim // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        q = self.q(x[:, :1]).reshape(batch, self.heads, 1, dim // self.heads)
        weights = (q * (dim // self.heads) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
        y: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(batch, 1, dim))
        return y


class ClassBlock(nn.Module):
    """The class token attends and is fed forward; the other tokens stay."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = ClassAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        token = x[:, :1] + self.attn(self.norm1(x))
        token = token + self.mlp(self.norm2(token))
        return torch.cat([token, x[:, 1:]], 1)


class LVT(nn.Module):
    """LVT classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are multiples of 32.
    """

    classifier_parts = ("cls_token", "norm", "head", "post_network", "aux_head")

    def __init__(
        self, *, num_classes: int = 1000, in_chans: int = 3, drop_path_rate: float = 0.0
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        last = DIMS[-1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, last))
        drops = iter(drop_rates(drop_path_rate, sum(DEPTHS)))
        before = (in_chans, *DIMS)
        self.backbone = nn.ModuleList(
            nn.Sequential(
                PatchEmbed(before[stage], dim, 3 if stage else 7, 2 if stage else 4),
                nn.Sequential(*(Block(stage, next(drops)) for _ in range(DEPTHS[stage]))),
            )
            for stage, dim in enumerate(DIMS)
        )
        self.norm = nn.LayerNorm(last)
        self.head = nn.Linear(last, num_classes)
        self.post_network = nn.ModuleList(
            ClassBlock(last, HEADS[-1], MLP_RATIOS[-1]) for _ in range(POST_DEPTH)
        )
        self.aux_head = nn.Linear(last, num_classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.apply(initialize_linear)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        maps: list[Tensor] = []
        for stage in self.backbone:
            x = stage(x).permute(0, 3, 1, 2)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        tokens = from_map(self.feature_maps(x)[-1])
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], 1)
        for block in self.post_network:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        best = self.aux_head(tokens[:, 1:]).amax(1)
        logits: Tensor = self.head(tokens[:, 0]) + AUXILIARY * best
        return logits


def lvt(num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0) -> LVT:
    """LVT: 5.5 M parameters, 74.8 % top-1 on ImageNet."""
    return LVT(num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)

"""MPViT, CVPR 2022 (arXiv 2112.11010).

"MPViT: Multi-Path Vision Transformer for Dense Prediction", Lee et al. Each stage embeds its map by
one to three depthwise separable convolutions in a row (patches of 3, 5 and 7 pixels, §3.2), attends
to each of them with CoaT's factorised attention, and joins these paths with a convolutional one
(§3.3). Tiny: Table 1 of the paper.

Parameter names are those of the official checkpoints (github.com/youngwanLEE/MPViT), where the
blocks of a path hold its convolutions for positions, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..layers import (
    DropPath,
    FeedForward,
    check_classes,
    drop_rates,
    from_map,
    initialize_linear,
    to_map,
)

__all__ = ["MPViT", "MPViTConfig", "mpvit_tiny"]

EPS = 1e-6
HEADS = 8
WINDOWS = ((3, 2), (5, 3), (7, 3))
"""Kernels of the convolutional relative positions, and how many heads have each."""


@dataclass(frozen=True)
class MPViTConfig:
    """One variant; each tuple has one value per stage.

    Attributes:
        dims: channels.
        paths: of attention.
        depths: blocks of each path.
        mlp_ratio: width of the feed-forward over the channels.
    """

    dims: tuple[int, ...] = (64, 96, 176, 216)
    paths: tuple[int, ...] = (2, 3, 3, 3)
    depths: tuple[int, ...] = (1, 2, 4, 1)
    mlp_ratio: int = 2


class ConvNorm(nn.Module):
    """Convolution, batch norm and, if asked for, hard swish."""

    def __init__(
        self, dim_in: int, dim_out: int, kernel: int = 1, stride: int = 1, *, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(dim_out)
        self.act_layer = nn.Hardswish() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act_layer(self.bn(self.conv(x)))
        return y


class SeparableConv(nn.Module):
    """Depthwise 3x3 and pointwise convolution, batch norm, hard swish."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, stride, 1, groups=dim, bias=False)
        self.pwconv = nn.Conv2d(dim, dim, 1, bias=False)
        self.bn = nn.BatchNorm2d(dim)
        self.act = nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.pwconv(self.dwconv(x))))
        return y


class PatchEmbed(nn.Module):
    """`SeparableConv` under the official name."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.patch_conv = SeparableConv(dim, stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.patch_conv(x)
        return y


class PatchEmbeds(nn.Module):
    """Maps of a row of embeddings, the first of which has the stride: (B, dim, H, W) -> maps."""

    def __init__(self, dim: int, paths: int, stride: int) -> None:
        super().__init__()
        self.patch_embeds = nn.ModuleList(
            PatchEmbed(dim, 1 if index else stride) for index in range(paths)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for embed in self.patch_embeds:
            x = embed(x)
            maps.append(x)
        return maps


class Position(nn.Module):
    """A depthwise convolution added to the map of tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        grid = to_map(x, size)
        return from_map(self.proj(grid) + grid)


class RelativePosition(nn.Module):
    """Values convolved depthwise, larger windows for later heads: (B, dim, H, W) -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.widths = [heads * dim // HEADS for _, heads in WINDOWS]
        self.conv_list = nn.ModuleList(
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
            for width, (kernel, _) in zip(self.widths, WINDOWS, strict=True)
        )

    def forward(self, values: Tensor) -> Tensor:
        parts = torch.split(values, self.widths, 1)
        return torch.cat([conv(part) for conv, part in zip(self.conv_list, parts, strict=True)], 1)


class FactorisedAttention(nn.Module):
    """q · (softmax(k)ᵀ v) and q times the relative positions: tokens (B, N, dim) -> the same."""

    def __init__(self, dim: int, positions: RelativePosition) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.crpe = positions

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).split(dim, 2)
        heads = (batch, tokens, HEADS, dim // HEADS)
        queries, keys, values = (part.reshape(heads).transpose(1, 2) for part in (q, k, v))
        mixed = queries @ (keys.softmax(2).transpose(-2, -1) @ values)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, dim) * (dim // HEADS) ** -0.5
        y: Tensor = self.proj(mixed + q * from_map(self.crpe(to_map(v, size))))
        return y


class Block(nn.Module):
    """Position, attention and feed-forward; positions are those of the path."""

    def __init__(
        self,
        dim: int,
        mlp_ratio: int,
        drop_path: float,
        position: Position,
        relative: RelativePosition,
    ) -> None:
        super().__init__()
        self.cpe = position
        self.crpe = relative
        self.factoratt_crpe = FactorisedAttention(dim, relative)
        self.mlp = FeedForward(dim, dim * mlp_ratio)
        self.drop_path = DropPath(drop_path)
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = self.cpe(x, size)
        x = x + self.drop_path(self.factoratt_crpe(self.norm1(x), size))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class Path(nn.Module):
    """The blocks of one path: (B, dim, H, W) -> the same."""

    def __init__(self, dim: int, mlp_ratio: int, drops: list[float]) -> None:
        super().__init__()
        self.cpe = Position(dim)
        self.crpe = RelativePosition(dim)
        self.MHCA_layers = nn.ModuleList(
            Block(dim, mlp_ratio, drop, self.cpe, self.crpe) for drop in drops
        )

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2], x.shape[3])
        tokens = from_map(x)
        for block in self.MHCA_layers:
            tokens = block(tokens, size)
        return to_map(tokens, size)


class LocalPath(nn.Module):
    """Pointwise, depthwise and pointwise convolution with a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, dim)
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        self.act = nn.Hardswish()
        self.conv2 = ConvNorm(dim, dim, act=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.conv2(self.act(self.norm(self.dwconv(self.conv1(x)))))
        return y


class Stage(nn.Module):
    """The paths of one stage, joined: one map per path -> (B, dim_out, H, W)."""

    def __init__(
        self, dim: int, dim_out: int, paths: int, mlp_ratio: int, drops: list[float]
    ) -> None:
        super().__init__()
        self.mhca_blks = nn.ModuleList(Path(dim, mlp_ratio, drops) for _ in range(paths))
        self.InvRes = LocalPath(dim)
        self.aggregate = ConvNorm(dim * (paths + 1), dim_out)

    def forward(self, maps: list[Tensor]) -> Tensor:
        attended = [path(x) for path, x in zip(self.mhca_blks, maps, strict=True)]
        y: Tensor = self.aggregate(torch.cat([self.InvRes(maps[0]), *attended], 1))
        return y


class Classifier(nn.Module):
    """The linear layer under its official name."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.cls = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.cls(x)
        return logits


class MPViT(nn.Module):
    """MPViT classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    classifier_parts = ("cls_head",)

    def __init__(
        self,
        config: MPViTConfig,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        dims = config.dims
        half = dims[0] // 2
        self.stem = nn.Sequential(ConvNorm(in_chans, half, 3, 2), ConvNorm(half, dims[0], 3, 2))
        self.patch_embed_stages = nn.ModuleList(
            PatchEmbeds(dim, paths, 2 if index else 1)
            for index, (dim, paths) in enumerate(zip(dims, config.paths, strict=True))
        )
        rates = iter(drop_rates(drop_path_rate, sum(config.depths)))
        self.mhca_stages = nn.ModuleList(
            Stage(dim, dim_out, paths, config.mlp_ratio, [next(rates) for _ in range(depth)])
            for dim, dim_out, paths, depth in zip(
                dims, (*dims[1:], dims[-1]), config.paths, config.depths, strict=True
            )
        )
        self.cls_head = Classifier(dims[-1], num_classes)
        self.apply(initialize_linear)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        x = self.stem(x)
        maps: list[Tensor] = []
        for embed, stage in zip(self.patch_embed_stages, self.mhca_stages, strict=True):
            x = stage(embed(x))
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.cls_head(self.feature_maps(x)[-1].mean((2, 3)))
        return logits


def mpvit_tiny(num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0) -> MPViT:
    """MPViT-T: 5.8 M parameters, 78.2 % top-1 on ImageNet."""
    return MPViT(
        MPViTConfig(), num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )

"""SeaFormer: squeeze-enhanced axial transformer, ICLR 2023 (arXiv 2301.13156).

"SeaFormer++: Squeeze-enhanced Axial Transformer for Mobile Visual Recognition", Wan et al.,
describes the same network (§3.1, §3.2); what its §3.2.1 adds is in `models.seaformerpp`. A stem
and five stages of MobileNetV2 blocks; in the last two stages (three in Large), squeeze-enhanced
axial (SEA) layers follow the convolutions. A classifier pools the last feature map; segmentation is
in `seaformer.segmenter`. Variants: Table 1; key widths, feed-forward ratios and the widths of the
fusion blocks as in the official configurations.

Parameter names are those of the official checkpoints (github.com/fudan-zvg/SeaFormer).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import DropPath, attend, check_classes, drop_rates
from .variants import BASE, LARGE, SMALL, TINY, Block, SeaFormerConfig

__all__ = [
    "MakeAttention",
    "SeaAttention",
    "SeaFormer",
    "SeaFormerBackbone",
    "seaformer_base",
    "seaformer_large",
    "seaformer_small",
    "seaformer_tiny",
]

POSITIONS = 16
"""Length of the learnt position embeddings, which are interpolated to the feature map's (§3.2.2)"""

MakeAttention = Callable[[int, int, int], nn.Module]
"""Of channels, channels of a key and number of heads: attention (B, C, H, W) -> (B, C, H, W)."""

VALUE_RATIO = 2
"""Channels of a head's values over its keys' (§3.2.4)"""


class ConvNorm(nn.Sequential):
    """Convolution without bias, "same" padding of odd kernels, and batch norm."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        gain: float = 1.0,
    ) -> None:
        conv = nn.Conv2d(dim_in, dim_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        norm = nn.BatchNorm2d(dim_out)
        nn.init.constant_(norm.weight, gain)
        super().__init__(OrderedDict(c=conv, bn=norm))


class MobileBlock(nn.Module):
    """MobileNetV2 block: (B, dim_in, H, W) -> (B, channels, ⌈H/stride⌉, ⌈W/stride⌉)."""

    def __init__(self, dim_in: int, block: Block) -> None:
        super().__init__()
        middle = dim_in * block.expansion
        self.residual = block.stride == 1 and dim_in == block.channels
        layers: list[nn.Module] = []
        if block.expansion != 1:
            layers += [ConvNorm(dim_in, middle), nn.ReLU()]
        depthwise = ConvNorm(middle, middle, block.kernel, stride=block.stride, groups=middle)
        self.conv = nn.Sequential(*layers, depthwise, nn.ReLU(), ConvNorm(middle, block.channels))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileStage(nn.Module):
    """MobileNetV2 blocks in a row, after the stem's convolution of stride 2 if there is one."""

    def __init__(self, dim_in: int, blocks: tuple[Block, ...], *, in_chans: int | None) -> None:
        super().__init__()
        self.stem_block: nn.Module | None = None
        if in_chans is not None:
            self.stem_block = nn.Sequential(ConvNorm(in_chans, dim_in, 3, stride=2), nn.ReLU())
        for index, block in enumerate(blocks):
            setattr(self, f"layer{index + 1}", MobileBlock(dim_in, block))
            dim_in = block.channels
        self.depth = len(blocks)

    def forward(self, x: Tensor) -> Tensor:
        if self.stem_block is not None:
            x = self.stem_block(x)
        for index in range(self.depth):
            x = getattr(self, f"layer{index + 1}")(x)
        return x


class AxialPosition(nn.Module):
    """Adds a learnt embedding, linearly interpolated to the axis: (B, C, N) -> (B, C, N)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, channels, POSITIONS))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        embedding: Tensor = self.pos_embed
        if length != POSITIONS:
            embedding = F.interpolate(embedding, size=length, mode="linear", align_corners=False)
        return x + embedding


class SeaAttention(nn.Module):
    """Squeeze-enhanced axial attention (§3.2): (B, dim, H, W) -> (B, dim, H, W).

    Queries, keys and values are squeezed to one token per row, and to one per column; rows attend
    to rows and columns to columns (Equation 6), and the two are broadcast back onto the values.
    What leaves is a gate: it multiplies the local details that a depthwise convolution finds in
    the unsqueezed queries, keys and values.
    """

    def __init__(self, dim: int, key_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        keys = key_dim * heads
        values = VALUE_RATIO * keys
        self.to_q = ConvNorm(dim, keys)
        self.to_k = ConvNorm(dim, keys)
        self.to_v = ConvNorm(dim, values)
        self.proj = nn.Sequential(nn.ReLU6(), ConvNorm(values, dim, gain=0.0))
        self.proj_encode_row = nn.Sequential(nn.ReLU6(), ConvNorm(values, values, gain=0.0))
        self.pos_emb_rowq = AxialPosition(keys)
        self.pos_emb_rowk = AxialPosition(keys)
        self.proj_encode_column = nn.Sequential(nn.ReLU6(), ConvNorm(values, values, gain=0.0))
        self.pos_emb_columnq = AxialPosition(keys)
        self.pos_emb_columnk = AxialPosition(keys)
        total = 2 * keys + values
        self.dwconv = ConvNorm(total, total, 3, groups=total)
        self.pwconv = ConvNorm(total, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        details: Tensor = self.pwconv(F.relu6(self.dwconv(torch.cat([q, k, v], 1))))
        gate: Tensor = F.hardsigmoid(self.proj(v + self.axial(x, q, k, v)))
        return gate * details

    def axial(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention among rows plus attention among columns, on all pixels: shape of ``v``."""
        rows = self.attend_rows(q.mean(-1), k.mean(-1), v.mean(-1))
        columns = self.attend_columns(q.mean(-2), k.mean(-2), v.mean(-2))
        return rows + columns

    def attend_rows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One token per row: (B, C, H) each -> (B, C of v, H, 1)."""
        mixed = attend(self.pos_emb_rowq(q), self.pos_emb_rowk(k), v, self.heads)
        encoded: Tensor = self.proj_encode_row(mixed.unsqueeze(-1))
        return encoded

    def attend_columns(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One token per column: (B, C, W) each -> (B, C of v, 1, W)."""
        mixed = attend(self.pos_emb_columnq(q), self.pos_emb_columnk(k), v, self.heads)
        encoded: Tensor = self.proj_encode_column(mixed.unsqueeze(-2))
        return encoded


class FeedForward(nn.Module):
    """1x1, depthwise 3x3, ReLU6, 1x1: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        self.fc1 = ConvNorm(dim, middle)
        self.dwconv = nn.Conv2d(middle, middle, 3, padding=1, groups=middle)
        self.fc2 = ConvNorm(middle, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.relu6(self.dwconv(self.fc1(x))))
        return y


class SeaLayer(nn.Module):
    """SEA attention and feed-forward, each with a residual (Figure 3)."""

    def __init__(self, attention: nn.Module, dim: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.attn = attention
        self.drop_path = DropPath(drop_path)
        self.mlp = FeedForward(dim, dim * mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(x))
        y: Tensor = x + self.drop_path(self.mlp(x))
        return y


class SeaStage(nn.Module):
    """SEA layers in a row."""

    def __init__(self, layers: list[SeaLayer]) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.transformer_blocks:
            x = layer(x)
        return x


class SeaFormerBackbone(nn.Module):
    """Stem and context branch: images (B, in_chans, H, W) -> feature maps of strides 8 to 64."""

    def __init__(
        self,
        config: SeaFormerConfig,
        *,
        in_chans: int,
        drop_path_rate: float,
        attention: MakeAttention,
    ) -> None:
        super().__init__()
        self.config = config
        dim = config.stem_dim
        for index, blocks in enumerate(config.stages):
            stage = MobileStage(dim, blocks, in_chans=in_chans if index == 0 else None)
            setattr(self, f"smb{index + 1}", stage)
            dim = blocks[-1].channels
        for index, depth in enumerate(config.depths):
            dim = config.attending_dims[index]
            layers = [
                SeaLayer(
                    attention(dim, config.key_dims[index], config.heads),
                    dim,
                    config.mlp_ratios[index],
                    drop,
                )
                for drop in drop_rates(drop_path_rate, depth)
            ]
            setattr(self, f"trans{index + 1}", SeaStage(layers))

    def stage_outputs(self, x: Tensor) -> list[Tensor]:
        """Feature maps of strides 4, 8, 16, 32 and 64, with attention where there is any."""
        before = len(self.config.stages) - len(self.config.depths)
        outputs: list[Tensor] = []
        for index in range(len(self.config.stages)):
            x = getattr(self, f"smb{index + 1}")(x)
            if index >= before:
                x = getattr(self, f"trans{index - before + 1}")(x)
            outputs.append(x)
        return outputs

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The stride-8 feature map, then the output of every attending stage."""
        outputs = self.stage_outputs(x)
        return [outputs[1], *outputs[-len(self.config.depths) :]]


class SeaFormer(SeaFormerBackbone):
    """SeaFormer classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    Any H and W from 1 up work; the feature maps are H/2 … H/64, rounded up.
    """

    classifier_parts = ("linear",)

    def __init__(
        self,
        config: SeaFormerConfig,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        attention: MakeAttention = SeaAttention,
    ) -> None:
        check_classes(num_classes)
        super().__init__(
            config, in_chans=in_chans, drop_path_rate=drop_path_rate, attention=attention
        )
        self.num_classes = num_classes
        self.linear = nn.Linear(config.dims[-1], num_classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 64 that a head of `models.heads` stands on."""
        return self.stage_outputs(x)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.forward_features(x)[-1].mean((2, 3)))
        return logits


def seaformer_tiny(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> SeaFormer:
    """SeaFormer-Tiny: 1.8 M parameters, 67.9 % top-1 (Tables 1 and 14)."""
    return SeaFormer(
        TINY, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def seaformer_small(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> SeaFormer:
    """SeaFormer-Small: 4.1 M parameters, 73.3 % top-1 (Tables 1 and 14)."""
    return SeaFormer(
        SMALL, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def seaformer_base(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> SeaFormer:
    """SeaFormer-Base: 8.7 M parameters, 76.0 % top-1 (Tables 1 and 14)."""
    return SeaFormer(
        BASE, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def seaformer_large(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> SeaFormer:
    """SeaFormer-Large: 14.0 M parameters, 79.9 % top-1 (Tables 1 and 14)."""
    return SeaFormer(
        LARGE, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )

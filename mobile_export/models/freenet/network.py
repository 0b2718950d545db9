"""FreeNet: classifiers of sparse convolutions and pooled shifts (AAAI 2025).

"Liberating Depth-Wise Separable Operations for Building Faster Mobile Vision Architectures", Yu et
al. Four stages of blocks x + ShiftFFN(norm(S2-Mixer(x))), with one residual per block. The variants
are in Table 1. No code is released and the appendix with the details is not public, so some are
deduced:

From the tables:

- S2-Mixer's two sparse-wise convolutions are dense, read and write two disjoint eighths of the
  channels, and have 9 + 25 weights per pair of channels: (9 + 25)·(c/8)² multiply-accumulates per
  pixel give all seven rows of Table 2. So the kernels are 3x3 and 5x5, spread by the dilation of 2
  over 5x5 and 9x9 pixels; the text names the templates 5x5 and 7x7.
- No normalisation inside S2-Mixer and ShiftFFN, and no sparse or depthwise step in the latter: 6c²
  per pixel, one addition per pixel and channel of the pooling, and 8c²/r once give all seven rows.
- The ShiftNeck narrows 2c channels by r = 8 in between (the row of 2048 x 8 x 8).
- Stem of two 3x3 convolutions of stride 2 (3 → c/2 → c), one 3x3 convolution of stride 2 before
  each later stage, no wide layer before the classifier: parameters of Table 1, FLOPs of Table 3.

Chosen by us, as neither text nor tables tell:

- the order of the eighths (the first is 3x3's, the second 5x5's, the rest passes);
- batch norm after each convolution of stem and downsampling and between the two mixers;
- GELU after the concatenation in ShiftFFN: anywhere earlier, the concatenation would be linear in
  what it concatenates, and the second projection could absorb it;
- ShiftNeck: mean, 1x1, GELU, 1x1, no gate, since what leaves is a shift;
- GELU after each convolution of the stem, none after downsampling.

There are no official weights, so parameter names are our own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import DropPath, check_classes, drop_rates

__all__ = [
    "FreeNet",
    "FreeNetConfig",
    "S2Mixer",
    "ShiftFFN",
    "freenet_s1",
    "freenet_s2",
    "freenet_s3",
    "freenet_s4",
]

SHARE = 8
"""Each sparse-wise convolution works on 1/8 of the channels (r = 1/8)"""

DILATION = 2
NECK_REDUCTION = 8


@dataclass(frozen=True)
class FreeNetConfig:
    """One variant of Table 1; each tuple has one value per stage.

    Attributes:
        dims: channels.
        depths: number of blocks.
        ratios: channels of ShiftFFN's first projection over its input.
    """

    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    ratios: tuple[int, int, int, int] = (2, 2, 2, 2)


class S2Mixer(nn.Module):
    """Sparse sampling mixer: 3x3 and 5x5 dilated convolutions on an eighth of the channels each.

    The other channels pass unchanged. (B, dim, H, W) -> (B, dim, H, W)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % SHARE:
            raise ValueError(f"{dim} channels do not divide by {SHARE}")
        part = dim // SHARE
        self.parts = [part, part, dim - 2 * part]
        self.conv1 = nn.Conv2d(part, part, 3, padding=DILATION, dilation=DILATION, bias=False)
        self.conv2 = nn.Conv2d(part, part, 5, padding=2 * DILATION, dilation=DILATION, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        first, second, rest = torch.split(x, self.parts, 1)
        return torch.cat([self.conv1(first), self.conv2(second), rest], 1)


class ShiftFFN(nn.Module):
    """Channel mixer c → nc → 2nc → c: (B, dim, H, W) -> (B, dim, H, W).

    The second half of the 2nc channels are the first half's, shifted by a bias per channel that
    the ShiftNeck computes from their means.
    """

    def __init__(self, dim: int, ratio: int = 2) -> None:
        super().__init__()
        middle = dim * ratio
        self.project_in = nn.Conv2d(dim, middle, 1)
        self.neck_reduce = nn.Conv2d(middle, middle // NECK_REDUCTION, 1)
        self.neck_expand = nn.Conv2d(middle // NECK_REDUCTION, middle, 1)
        self.project_out = nn.Conv2d(2 * middle, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project_in(x)
        pooled = y.mean((2, 3), keepdim=True)
        shift = self.neck_expand(F.gelu(self.neck_reduce(pooled)))
        output: Tensor = self.project_out(F.gelu(torch.cat([y, y + shift], 1)))
        return output


class FreeNetBlock(nn.Module):
    """x + ShiftFFN(norm(S2-Mixer(x))): (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, ratio: int, drop_path: float) -> None:
        super().__init__()
        self.token_mixer = S2Mixer(dim)
        self.norm = nn.BatchNorm2d(dim)
        self.channel_mixer = ShiftFFN(dim, ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.drop_path(self.channel_mixer(self.norm(self.token_mixer(x))))
        return y


def _halve(dim_in: int, dim_out: int) -> list[nn.Module]:
    """3x3 convolution of stride 2 and batch norm."""
    conv = nn.Conv2d(dim_in, dim_out, 3, stride=2, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(dim_out)]


class FreeNet(nn.Module):
    """FreeNet classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    Any H and W from 1 up work; the feature maps are H/4 … H/32, rounded up.
    """

    classifier_parts = ("head",)

    def __init__(
        self,
        config: FreeNetConfig,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        self.config = config
        self.num_classes = num_classes
        dim = config.dims[0]
        self.stem = nn.Sequential(
            *_halve(in_chans, dim // 2), nn.GELU(), *_halve(dim // 2, dim), nn.GELU()
        )
        drops = iter(drop_rates(drop_path_rate, sum(config.depths)))
        stages: list[nn.Module] = []
        for stage, depth in enumerate(config.depths):
            down = _halve(dim, config.dims[stage]) if stage else []
            dim = config.dims[stage]
            blocks = [FreeNetBlock(dim, config.ratios[stage], next(drops)) for _ in range(depth)]
            stages.append(nn.Sequential(*down, *blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The outputs of the four stages."""
        x = self.stem(x)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, dims[-1], ⌈H/32⌉, ⌈W/32⌉)."""
        y: Tensor = self.stages(self.stem(x))
        return y

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.forward_features(x).mean((2, 3)))
        return logits


def freenet_s1(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> FreeNet:
    """FreeNet-S1: 2.4 M parameters (Table 1), 71.9 % top-1 (Table 3)."""
    config = FreeNetConfig(dims=(32, 64, 144, 256), depths=(1, 2, 4, 2))
    return FreeNet(
        config, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def freenet_s2(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> FreeNet:
    """FreeNet-S2: 6.8 M parameters (Table 1), 78.8 % top-1 (Table 3)."""
    config = FreeNetConfig(dims=(48, 96, 224, 384), depths=(1, 2, 8, 2))
    return FreeNet(
        config, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def freenet_s3(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> FreeNet:
    """FreeNet-S3: 9.6 M parameters (Table 1), 79.4 % top-1 (Table 3)."""
    config = FreeNetConfig(dims=(48, 96, 224, 384), depths=(2, 3, 12, 3))
    return FreeNet(
        config, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def freenet_s4(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> FreeNet:
    """FreeNet-S4: 15.3 M parameters (Table 1), 81.0 % top-1 (Table 3)."""
    config = FreeNetConfig(dims=(64, 128, 272, 512), depths=(2, 3, 12, 3))
    return FreeNet(
        config, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )

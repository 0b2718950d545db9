"""RecNeXt: MetaNeXt blocks with recursive convolutions (arXiv 2412.19628).

"RecConv: Efficient Recursive Convolutions for Multi-Frequency Representations", Zhao et al.
Three series share stem, MLPs and classifier and differ in the token mixer:

- M (`recnext_m0` … `m5`): RecConv (§3.2), a pyramid of 5x5 depthwise convolutions;
- A (`recnext_a0` … `a5`): the coarse level of the pyramid is linear attention;
- L (`recnext_t`, `_s`, `_b`): a reparameterizable depthwise convolution, then the mixer of the A
  series on a quarter of the channels, from stride 8 on.

Every classifier has two heads, of which the mean is taken: one learnt from the labels, one from a
teacher. Variants and parameter names are those of the official code and checkpoints
(github.com/suous/RecNeXt: model/recnext.py, model/recattn.py, lsnet/model/recattn.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from ..layers import DropPath, check_classes, drop_rates
from .mixers import (
    ConvNorm,
    LinearAttention,
    PartialMixer,
    RecAttention,
    RecConv,
    RepDepthwise,
)

__all__ = [
    "RecNeXt",
    "RecNeXtConfig",
    "recnext_a0",
    "recnext_a1",
    "recnext_a2",
    "recnext_a3",
    "recnext_a4",
    "recnext_a5",
    "recnext_b",
    "recnext_m0",
    "recnext_m1",
    "recnext_m2",
    "recnext_m3",
    "recnext_m4",
    "recnext_m5",
    "recnext_s",
    "recnext_t",
]

PART = 4
"""In the L series one channel in so many is mixed by attention."""


@dataclass(frozen=True)
class RecNeXtConfig:
    """One variant; each tuple has one value per stage 1 to 4.

    Attributes:
        series: "m", "a" or "l".
        dims: channels of the stage.
        depths: number of blocks.
        ratios: width of the MLPs over the channels.
    """

    series: str
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    ratios: tuple[float, ...] = (2, 2, 2, 2)


def _token_mixer(series: str, dim: int, stage: int) -> nn.Module:
    """The mixer of a series at stage 0 to 3."""
    if series == "m":
        return RecConv(dim, levels=4 - stage)
    if series == "a":
        return RecAttention(dim, heads=2 ** (stage + 1))
    part = dim // PART
    attention: nn.Module = RecAttention(part, heads=1, bias=True)
    if stage == 3:
        attention = LinearAttention(part, heads=1, key_dim=part // 2, groups=1, bias=True)
    return PartialMixer(part, attention)


def _mlp(dim: int, ratio: float, *, bias: bool) -> nn.Sequential:
    """Two 1x1 convolutions with GELU between: (B, C, H, W) -> (B, C, H, W)."""
    hidden = int(dim * ratio)
    return nn.Sequential(
        ConvNorm(dim, hidden, bias=bias), nn.GELU(), ConvNorm(hidden, dim, bias=bias)
    )


class MetaNeXtBlock(nn.Module):
    """x + MLP(norm(mixer(x))), in the L series after `RepDepthwise`: (B, C, H, W) -> the same."""

    def __init__(self, series: str, dim: int, ratio: float, stage: int, drop_path: float) -> None:
        super().__init__()
        self.rep_mixer = RepDepthwise(dim) if series == "l" else nn.Identity()
        self.token_mixer = _token_mixer(series, dim, stage)
        self.norm = nn.BatchNorm2d(dim) if series == "m" else nn.Identity()
        self.channel_mixer = _mlp(dim, ratio, bias=series == "l")
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rep_mixer(x)
        y: Tensor = x + self.drop_path(self.channel_mixer(self.norm(self.token_mixer(x))))
        return y


class Downsample(nn.Module):
    """Depthwise convolution of stride 2, then an MLP: (B, C, H, W) -> (B, D, ⌈H/2⌉, ⌈W/2⌉)."""

    def __init__(self, dim_in: int, dim_out: int, ratio: float, *, light: bool) -> None:
        super().__init__()
        groups = math.gcd(dim_in, dim_out)
        if light:
            self.token_mixer: nn.Module = ConvNorm(
                dim_in, dim_out, 5, stride=2, groups=groups, bias=True
            )
            self.norm: nn.Module = nn.Identity()
        else:
            self.token_mixer = nn.Conv2d(dim_in, dim_out, 7, stride=2, padding=3, groups=groups)
            self.norm = nn.BatchNorm2d(dim_out)
        self.channel_mixer = _mlp(dim_out, ratio, bias=light)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.token_mixer(x))
        return cast(Tensor, x + self.channel_mixer(x))


class Stem(nn.Module):
    """Two 3x3 convolutions of stride 2, in the L series three: images -> stride 4 or 8."""

    def __init__(self, dim_in: int, dim_out: int, *, light: bool, last_activation: bool) -> None:
        super().__init__()
        dims = (dim_out // 4, dim_out // 2, dim_out) if light else (dim_out // 2, dim_out)
        layers: list[nn.Module] = []
        for dim in dims:
            layers += [ConvNorm(dim_in, dim, 3, stride=2, bias=light), nn.GELU()]
            dim_in = dim
        self.stem = nn.Sequential(*(layers if last_activation else layers[:-1]))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.stem(x))


class Stage(nn.Module):
    """Downsampling, but in the first stage, and blocks."""

    def __init__(self, config: RecNeXtConfig, stage: int, dim_in: int, drops: list[float]) -> None:
        super().__init__()
        dim, ratio = config.dims[stage], config.ratios[stage]
        self.downsample: nn.Module = nn.Identity()
        if stage:
            self.downsample = Downsample(dim_in, dim, ratio, light=config.series == "l")
        self.blocks = nn.Sequential(
            *(MetaNeXtBlock(config.series, dim, ratio, stage, drop) for drop in drops)
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.blocks(self.downsample(x)))


class NormLinear(nn.Sequential):
    """Batch norm of pooled features, then a linear layer: (B, C) -> (B, num_classes)."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.linear = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)


class Classifier(nn.Module):
    """Mean of the logits of two heads: (B, C) -> (B, num_classes)."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.head = NormLinear(dim, num_classes)
        self.head_dist = NormLinear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, (self.head(x) + self.head_dist(x)) / 2)


class RecNeXt(nn.Module):
    """RecNeXt classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    Any H and W from 1 up work; the feature maps are H/4 … H/32 (L series: H/8 … H/64), rounded up.
    """

    classifier_parts = ("head",)

    def __init__(
        self,
        config: RecNeXtConfig,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        self.config = config
        self.num_classes = num_classes
        light = config.series == "l"
        dim = config.dims[0]
        self.stem = Stem(
            in_chans, dim, light=light, last_activation=light and config.depths[0] == 0
        )
        total = sum(config.depths)
        rates = drop_rates(drop_path_rate, total) if light else [drop_path_rate] * total
        stages: list[nn.Module] = []
        for stage, depth in enumerate(config.depths):
            stages.append(Stage(config, stage, dim, rates[:depth]))
            dim, rates = config.dims[stage], rates[depth:]
        self.stages = nn.Sequential(*stages)
        self.head = Classifier(dim, num_classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The outputs of the four stages."""
        x = self.stem(x)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, dims[-1], ⌈H/32⌉, ⌈W/32⌉); L series: ⌈H/64⌉, ⌈W/64⌉."""
        return cast(Tensor, self.stages(self.stem(x)))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.forward_features(x).mean((2, 3))))


_M = (
    ((40, 80, 160, 320), (2, 2, 9, 1)),
    ((48, 96, 192, 384), (3, 3, 15, 2)),
    ((56, 112, 224, 448), (3, 3, 15, 2)),
    ((64, 128, 256, 512), (3, 3, 13, 2)),
    ((64, 128, 256, 512), (5, 5, 25, 4)),
    ((80, 160, 320, 640), (7, 7, 35, 2)),
)
"""Channels and depths of M0 to M5, which are those of A0 to A5 as well."""


def _build(series: str, size: int, **kwargs: Any) -> RecNeXt:
    dims, depths = _M[size]
    ratio = 1.875 if series == "a" and size >= 3 else 2
    return RecNeXt(RecNeXtConfig(series, dims, depths, (ratio,) * 4), **kwargs)


def recnext_m0(**kwargs: Any) -> RecNeXt:
    """RecNeXt-M0: 2.5 M parameters, 73.2 % top-1. Keywords: those of `RecNeXt`."""
    return _build("m", 0, **kwargs)


def recnext_m1(**kwargs: Any) -> RecNeXt:
    """RecNeXt-M1: 5.2 M parameters, 78.0 % top-1. Keywords: those of `RecNeXt`."""
    return _build("m", 1, **kwargs)


def recnext_m2(**kwargs: Any) -> RecNeXt:
    """RecNeXt-M2: 6.8 M parameters, 79.2 % top-1. Keywords: those of `RecNeXt`."""
    return _build("m", 2, **kwargs)


def recnext_m3(**kwargs: Any) -> RecNeXt:
    """RecNeXt-M3: 8.2 M parameters, 79.6 % top-1. Keywords: those of `RecNeXt`."""
    return _build("m", 3, **kwargs)


def recnext_m4(**kwargs: Any) -> RecNeXt:
    """RecNeXt-M4: 14.1 M parameters, 81.4 % top-1. Keywords: those of `RecNeXt`."""
    return _build("m", 4, **kwargs)


def recnext_m5(**kwargs: Any) -> RecNeXt:
    """RecNeXt-M5: 22.9 M parameters, 82.9 % top-1. Keywords: those of `RecNeXt`."""
    return _build("m", 5, **kwargs)


def recnext_a0(**kwargs: Any) -> RecNeXt:
    """RecNeXt-A0: 2.8 M parameters, 73.6 % top-1. Keywords: those of `RecNeXt`."""
    return _build("a", 0, **kwargs)


def recnext_a1(**kwargs: Any) -> RecNeXt:
    """RecNeXt-A1: 5.9 M parameters, 78.3 % top-1. Keywords: those of `RecNeXt`."""
    return _build("a", 1, **kwargs)


def recnext_a2(**kwargs: Any) -> RecNeXt:
    """RecNeXt-A2: 7.9 M parameters, 79.6 % top-1. Keywords: those of `RecNeXt`."""
    return _build("a", 2, **kwargs)


def recnext_a3(**kwargs: Any) -> RecNeXt:
    """RecNeXt-A3: 9.0 M parameters, 80.1 % top-1. Keywords: those of `RecNeXt`."""
    return _build("a", 3, **kwargs)


def recnext_a4(**kwargs: Any) -> RecNeXt:
    """RecNeXt-A4: 15.8 M parameters, 81.6 % top-1. Keywords: those of `RecNeXt`."""
    return _build("a", 4, **kwargs)


def recnext_a5(**kwargs: Any) -> RecNeXt:
    """RecNeXt-A5: 25.7 M parameters, 83.1 % top-1. Keywords: those of `RecNeXt`."""
    return _build("a", 5, **kwargs)


def recnext_t(**kwargs: Any) -> RecNeXt:
    """RecNeXt-T: 12.1 M parameters, 75.1 % top-1. Keywords: those of `RecNeXt`."""
    config = RecNeXtConfig("l", (64, 128, 256, 512), (0, 2, 8, 10), (2, 2, 2, 1.5))
    return RecNeXt(config, **kwargs)


def recnext_s(**kwargs: Any) -> RecNeXt:
    """RecNeXt-S: 15.8 M parameters, 78.3 % top-1. Keywords: those of `RecNeXt`."""
    config = RecNeXtConfig("l", (128, 256, 384, 512), (0, 2, 8, 10), (2, 2, 2, 1.5))
    return RecNeXt(config, **kwargs)


def recnext_b(**kwargs: Any) -> RecNeXt:
    """RecNeXt-B: 19.3 M parameters, 80.3 % top-1. Keywords: those of `RecNeXt`."""
    config = RecNeXtConfig("l", (128, 256, 384, 512), (2, 8, 8, 12), (2, 2, 2, 1.5))
    return RecNeXt(config, **kwargs)

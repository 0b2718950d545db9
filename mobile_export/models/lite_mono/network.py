"""Lite-Mono: depth from one image (CVPR 2023, arXiv 2211.13202).

"Lite-Mono: A Lightweight CNN and Transformer Architecture for Self-Supervised Monocular Depth
Estimation", Zhang et al. An encoder of three stages, each of consecutive dilated convolutions
(CDC, §3.1) and one local-global features interaction (LGFI, §3.1) with cross-covariance attention,
and a convolutional decoder. Every stage's input holds the image as well, pooled.

The official code (github.com/noahzn/Lite-Mono) saves two files, encoder.pth and depth.pth, into
one folder: give that folder with ``--weights FOLDER``. Parameter names are those of the files with
``encoder.`` and ``depth.`` in front. Some of their tensors are never used: the layer norms of the
CDC blocks and the decoder's outputs at lower resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import DropPath, drop_rates

__all__ = [
    "DEPTH_OUTPUTS",
    "TRAINED",
    "DepthOutput",
    "LiteMono",
    "LiteMonoConfig",
    "lite_mono",
    "lite_mono_8m",
    "lite_mono_small",
    "lite_mono_tiny",
]

DepthOutput = Literal["disparity", "depth", "logits"]
"""``disparity``: (B, 1, H, W) in (0, 1), as the official code returns. ``depth``: 1 / (1/100 +
(10 - 1/100) · disparity), between 0.1 and 100 in the unknown unit of self-supervised training.
``logits``: before the sigmoid."""

Trained = Literal["640x192", "1024x320"]
"""Width and height of the training images, in the official files' names; sets the dilations."""

DEPTH_OUTPUTS = get_args(DepthOutput)
TRAINED = get_args(Trained)

MIN_DEPTH = 0.1
MAX_DEPTH = 100.0
EXPANSION = 6
HEADS = 8
LAYER_SCALE = 1e-6
EPS = 1e-6
PIXEL_MEAN = 0.45
PIXEL_STD = 0.225


@dataclass(frozen=True)
class LiteMonoConfig:
    """One variant (Table 1): channels and number of blocks of each stage.

    ``wide`` dilations when trained on 1024x320: all but the 8M variant.
    """

    dims: tuple[int, int, int]
    depths: tuple[int, int, int]
    wide: bool = True

    def dilations(self, trained: Trained) -> tuple[tuple[int, ...], ...]:
        """Of the dilated convolutions of each stage."""
        wide = self.wide and trained == "1024x320"
        first = (1, 2, 5) if wide else (1, 2, 3)
        repeats = (self.depths[2] - 4) // 3
        return first, first, first * repeats + ((2, 4, 10) if wide else (2, 4, 6))


class Conv(nn.Module):
    """3x3 convolution without bias, optionally with batch norm and GELU."""

    def __init__(
        self, dim_in: int, dim_out: int, *, stride: int = 1, activate: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, 3, stride, padding=1, bias=False)
        self.bn_gelu: nn.Module = nn.Identity()
        if activate:
            self.bn_gelu = nn.Sequential()
            self.bn_gelu.add_module("bn", nn.BatchNorm2d(dim_out))
            self.bn_gelu.add_module("act", nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.bn_gelu(self.conv(x)))


class Dilated(nn.Module):
    """3x3 depthwise convolution without bias, under the name that the official code gives it."""

    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            dim, dim, 3, padding=dilation, dilation=dilation, groups=dim, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(x))


class DilatedBlock(nn.Module):
    """CDC (§3.1): x + gamma · MLP(norm(dilated(x))): (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, dilation: int, drop_path: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.ddwconv = Dilated(dim, dilation)
        self.bn1 = nn.BatchNorm2d(dim)
        self.norm = nn.LayerNorm(dim)  # in the official files, but never used
        self.pwconv1 = nn.Linear(dim, EXPANSION * dim)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(EXPANSION * dim, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.ddwconv(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return cast(Tensor, x + self.drop_path(y.permute(0, 3, 1, 2)))


class FourierPositions(nn.Module):
    """Sines and cosines of each pixel's row and column, projected: -> (1, dim, H, W)."""

    WAVES = 32
    TEMPERATURE = 10000.0

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token_projection = nn.Conv2d(2 * self.WAVES, dim, 1)

    def waves(self, length: int, device: torch.device) -> Tensor:
        """sin and cos of 2π(i + 1)/length at 16 frequencies in turn: (length, 32)."""
        steps = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        angles = steps / (length + EPS) * (2 * math.pi)
        index = torch.arange(self.WAVES // 2, dtype=torch.float32, device=device)
        angles = angles[:, None] / self.TEMPERATURE ** (2 * index / self.WAVES)
        return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)

    def forward(self, height: int, width: int) -> Tensor:
        device = self.token_projection.weight.device
        rows = self.waves(height, device)[:, None].expand(-1, width, -1)
        columns = self.waves(width, device)[None].expand(height, -1, -1)
        waves = torch.cat([rows, columns], 2).permute(2, 0, 1)[None]
        return cast(Tensor, self.token_projection(waves.to(self.token_projection.weight.dtype)))


class CrossCovarianceAttention(nn.Module):
    """XCA: channels attend to channels, by the cosine of their values: (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(HEADS, 1, 1))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(x).transpose(1, 2).reshape(batch, 3, HEADS, dim // HEADS, length)
        q, k, v = qkv.unbind(1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(-1)
        mixed = (attention @ v).reshape(batch, dim, length).transpose(1, 2)
        return cast(Tensor, self.proj(mixed))


class LocalGlobal(nn.Module):
    """LGFI (§3.1): x + gamma · MLP(norm(z)) with z = x + gamma_xca · XCA(norm(x)).

    With ``positions``, z begins with x + `FourierPositions`: (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, dim: int, drop_path: float, *, positions: bool) -> None:
        super().__init__()
        self.gamma_xca = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.gamma = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.pos_embd = FourierPositions(dim) if positions else None
        self.norm_xca = nn.LayerNorm(dim, eps=EPS)
        self.xca = CrossCovarianceAttention(dim)
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.pwconv1 = nn.Linear(dim, EXPANSION * dim)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(EXPANSION * dim, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        z = x if self.pos_embd is None else x + self.pos_embd(height, width)
        z = z.flatten(2).transpose(1, 2)
        z = z + self.gamma_xca * self.xca(self.norm_xca(z))
        z = self.gamma * self.pwconv2(self.act(self.pwconv1(self.norm(z))))
        return cast(Tensor, x + self.drop_path(z.transpose(1, 2).reshape(x.shape)))


class Encoder(nn.Module):
    """Images in [0, 1], (B, in_chans, H, W) -> feature maps of strides 4, 8 and 16."""

    def __init__(
        self, config: LiteMonoConfig, *, in_chans: int, drop_path_rate: float, trained: Trained
    ) -> None:
        super().__init__()
        dims = config.dims
        stem = nn.Sequential(
            Conv(in_chans, dims[0], stride=2, activate=True),
            Conv(dims[0], dims[0], activate=True),
            Conv(dims[0], dims[0], activate=True),
        )
        self.downsample_layers = nn.ModuleList([stem])
        self.stem2 = nn.Sequential(Conv(dims[0] + in_chans, dims[0], stride=2))
        for before, dim in pairwise(dims):
            layer = nn.Sequential(Conv(2 * before + in_chans, dim, stride=2))
            self.downsample_layers.append(layer)
        drops = iter(drop_rates(drop_path_rate, sum(config.depths)))
        self.stages = nn.ModuleList()
        for index, dilations in enumerate(config.dilations(trained)):
            dim = dims[index]
            blocks: list[nn.Module] = [DilatedBlock(dim, d, next(drops)) for d in dilations]
            blocks.append(LocalGlobal(dim, next(drops), positions=index == 0))
            self.stages.append(nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        image = (x - PIXEL_MEAN) / PIXEL_STD
        x = self.downsample_layers[0](image)
        image = F.avg_pool2d(image, 3, stride=2, padding=1)
        x = self.stem2(torch.cat([x, image], 1))
        features: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            y = stage(x)
            features.append(y)
            if index + 1 < len(self.stages):
                image = F.avg_pool2d(image, 3, stride=2, padding=1)
                x = self.downsample_layers[index + 1](torch.cat([x, y, image], 1))
        return features


class Conv3x3(nn.Module):
    """3x3 convolution of the image mirrored at its borders: (B, C, H, W) -> (B, D, H, W)."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(F.pad(x, (1, 1, 1, 1), mode="reflect")))


class ConvBlock(nn.Module):
    """`Conv3x3` and ELU: (B, C, H, W) -> (B, D, H, W)."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.conv = Conv3x3(dim_in, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.conv(x))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class Decoder(nn.Module):
    """Feature maps of strides 4, 8 and 16 -> logits of the disparity (B, 1, H, W)."""

    def __init__(self, dims: tuple[int, int, int]) -> None:
        super().__init__()
        halves = [dim // 2 for dim in dims]
        self.decoder = nn.ModuleList()
        before = dims[-1]
        for index in (2, 1, 0):
            skipped = dims[index - 1] if index else 0
            self.decoder.append(ConvBlock(before, halves[index]))
            self.decoder.append(ConvBlock(halves[index] + skipped, halves[index]))
            before = halves[index]
        for dim in halves:  # of these outputs only the first, the finest, is used
            self.decoder.append(Conv3x3(dim, 1))

    def forward(self, features: list[Tensor]) -> Tensor:
        x = features[2]
        for step, index in enumerate((2, 1, 0)):
            x = _double(self.decoder[2 * step](x))
            if index:
                x = torch.cat([x, features[index - 1]], 1)
            x = self.decoder[2 * step + 1](x)
        return _double(self.decoder[6](x))


class LiteMono(nn.Module):
    """Lite-Mono: images in [0, 1], (B, in_chans, H, W) -> (B, 1, H, W), see `DepthOutput`.

    H and W are multiples of 16, and at least 32.
    """

    def __init__(
        self,
        config: LiteMonoConfig,
        *,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        trained: Trained = "640x192",
        output: DepthOutput = "disparity",
    ) -> None:
        super().__init__()
        if output not in DEPTH_OUTPUTS:
            raise ValueError(f"output is {output!r}; it must be one of {', '.join(DEPTH_OUTPUTS)}")
        if trained not in TRAINED:
            raise ValueError(f"trained is {trained!r}; it must be one of {', '.join(TRAINED)}")
        self.output = output
        self.encoder = Encoder(
            config, in_chans=in_chans, drop_path_rate=drop_path_rate, trained=trained
        )
        self.depth = Decoder(config.dims)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.depth(self.encoder(x))
        if self.output == "logits":
            return cast(Tensor, logits)
        disparity = torch.sigmoid(logits)
        if self.output == "disparity":
            return disparity
        nearest, farthest = 1 / MIN_DEPTH, 1 / MAX_DEPTH
        return 1 / (farthest + (nearest - farthest) * disparity)


def lite_mono(**kwargs: Any) -> LiteMono:
    """Lite-Mono: 3.1 M parameters. Keywords: those of `LiteMono`."""
    return LiteMono(LiteMonoConfig((48, 80, 128), (4, 4, 10)), **kwargs)


def lite_mono_small(**kwargs: Any) -> LiteMono:
    """Lite-Mono-small: 2.5 M parameters. Keywords: those of `LiteMono`."""
    return LiteMono(LiteMonoConfig((48, 80, 128), (4, 4, 7)), **kwargs)


def lite_mono_tiny(**kwargs: Any) -> LiteMono:
    """Lite-Mono-tiny: 2.2 M parameters. Keywords: those of `LiteMono`."""
    return LiteMono(LiteMonoConfig((32, 64, 128), (4, 4, 7)), **kwargs)


def lite_mono_8m(**kwargs: Any) -> LiteMono:
    """Lite-Mono-8M: 8.7 M parameters. Keywords: those of `LiteMono`."""
    return LiteMono(LiteMonoConfig((64, 128, 224), (4, 4, 10), wide=False), **kwargs)

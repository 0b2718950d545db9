"""BTS, 2019 (arXiv 1907.10326).

"From Big to Small: Multi-Scale Local Planar Guidance for Monocular Depth Estimation", Lee et al. A
decoder with dense atrous spatial pyramid pooling; at strides 8, 4 and 2 every pixel of a map is a
plane (a direction and a distance), of which the depths at full resolution follow (local planar
guidance, §3.2). The last convolutions see these depths. For NYU Depth V2: up to 10 m.

Parameter names are those of the official PyTorch checkpoints (github.com/cogaplex-bts/bts).
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .encoder import FEATURE_DIMS, DenseNet

__all__ = ["BTS", "bts_densenet121"]

WIDTH = 512
MAX_DEPTH = 10.0
"""In metres."""
EPS = 1.1e-5
RATES = (3, 6, 12, 18, 24)
PLANE = 3
"""Numbers that a plane is made of: two angles and a distance."""
STEEPEST = math.pi / 3
"""Of the angle between a plane's normal and the view, in radians."""


def conv_elu(dim_in: int, dim_out: int, kernel: int = 3) -> nn.Sequential:
    """A convolution without bias, and ELU."""
    return nn.Sequential(
        nn.Conv2d(dim_in, dim_out, kernel, padding=kernel // 2, bias=False), nn.ELU()
    )


class UpConv(nn.Module):
    """Doubles a map, then convolves it: (B, dim_in, H, W) -> (B, dim_out, 2H, 2W)."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest")))


class AtrousConv(nn.Module):
    """1x1, then a dilated 3x3 convolution."""

    def __init__(self, dim_in: int, dim_out: int, dilation: int, *, norm_first: bool) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if norm_first:
            parts["first_bn"] = nn.BatchNorm2d(dim_in, eps=EPS)
        parts["aconv_sequence"] = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(dim_in, 2 * dim_out, 1, bias=False),
            nn.BatchNorm2d(2 * dim_out),
            nn.ReLU(),
            nn.Conv2d(2 * dim_out, dim_out, 3, padding=dilation, dilation=dilation, bias=False),
        )
        self.atrous_conv = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.atrous_conv(x)
        return y


class Reduction(nn.Module):
    """1x1 convolutions that halve the channels until 8 are left, and a last one.

    (B, dim_in, H, W) -> (B, 3, H, W), or (B, 1, H, W) of a final one, between 0 and 1.
    """

    def __init__(self, dim_in: int, dim_out: int, *, final: bool = False) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        while dim_out >= 2 * (PLANE + 1):
            parts[f"inter_{dim_in}_{dim_out}"] = conv_elu(dim_in, dim_out, 1)
            dim_in, dim_out = dim_out, dim_out // 2
        if final:
            parts["final"] = nn.Sequential(nn.Conv2d(dim_in, 1, 1, bias=False), nn.Sigmoid())
        else:
            parts["plane_params"] = nn.Conv2d(dim_in, PLANE, 1, bias=False)
        self.reduc = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.reduc(x)
        return y


def planar_depth(parameters: Tensor, ratio: int) -> Tensor:
    """Depths of planes, as a share of the largest: (B, 3, H, W) -> (B, 1, ratio·H, ratio·W).

    Args:
        parameters: before the sigmoid: of the normal's angle to the view, of its direction, and of
            the distance.
    """
    tilt, turn, distance = torch.split(parameters.sigmoid(), 1, 1)
    tilt, turn = tilt * STEEPEST, turn * (2 * math.pi)
    normal = (tilt.sin() * turn.cos(), tilt.sin() * turn.sin(), tilt.cos())
    x, y, z, distance = (
        F.interpolate(part, scale_factor=float(ratio), mode="nearest")
        for part in (*normal, distance)
    )
    within = (torch.arange(ratio, dtype=x.dtype, device=x.device) - (ratio - 1) / 2) / ratio
    height, width = parameters.shape[2:]
    across, down = within.repeat(width), within.repeat(height)[:, None]
    return distance / (x * across + y * down + z)


class Decoder(nn.Module):
    """Maps of strides 2 to 32 -> depth (B, 1, H, W) as a share of the largest."""

    def __init__(self, dims: tuple[int, ...], width: int) -> None:
        super().__init__()
        half, quarter, eighth, least = (width // part for part in (2, 4, 8, 16))
        self.upconv5 = UpConv(dims[4], width)
        self.bn5 = nn.BatchNorm2d(width, eps=EPS)
        self.conv5 = conv_elu(width + dims[3], width)
        self.upconv4 = UpConv(width, half)
        self.bn4 = nn.BatchNorm2d(half, eps=EPS)
        self.conv4 = conv_elu(half + dims[2], half)
        self.bn4_2 = nn.BatchNorm2d(half, eps=EPS)
        for index, rate in enumerate(RATES):
            first = index == 0
            before = half if first else half + dims[2] + index * quarter
            self.add_module(
                f"daspp_{rate}", AtrousConv(before, quarter, rate, norm_first=not first)
            )
        self.daspp_conv = conv_elu(half + len(RATES) * quarter, quarter)
        self.reduc8x8 = Reduction(quarter, quarter)
        self.upconv3 = UpConv(quarter, quarter)
        self.bn3 = nn.BatchNorm2d(quarter, eps=EPS)
        self.conv3 = conv_elu(quarter + dims[1] + 1, quarter)
        self.reduc4x4 = Reduction(quarter, eighth)
        self.upconv2 = UpConv(quarter, eighth)
        self.bn2 = nn.BatchNorm2d(eighth, eps=EPS)
        self.conv2 = conv_elu(eighth + dims[0] + 1, eighth)
        self.reduc2x2 = Reduction(eighth, least)
        self.upconv1 = UpConv(eighth, least)
        self.reduc1x1 = Reduction(least, least // 2, final=True)
        self.conv1 = conv_elu(least + 4, least)
        self.get_depth = nn.Sequential(nn.Conv2d(least, 1, 3, padding=1, bias=False), nn.Sigmoid())

    def pyramid(self, x: Tensor, skip: Tensor) -> Tensor:
        """Dense atrous spatial pyramid pooling: each rate sees what the smaller ones made.

        Args:
            x: (B, half, h, w), doubled.
            skip: the encoder's map of that size.
        """
        joined = torch.cat([x, skip], 1)
        branches = [self.bn4_2(self.conv4(joined))]
        for index, rate in enumerate(RATES):
            seen = branches[0] if index == 0 else joined
            branches.append(self.get_submodule(f"daspp_{rate}")(seen))
            joined = torch.cat([joined, branches[-1]], 1)
        y: Tensor = self.daspp_conv(torch.cat(branches, 1))
        return y

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = self.bn5(self.upconv5(F.relu(maps[4])))
        x = self.conv5(torch.cat([x, maps[3]], 1))
        x = self.pyramid(self.bn4(self.upconv4(x)), maps[2])
        depths = [planar_depth(self.reduc8x8(x), 8)]
        x = torch.cat([self.bn3(self.upconv3(x)), maps[1], depths[0][:, :, ::4, ::4]], 1)
        x = self.conv3(x)
        depths.append(planar_depth(self.reduc4x4(x), 4))
        x = torch.cat([self.bn2(self.upconv2(x)), maps[0], depths[1][:, :, ::2, ::2]], 1)
        x = self.conv2(x)
        depths.append(planar_depth(self.reduc2x2(x), 2))
        x = self.upconv1(x)
        x = self.conv1(torch.cat([x, self.reduc1x1(x), *reversed(depths)], 1))
        depth: Tensor = self.get_depth(x)
        return depth


class BTS(nn.Module):
    """Normalised images (B, in_chans, H, W) -> depth in metres (B, 1, H, W)."""

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.encoder = DenseNet(in_chans)
        self.decoder = Decoder(FEATURE_DIMS, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = MAX_DEPTH * self.decoder(self.encoder(x))
        return depth


def bts_densenet121(*, in_chans: int = 3) -> BTS:
    """BTS on DenseNet-121: 21.2 M parameters."""
    return BTS(in_chans)

"""AGG-Net: completion of a depth image by gated convolutions (arXiv 2309.01624).

"AGG-Net: Attention Guided Gated-convolutional Network for Depth Image Completion", Chen et al.,
ICCV 2023. A U of two encoders: of the colours, and of the depth, whose convolutions are gated by an
attention between all pixels of a channel (AG-GConv, §3.2); the skips of the colours are gated by
the decoder's map (AG-SC, §3.3). Colours first fill the depth's holes.

Parameter names are those of the official code (github.com/htx0601/AGG-Net). Of its two lines for
the gate, the newer ("V2") calls a convolution with a map that it does not take; this is the older.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AGGNet", "agg_net"]

CHANNELS = (64, 128, 256, 384, 576)
STEPS = len(CHANNELS) - 1
SLOPE = 0.2
FILL_SLOPE = 0.1


def conv_norm(
    dim_in: int, dim: int, act: nn.Module, *, kernel: int = 3, stride: int = 1, bias: bool = True
) -> list[nn.Module]:
    """Convolution, batch norm, activation; without a bias the border is repeated outwards."""
    mode: Literal["zeros", "replicate"] = "zeros" if bias else "replicate"
    conv = nn.Conv2d(dim_in, dim, kernel, stride, kernel // 2, bias=bias, padding_mode=mode)
    return [conv, nn.BatchNorm2d(dim), act]


class Filling(nn.Module):
    """Depth of a picture's colours alone, where none was measured: (B, 3, H, W) -> (B, 1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *conv_norm(3, 48, nn.LeakyReLU(FILL_SLOPE), kernel=5, stride=2),
            *conv_norm(48, 96, nn.LeakyReLU(SLOPE), kernel=5, stride=2),
        )
        self.dconv = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            *conv_norm(96, 48, nn.LeakyReLU(FILL_SLOPE), kernel=5),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            *conv_norm(48, 1, nn.Sigmoid(), kernel=5),
        )

    def forward(self, colours: Tensor, depth: Tensor, mask: Tensor) -> Tensor:
        y: Tensor = self.dconv(self.conv(colours)) * mask + depth
        return y


class ColourStep(nn.Module):
    """Three convolutions, the last of stride 2."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.Conv_BN_ReLU_2 = nn.Sequential(
            *conv_norm(dim_in, dim, nn.ReLU()), *conv_norm(dim, dim, nn.ReLU())
        )
        self.downsample = nn.Sequential(*conv_norm(dim, dim, nn.LeakyReLU(SLOPE), stride=2))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.downsample(self.Conv_BN_ReLU_2(x))
        return y


class GatedStep(nn.Module):
    """AG-GConv: the depth's map at half the size times a gate of both maps.

    Args:
        pixels: of the result, which the linear layers of the gate depend on.
    """

    def __init__(self, dim_in: int, dim: int, colours: int, pixels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *conv_norm(dim_in, dim, nn.LeakyReLU(SLOPE), bias=False),
            *conv_norm(dim, dim, nn.LeakyReLU(SLOPE), stride=2, bias=False),
        )
        self.gate_conv = nn.Sequential(
            *conv_norm(dim + colours, dim, nn.LeakyReLU(SLOPE), bias=False)
        )
        self.gate_fc = nn.Sequential(
            nn.Identity(),
            nn.Linear(pixels, pixels, bias=False),
            nn.ReLU(),
            nn.Linear(pixels, pixels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, depth: Tensor, colours: Tensor) -> Tensor:
        depth = self.conv(depth)
        both = self.gate_conv(torch.cat([depth, colours], 1))
        y: Tensor = depth * self.gate_fc(both.flatten(2)).reshape(depth.shape)
        return y


class GatedRise(nn.Module):
    """Twice the size, then convolutions times a gate of one: (B, dim_in, H, W) -> (B, dim, …)."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.Conv_BN_LReLU = nn.Sequential(
            *conv_norm(dim_in, dim, nn.LeakyReLU(SLOPE)), *conv_norm(dim, dim, nn.LeakyReLU(SLOPE))
        )
        self.dconv_mask = nn.Sequential(*conv_norm(dim_in, dim, nn.Sigmoid()))
        self.upsample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.BatchNorm2d(dim_in),
            nn.LeakyReLU(SLOPE),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.upsample(x)
        y: Tensor = self.Conv_BN_LReLU(x) * self.dconv_mask(x)
        return y


class GatedSkip(nn.Module):
    """AG-SC: a map of the colours times a gate of it and the decoder's map."""

    def __init__(self, colours: int, depth: int) -> None:
        super().__init__()
        self.conv_depth = nn.Sequential(nn.Conv2d(depth, colours, 1), nn.BatchNorm2d(colours))
        self.conv_color = nn.Sequential(
            nn.Conv2d(colours, colours, 3, padding=1), nn.BatchNorm2d(colours)
        )
        self.w = nn.Sequential(
            nn.Conv2d(2 * colours, colours, 1), nn.BatchNorm2d(colours), nn.Sigmoid()
        )

    def forward(self, colours: Tensor, depth: Tensor) -> Tensor:
        both = torch.cat([self.conv_color(colours), self.conv_depth(depth)], 1)
        y: Tensor = self.w(F.relu(both)) * colours
        return y


class AGGNet(nn.Module):
    """AGG-Net: (B, 5, H, W) -> depth (B, 1, H, W), in (0, 1); H, W multiples of 32.

    The channels are the normalised colours, the measured depth, and a mask that is 1 where none was
    measured (the depth is 0 there).

    Args:
        size: (H, W) of the images, which the gates depend on.
    """

    training_only = tuple(f"dconv.{index}.dconv." for index in range(STEPS + 1))

    def __init__(self, *, size: tuple[int, int] = (192, 288)) -> None:
        super().__init__()
        dims, outs = CHANNELS, CHANNELS[::-1]
        self.fill_depth = Filling()
        self.conv_rgb_0 = nn.Sequential(
            *conv_norm(3, dims[0], nn.ReLU()), *conv_norm(dims[0], dims[0], nn.ReLU(), stride=2)
        )
        self.conv_gate_0 = nn.Sequential(
            *conv_norm(1, dims[0], nn.LeakyReLU(SLOPE)),
            *conv_norm(dims[0], dims[0], nn.LeakyReLU(SLOPE), stride=2),
        )
        steps = range(STEPS)
        pixels = [(size[0] >> step + 2) * (size[1] >> step + 2) for step in steps]
        self.conv_rgb = nn.ModuleList(ColourStep(dims[i], dims[i + 1]) for i in steps)
        self.conv_gate = nn.ModuleList(
            GatedStep(dims[i], dims[i + 1], dims[i + 1], pixels[i]) for i in steps
        )
        rises = [GatedRise(2 * dims[STEPS], outs[0])]
        rises += [GatedRise(2 * dims[STEPS - 1 - i] + outs[i], outs[i + 1]) for i in steps]
        self.dconv = nn.ModuleList(rises)
        self.att_r = nn.ModuleList(GatedSkip(dims[STEPS - 1 - i], outs[i]) for i in steps)
        self.dconv_last = nn.Sequential(
            nn.Conv2d(outs[STEPS], 64, 3, padding=1, padding_mode="replicate"),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(64, 1, 3, padding=1, padding_mode="replicate"),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        colours, measured, mask = x[:, :3], x[:, 3:4], x[:, 4:]
        depth = self.fill_depth(colours, measured, mask)
        rgb, gate = [self.conv_rgb_0(colours)], [self.conv_gate_0(depth)]
        for step_rgb, step_gate in zip(self.conv_rgb, self.conv_gate, strict=True):
            rgb.append(step_rgb(rgb[-1]))
            gate.append(step_gate(gate[-1], rgb[-1]))
        y = torch.cat([rgb.pop(), gate.pop()], 1)
        for rise, skip in zip(self.dconv, self.att_r, strict=False):
            y = rise(y)
            y = torch.cat([y, skip(rgb.pop(), y), gate.pop()], 1)
        result: Tensor = self.dconv_last(self.dconv[-1](y))
        return result


def agg_net(*, size: tuple[int, int] = (192, 288)) -> AGGNet:
    """AGG-Net as it is trained on NYU Depth V2, DIML and SUN RGB-D."""
    return AGGNet(size=size)

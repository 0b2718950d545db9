"""ParCNetV2, ICCV 2023 (arXiv 2211.07157).

"ParCNetV2: Oversized Kernel with Enhanced Attention", Xu et al. The frame of ConvNeXt; a block's
mixer is a depthwise convolution of a column and of a row, each about twice as long as a map of a
224x224 image (§3.2), beside a 7x7 one, gated by the other half of the channels (§3.3). Its
feed-forward is gated likewise.

Parameter names are those of the official checkpoints (github.com/XuRuihan/ParCNetV2).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import ConvNeXtFrame, DropPath, MetaFormerBlock, Scale, check_classes, drop_rates

__all__ = ["ParCNetV2", "parcnetv2_xt"]

EPS = 1e-6
KERNELS = (111, 55, 27, 13)
"""Of the oversized convolutions, stage by stage."""
LOCAL_KERNEL = 7
MIXER_RATIO, MLP_RATIO = 2, 5
SCALED_STAGES = (2, 3)
"""Of these the residual is scaled per channel, too."""


class UnitNorm(nn.Module):
    """The channels of every pixel, without their mean, brought to length one and scaled:
    (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        return F.normalize(centred, dim=1, eps=EPS) * self.weight[:, None, None]


class Downsampling(nn.Module):
    """The stem (norm behind the convolution) or a halving (norm in front)."""

    def __init__(self, dim_in: int, dim_out: int, *, stem: bool) -> None:
        super().__init__()
        self.pre_norm = nn.Identity() if stem else UnitNorm(dim_in)
        kernel, stride, padding = (7, 4, 2) if stem else (3, 2, 1)
        self.conv = nn.Conv2d(dim_in, dim_out, kernel, stride, padding)
        self.post_norm = UnitNorm(dim_out) if stem else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.post_norm(self.conv(self.pre_norm(x)))
        return y


class OversizeConv(nn.Module):
    """A depthwise convolution along columns, then one along rows."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        half = kernel // 2
        self.conv_h = nn.Conv2d(dim, dim, (kernel, 1), padding=(half, 0), groups=dim, bias=False)
        self.conv_w = nn.Conv2d(dim, dim, (1, kernel), padding=(0, half), groups=dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv_w(self.conv_h(x))
        return y


class Mixer(nn.Module):
    """Oversized and 7x7 convolutions of half of the channels, times the other half."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        half = MIXER_RATIO * dim // 2
        self.pwconv1 = nn.Conv2d(dim, 2 * half, 1)
        self.dwconv1 = OversizeConv(half, kernel)
        padding = LOCAL_KERNEL // 2
        self.dwconv2 = nn.Conv2d(half, half, LOCAL_KERNEL, padding=padding, groups=half, bias=False)
        self.pwconv2 = nn.Conv2d(half, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, y = self.pwconv1(x).chunk(2, 1)
        y = F.gelu(y)
        mixed: Tensor = self.pwconv2(gate * (self.dwconv1(y) + self.dwconv2(y)))
        return mixed


class GatedFeedForward(nn.Module):
    """Bifurcate gate unit (§3.3) of a map: one half of the channels times GELU of the other."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        middle = MLP_RATIO * dim
        self.fc1 = nn.Linear(dim, middle)
        self.fc2 = nn.Linear(middle // 2, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        plain, gate = self.fc1(x.permute(0, 2, 3, 1)).chunk(2, -1)
        y: Tensor = self.fc2(plain * F.gelu(gate))
        return y.permute(0, 3, 1, 2)


class Block(MetaFormerBlock):
    """Mixer and feed-forward, each with a residual."""

    def __init__(self, dim: int, kernel: int, drop_path: float, *, scaled: bool) -> None:
        super().__init__()
        self.norm1 = UnitNorm(dim)
        self.token_mixer = Mixer(dim, kernel)
        self.res_scale1 = Scale(dim) if scaled else nn.Identity()
        self.norm2 = UnitNorm(dim)
        self.mlp = GatedFeedForward(dim)
        self.res_scale2 = Scale(dim) if scaled else nn.Identity()
        self.drop_path = DropPath(drop_path)


class ParCNetV2(ConvNeXtFrame):
    """ParCNetV2 classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        reduce = [
            Downsampling(before, after, stem=index == 0)
            for index, (before, after) in enumerate(pairwise((in_chans, *dims)))
        ]
        drops = iter(drop_rates(drop_path_rate, sum(depths)))
        stages = [
            nn.Sequential(
                *(
                    Block(dim, kernel, next(drops), scaled=stage in SCALED_STAGES)
                    for _ in range(depth)
                )
            )
            for stage, (dim, kernel, depth) in enumerate(zip(dims, KERNELS, depths, strict=True))
        ]
        super().__init__(reduce, stages, dims[-1], num_classes=num_classes, eps=EPS)


def parcnetv2_xt(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> ParCNetV2:
    """ParCNetV2-XT: 7.4 M parameters, 79.4 % top-1 on ImageNet."""
    return ParCNetV2(
        (48, 96, 192, 320),
        (3, 3, 9, 2),
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )

"""Layers that several heads share, named as mmcv and mmsegmentation name them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import ConvBNAct

__all__ = ["DepthwiseSeparable", "concatenate", "pooled_branch", "resized"]


def resized(x: Tensor, size: torch.Size) -> Tensor:
    """A feature map brought to ``size`` (height, width), bilinear; itself if it has that size."""
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=False)


def concatenate(maps: Iterable[Tensor], size: torch.Size) -> Tensor:
    """Feature maps of any size, brought to ``size`` and joined along the channels."""
    return torch.cat([resized(x, size) for x in maps], 1)


def pooled_branch(bins: int, dim: int, width: int) -> nn.Sequential:
    """Average over bins x bins regions, then a 1x1 convolution."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(bins), ConvBNAct(dim, width, 1))


class DepthwiseSeparable(nn.Module):
    """Depthwise 3x3, then pointwise, each with norm and activation.

    (B, dim_in, H, W) -> (B, dim_out, ⌈H/stride⌉, ⌈W/stride⌉)
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        eps: float = 1e-5,
        act: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.depthwise_conv = ConvBNAct(
            dim_in, dim_in, 3, stride=stride, dilation=dilation, groups=dim_in, eps=eps, act=act
        )
        self.pointwise_conv = ConvBNAct(dim_in, dim_out, 1, eps=eps, act=act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise_conv(self.depthwise_conv(x))
        return y

"""The token mixers of RecNeXt and the layers that they are made of."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConvNorm", "LinearAttention", "PartialMixer", "RecAttention", "RecConv", "RepDepthwise"]

KERNEL = 5
EPS = 1e-6


class ConvNorm(nn.Sequential):
    """Convolution with "same" padding of odd kernels, and batch norm."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            dim_in, dim_out, kernel, stride, kernel // 2, groups=groups, bias=bias
        )
        self.norm = nn.BatchNorm2d(dim_out)


class RecConv(nn.Module):
    """RecConv (§3.2): a pyramid of depthwise convolutions, summed from coarse to fine.

    One shared convolution of stride 2 makes every level from the finer one; each level but the
    finest is convolved, upsampled and added to the next: (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, dim: int, levels: int) -> None:
        super().__init__()
        self.down = self._depthwise(dim, stride=2)
        self.convs = nn.ModuleList(self._depthwise(dim) for _ in range(levels + 1))

    @staticmethod
    def _depthwise(dim: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(dim, dim, KERNEL, stride, KERNEL // 2, groups=dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        levels = [x]
        for _ in self.convs[1:]:
            levels.append(self.down(levels[-1]))
        y: Tensor = self.convs[0](levels.pop())
        for conv in self.convs[1:]:
            finer = levels.pop()
            y = F.interpolate(y, size=finer.shape[2:], mode="bilinear", align_corners=False)
            y = conv(finer + y)
        return y


class LinearAttention(nn.Module):
    """Σ q·k v / (Σ q·k) over all pixels with q, k > 0, and a depthwise convolution of the values.

    The two products are taken in the order that multiplies less: with N pixels and d channels of
    a key, the keys with the values first where N > d: (B, C, H, W) -> (B, C, H, W).

    Args:
        key_dim: channels of all queries together, and of all keys.
        groups: of the projection; 2 makes queries and keys from one half of the channels each.
    """

    def __init__(
        self, dim: int, heads: int, *, key_dim: int, groups: int, bias: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.qk = ConvNorm(dim, 2 * key_dim, groups=groups, bias=bias)
        self.pe = ConvNorm(dim, dim, 3, groups=dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        pixels = height * width
        q, k = (F.elu(self.qk(x)) + 1.0).reshape(batch, 2, self.heads, -1, pixels).unbind(1)
        q = q.transpose(-2, -1)
        v = x.reshape(batch, self.heads, -1, pixels).transpose(-2, -1)
        if pixels > k.shape[2]:
            total = q @ k.mean(-1, keepdim=True)
            mixed = q @ (k @ v / pixels) / (total + EPS)
        else:
            scores = q @ k
            mixed = scores / (scores.mean(-1, keepdim=True) + EPS) @ v / pixels
        y: Tensor = mixed.transpose(-2, -1).reshape(x.shape) + self.pe(x)
        return y


class RecAttention(nn.Module):
    """RecConv of one level whose coarse level is linear attention: (B, C, H, W) -> the same."""

    def __init__(self, dim: int, heads: int, *, bias: bool = False) -> None:
        super().__init__()
        self.down = nn.Sequential(
            ConvNorm(dim, dim, KERNEL, stride=2, groups=dim, bias=bias),
            LinearAttention(dim, heads, key_dim=dim, groups=2, bias=bias),
        )
        self.conv = ConvNorm(dim, dim, KERNEL, groups=dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        coarse = F.interpolate(self.down(x), size=x.shape[2:], mode="nearest")
        return cast(Tensor, self.conv(x + coarse))


class RepDepthwise(nn.Module):
    """3x3 and 1x1 depthwise convolutions and the input, summed: (B, C, H, W) -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lk = ConvNorm(dim, dim, 3, groups=dim, bias=True)
        self.sk = ConvNorm(dim, dim, groups=dim, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.lk(x) + self.sk(x) + x)


class PartialMixer(nn.Module):
    """``attn`` on the first ``dim`` channels, the others as they are: (B, C, H, W) -> the same."""

    def __init__(self, dim: int, attn: nn.Module) -> None:
        super().__init__()
        self.dim = dim
        self.attn = attn

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.attn(x[:, : self.dim]), x[:, self.dim :]], 1)

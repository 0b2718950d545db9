"""TEED: an edge detector of 58 thousand parameters (arXiv 2308.06468).

"Tiny and Efficient Model for the Edge Detection Generalization", Soria et al. Three blocks give an
edge map each at full size, which depthwise convolutions join ("double fusion"); the activation is
Smish, x·tanh(log(1 + sigmoid(x))).

Parameter names are those of the official checkpoints (github.com/xavysp/TEED).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..segmentation import MaskOutput, check_mask_output, finish_mask

__all__ = ["TEED", "teed"]

UP_WIDTH = 16
FUSED = 8


def smish(x: Tensor) -> Tensor:
    """x·tanh(log(1 + sigmoid(x)))."""
    return x * torch.tanh(torch.log(1 + torch.sigmoid(x)))


class Smish(nn.Module):
    """`smish` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return smish(x)


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each followed by Smish, the last one only if ``activated``."""

    def __init__(self, dim_in: int, dim: int, *, stride: int = 1, activated: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim_in, dim, 3, stride, 1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(smish(self.conv1(x)))
        return smish(y) if self.activated else y


class SideConv(nn.Module):
    """1x1 convolution."""

    def __init__(self, dim_in: int, dim_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class DenseLayer(nn.Module):
    """Half of two convolutions of ``x`` and half of ``side``."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim_in, dim, 3, padding=2)
        self.conv2 = nn.Conv2d(dim, dim, 3)

    def forward(self, x: Tensor, side: Tensor) -> Tensor:
        new: Tensor = self.conv2(smish(self.conv1(smish(x))))
        return 0.5 * (new + side)


class ToEdges(nn.Module):
    """Doubles the size ``times`` times: (B, dim, H, W) -> (B, 1, H·2^times, W·2^times)."""

    def __init__(self, dim: int, times: int) -> None:
        super().__init__()
        kernel = 2**times
        layers: list[nn.Module] = []
        for index in range(times):
            width = 1 if index == times - 1 else UP_WIDTH
            layers += [nn.Conv2d(dim, width, 1), Smish()]
            layers += [nn.ConvTranspose2d(width, width, kernel, 2, kernel // 2 - 1)]
            dim = width
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.features(x)
        return y


class Fusion(nn.Module):
    """Joins the edge maps by depthwise convolutions: (B, maps, H, W) -> (B, 1, H, W)."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        wide = FUSED * maps
        self.DWconv1 = nn.Conv2d(maps, wide, 3, padding=1, groups=maps)
        self.DWconv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)

    def forward(self, x: Tensor) -> Tensor:
        first = self.DWconv1(smish(x))
        return smish((self.DWconv2(first) + first).sum(1, keepdim=True))


class TEED(nn.Module):
    """TEED: images (B, in_chans, H, W) -> edges (B, 1, H, W); H, W multiples of 4.

    Args:
        output: of how sure a pixel is on an edge (`segmentation.MaskOutput`).
    """

    def __init__(self, *, in_chans: int = 3, output: MaskOutput = "probabilities") -> None:
        check_mask_output(output)
        super().__init__()
        self.output = output
        self.block_1 = DoubleConv(in_chans, 16, stride=2)
        self.block_2 = DoubleConv(16, 32, activated=False)
        self.dblock_3 = nn.ModuleDict({"denselayer1": DenseLayer(32, 48)})
        self.side_1 = SideConv(16, 32, 2)
        self.pre_dense_3 = SideConv(32, 48, 1)
        self.up_block_1 = ToEdges(16, 1)
        self.up_block_2 = ToEdges(32, 1)
        self.up_block_3 = ToEdges(48, 2)
        self.block_cat = Fusion(3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.block_1(x)
        second = self.block_2(first)
        down = F.max_pool2d(second, 3, 2, 1)
        side = self.pre_dense_3(down)
        third = self.dblock_3["denselayer1"](down + self.side_1(first), side)
        edges = [self.up_block_1(first), self.up_block_2(second), self.up_block_3(third)]
        return finish_mask(self.block_cat(torch.cat(edges, 1)), self.output)


def teed(*, in_chans: int = 3, output: MaskOutput = "probabilities") -> TEED:
    """TEED: 58 thousand parameters."""
    return TEED(in_chans=in_chans, output=output)

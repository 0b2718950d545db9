"""GE-ResNet-50: gather-excite in ResNet's bottlenecks (arXiv 1810.12348).

"Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks", Hu et al., NeurIPS
2018. Each map is gathered over its whole extent and scales itself by a sigmoid of that (§2): by the
mean (GE-θ⁻), by a learnt depthwise convolution as large as the map (GE-θ), or by that and two 1x1
convolutions as in squeeze-and-excitation (GE-θ⁺, §3.4). The stride is in the first convolution.

Written after the official code, which is of Caffe (github.com/hujie-frank/GENet).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..resnet import EXPANSION, Bottleneck, ResNet

__all__ = ["GatherExcite", "ge_resnet50"]

Gather = Literal["learnt", "learnt_plus", "mean"]
"""GE-θ, GE-θ⁺ and GE-θ⁻."""
DEPTHS = (3, 4, 6, 3)
REDUCTION = 16


class GatherExcite(nn.Module):
    """A map times a sigmoid of what is gathered of it: (B, dim, H, W) -> (B, dim, H, W).

    Args:
        size: (H, W) of the map, which the learnt gathering depends on.
    """

    def __init__(self, dim: int, size: tuple[int, int], gather: Gather) -> None:
        super().__init__()
        self.plus = gather == "learnt_plus"
        self.gather = None
        if gather != "mean":
            conv = nn.Conv2d(dim, dim, size, groups=dim, bias=False)
            self.gather = nn.Sequential(conv, nn.BatchNorm2d(dim))
        if self.plus:
            self.down = nn.Conv2d(dim, dim // REDUCTION, 1)
            self.up = nn.Conv2d(dim // REDUCTION, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = x.mean((2, 3), keepdim=True) if self.gather is None else self.gather(x)
        if self.plus:
            found = self.up(F.relu(self.down(F.relu(found))))
        return x * torch.sigmoid(found)


class Block(Bottleneck):
    """ResNet's bottleneck whose branch excites itself before it is added."""

    def __init__(
        self, dim_in: int, dim: int, stride: int, size: tuple[int, int], gather: Gather
    ) -> None:
        middle = dim // EXPANSION
        mix = nn.Conv2d(middle, middle, 3, 1, 1, bias=False)
        super().__init__(dim_in, dim, stride, mix, early=True)
        self.excite = GatherExcite(dim, size, gather)

    def branch(self, x: Tensor) -> Tensor:
        y: Tensor = self.excite(super().branch(x))
        return y


def ge_resnet50(
    num_classes: int = 1000,
    *,
    in_chans: int = 3,
    size: tuple[int, int] = (224, 224),
    gather: Gather = "learnt",
) -> ResNet:
    """GE-ResNet-50 for images of ``size``: 5.5 M parameters more than ResNet-50 with GE-θ."""

    def block(stage: int, dim_in: int, dim: int, stride: int) -> Block:
        step = 4 * 2**stage
        return Block(dim_in, dim, stride, (-(-size[0] // step), -(-size[1] // step)), gather)

    return ResNet(DEPTHS, block, num_classes=num_classes, in_chans=in_chans)

"""DeepMAD-R18: bottlenecks whose depths and widths were searched (arXiv 2303.02165).

"DeepMAD: Mathematical Architecture Design for Deep Convolutional Neural Network", Shen et al., CVPR
2023. ResNet's bottlenecks with an average pooling in the shortcut where the map is halved; depths,
widths and kernels maximise an entropy at a given effectiveness. The structure is that of the
official code's configs/classification/models/deepmad-R18.txt.

Parameter names are those of github.com/alibaba/lightweight-neural-architecture-search.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["DeepMAD", "deepmad_r18"]

STEM = 32
R18 = (
    (1, 40, 5, 96, 2),
    (6, 40, 5, 384, 2),
    (9, 64, 5, 384, 2),
    (10, 104, 3, 1024, 1),
    (12, 104, 5, 672, 2),
)
"""Blocks, inner channels, kernel, channels, stride of each stage."""


class ConvNorm(nn.Module):
    """Convolution without bias, "same" padding of odd kernels, and batch norm."""

    def __init__(self, dim_in: int, dim: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim_in, dim, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn1(self.conv1(x))
        return y


class Bottleneck(nn.Module):
    """1x1, kxk and 1x1 convolution with a residual, which the first of a stage projects."""

    def __init__(
        self, dim_in: int, middle: int, kernel: int, dim: int, stride: int, *, first: bool
    ) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim_in, middle, 1)
        self.conv2 = ConvNorm(middle, middle, kernel, stride)
        self.conv3 = ConvNorm(middle, dim, 1)
        self.residual_downsample = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.residual_proj = ConvNorm(dim_in, dim, 1) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv2(F.relu(self.conv1(x))))
        return F.relu(self.conv3(y) + self.residual_proj(self.residual_downsample(x)))


class Stage(nn.Module):
    """Bottlenecks in a row, the first with the stride."""

    def __init__(self, dim_in: int, stage: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        depth, middle, kernel, dim, stride = stage
        self.block_list = nn.ModuleList(
            Bottleneck(dim, middle, kernel, dim, 1, first=False)
            if index
            else Bottleneck(dim_in, middle, kernel, dim, stride, first=True)
            for index in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block_list:
            x = block(x)
        return x


class DeepMAD(nn.Module):
    """DeepMAD classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are multiples of 16: the shortcuts' pooling drops a row or column that is left over.
    """

    classifier_parts = ("fc_linear",)

    def __init__(
        self,
        stages: tuple[tuple[int, int, int, int, int], ...],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        parts: list[nn.Module] = [ConvNorm(in_chans, STEM, 3, 2)]
        dim = STEM
        for stage in stages:
            parts.append(Stage(dim, stage))
            dim = stage[3]
        self.block_list = nn.ModuleList(parts)
        self.fc_linear = nn.Linear(dim, num_classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4, 8, 16 and 32 that a head of `models.heads` stands on."""
        x = F.relu(self.block_list[0](x))
        maps: list[Tensor] = []
        for stage in self.block_list[1:]:
            x = stage(x)
            maps.append(x)
        return [maps[0], maps[1], maps[3], maps[4]]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc_linear(self.feature_maps(x)[-1].mean((2, 3)))
        return logits


def deepmad_r18(num_classes: int = 1000, *, in_chans: int = 3) -> DeepMAD:
    """DeepMAD-R18: 11.69 M parameters, 1.82 G MACs, 77.7 % top-1."""
    return DeepMAD(R18, num_classes=num_classes, in_chans=in_chans)

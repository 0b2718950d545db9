"""RedNet, CVPR 2021 (arXiv 2103.06255).

"Involution: Inverting the Inherence of Convolution for Visual Recognition", Li et al. ResNet whose
3x3 convolutions are involutions (§3): a kernel that differs from pixel to pixel, made of the pixel,
and is shared by 16 channels. 26 layers: Table 1 of the paper.

Parameter names are those of the official checkpoints (github.com/d-li14/involution, mmcls).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Conv, ConvBNAct, check_classes
from ..resnet import EXPANSION, Bottleneck

__all__ = ["Involution", "RedNet", "rednet26"]

GROUP = 16
"""Channels that share a kernel."""
REDUCTION = 4
KERNEL = 7


class Involution(nn.Module):
    """(B, dim, H, W) -> (B, dim, H/stride, W/stride); H and W are multiples of the stride."""

    def __init__(self, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.groups = dim // GROUP
        self.conv1 = ConvBNAct(dim, dim // REDUCTION, 1)
        self.conv2 = Conv(dim // REDUCTION, kernel**2 * self.groups, 1)

    def forward(self, x: Tensor) -> Tensor:
        small = F.avg_pool2d(x, self.stride, self.stride) if self.stride > 1 else x
        kernels = self.conv2(self.conv1(small))
        batch, _, height, width = kernels.shape
        window = F.unfold(x, self.kernel, padding=self.kernel // 2, stride=self.stride)
        window = window.reshape(batch * self.groups, GROUP, self.kernel**2, height * width)
        weights = kernels.reshape(batch * self.groups, 1, self.kernel**2, height * width)
        y: Tensor = (weights * window).sum(2).reshape(batch, -1, height, width)
        return y


def bottleneck(dim_in: int, dim: int, stride: int) -> Bottleneck:
    """ResNet's bottleneck with an involution in the middle."""
    return Bottleneck(dim_in, dim, stride, Involution(dim // EXPANSION, KERNEL, stride))


class Backbone(nn.Module):
    """Stem and four stages: images (B, in_chans, H, W) -> the maps of strides 4 to 32."""

    def __init__(self, depths: tuple[int, ...], in_chans: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvBNAct(in_chans, 32, 3, stride=2),
            Involution(32, 3, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            ConvBNAct(32, 64, 3),
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stages = len(depths)
        before = 64
        for index, depth in enumerate(depths):
            dim = 64 * EXPANSION * 2**index
            blocks = [bottleneck(before, dim, 2 if index else 1)]
            blocks += [bottleneck(dim, dim, 1) for _ in range(depth - 1)]
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
            before = dim

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.maxpool(self.stem(x))
        maps: list[Tensor] = []
        for index in range(1, self.stages + 1):
            x = getattr(self, f"layer{index}")(x)
            maps.append(x)
        return maps


class Head(nn.Module):
    """The linear layer under its official name."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(x)
        return logits


class RedNet(nn.Module):
    """RedNet classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are multiples of 32.
    """

    classifier_parts = ("head",)

    def __init__(
        self, depths: tuple[int, ...], *, num_classes: int = 1000, in_chans: int = 3
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.backbone = Backbone(depths, in_chans)
        self.head = Head(64 * EXPANSION * 2 ** (len(depths) - 1), num_classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        maps: list[Tensor] = self.backbone(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(x)[-1].mean((2, 3)))
        return logits


def rednet26(num_classes: int = 1000, *, in_chans: int = 3) -> RedNet:
    """RedNet-26: 9.23 M parameters, 75.96 % top-1 on ImageNet."""
    return RedNet((1, 2, 4, 1), num_classes=num_classes, in_chans=in_chans)

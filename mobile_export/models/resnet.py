"""ResNet's blocks and frame, for families that put another layer into them.

Parameter names are those of torchvision.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import check_classes

__all__ = ["EXPANSION", "BasicBlock", "Bottleneck", "ResNet"]

EXPANSION = 4
STEM = 64

MakeBlock = Callable[[int, int, int, int], nn.Module]
"""Of the stage's index, channels before and behind the block, and the stride."""


class Bottleneck(nn.Module):
    """Pointwise convolution, a 3x3 convolution or another layer, pointwise convolution, residual.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)

    Args:
        mix: the layer between the pointwise convolutions: maps of ``middle`` channels -> the same
            number of channels, with the stride, unless the first convolution has it.
        middle: None is dim / 4.
        early: whether the first convolution has the stride, as in the paper.
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        stride: int,
        mix: nn.Module,
        *,
        early: bool = False,
        middle: int | None = None,
    ) -> None:
        super().__init__()
        middle = middle or dim // EXPANSION
        self.conv1 = nn.Conv2d(dim_in, middle, 1, stride if early else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = mix
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, dim, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(dim)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or dim_in != dim:
            self.downsample = nn.Sequential(
                nn.Conv2d(dim_in, dim, 1, stride, bias=False), nn.BatchNorm2d(dim)
            )

    def branch(self, x: Tensor) -> Tensor:
        """What is added to the shortcut."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        added: Tensor = self.bn3(self.conv3(y))
        return added

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + self.downsample(x))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a residual: (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim_in, dim, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            conv = nn.Conv2d(dim_in, dim, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))


class ResNet(nn.Module):
    """ResNet classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    classifier_parts = ("fc",)

    def __init__(
        self,
        depths: tuple[int, ...],
        make: MakeBlock,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(in_chans, STEM, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stages = len(depths)
        before = STEM
        for index, depth in enumerate(depths):
            dim = STEM * EXPANSION * 2**index
            blocks = [make(index, before, dim, 2 if index else 1)]
            blocks += [make(index, dim, dim, 1) for _ in range(depth - 1)]
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
            before = dim
        self.fc = nn.Linear(before, num_classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        maps: list[Tensor] = []
        for index in range(1, self.stages + 1):
            x = getattr(self, f"layer{index}")(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.feature_maps(x)[-1].mean((2, 3)))
        return logits

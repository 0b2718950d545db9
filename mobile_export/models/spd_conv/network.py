"""ResNet50-SPD: space to depth instead of strides (arXiv 2208.03641).

"No More Strided Convolutions or Pooling: A New CNN Building Block for Low-Resolution Images and
Small Objects", Sunkara and Luo, ECML PKDD 2022. Where ResNet-50 has a stride of 2, four pixels
become channels of one, and the next convolution takes four times the channels (SPD-Conv, §3). For
CIFAR's small images there is one such layer in front, and no pooling.

Parameter names are those of the official code (github.com/LabSAINT/SPD-Conv).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["ResNetSPD", "resnet50_spd"]

EXPANSION = 4
DEPTHS = (3, 4, 6, 3)
WIDTHS = (64, 128, 256, 512)


class SpaceToDepth(nn.Module):
    """Four pixels become channels of one: (B, C, H, W) -> (B, 4·C, H/2, W/2)."""

    def forward(self, x: Tensor) -> Tensor:
        places = ((0, 0), (1, 0), (0, 1), (1, 1))
        return torch.cat([x[..., down::2, across::2] for down, across in places], 1)


class Bottleneck(nn.Module):
    """ResNet's bottleneck; with a stride of 2 `SpaceToDepth` behind the 3x3 convolution."""

    def __init__(self, dim_in: int, width: int, stride: int) -> None:
        super().__init__()
        dim_out = EXPANSION * width
        packed = width * stride * stride
        self.residual_function = nn.Sequential(
            nn.Conv2d(dim_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            *([SpaceToDepth()] if stride == 2 else []),
            nn.BatchNorm2d(packed),
            nn.ReLU(),
            nn.Conv2d(packed, dim_out, 1, bias=False),
            nn.BatchNorm2d(dim_out),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or dim_in != dim_out:
            self.shortcut.append(nn.Conv2d(dim_in, dim_out, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(dim_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual_function(x) + self.shortcut(x))


class Stem(nn.Module):
    """`SpaceToDepth`, 1x1 convolution, batch norm, SiLU."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.pack = SpaceToDepth()
        self.conv = nn.ModuleDict(
            {"conv": nn.Conv2d(4 * in_chans, dim, 1, bias=False), "bn": nn.BatchNorm2d(dim)}
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv["bn"](self.conv["conv"](self.pack(x))))


class ResNetSPD(nn.Module):
    """ResNet50-SPD: normalised images (B, in_chans, H, W) -> logits; H, W multiples of 16."""

    classifier_parts = ("fc",)

    def __init__(self, *, num_classes: int = 10, in_chans: int = 3) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        dim = WIDTHS[0]
        self.conv1 = Stem(in_chans, dim)
        for index, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
            blocks = []
            for block in range(depth):
                blocks.append(Bottleneck(dim, width, 2 if index and not block else 1))
                dim = EXPANSION * width
            setattr(self, f"conv{index + 2}_x", nn.Sequential(*blocks))
        self.fc = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for index in range(len(WIDTHS)):
            x = getattr(self, f"conv{index + 2}_x")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def resnet50_spd(num_classes: int = 10, *, in_chans: int = 3) -> ResNetSPD:
    """ResNet50-SPD, of CIFAR-10's classes by default."""
    return ResNetSPD(num_classes=num_classes, in_chans=in_chans)

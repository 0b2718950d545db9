"""SqueezeTime: video recognition with the time axis squeezed into channels (arXiv 2405.08344).

"No Time to Waste: Squeeze Time into Channel for Mobile Video Understanding", Zhai et al. A clip of
16 frames is an image of 48 channels for a ResNet-50 whose 3x3 convolutions are channel-time
learning modules (CTL, §3.2): a temporal branch whose channels are weighted by their global
importance, and a branch that restores positions and lets objects of different times interact
(IOI). Parameter names are those of the official checkpoints as MMAction2 saves them
(github.com/xinghaochen/SqueezeTime, mmaction/models/backbones/SqueezeTime.py).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["FRAMES", "ChannelTimeLearning", "SqueezeTime", "squeezetime"]

FRAMES = 16
EXPANSION = 4
NARROW = 16
STAGES = ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7))
"""Width of the CTL modules, number of blocks and size of the position embedding of each stage."""


class Interaction(nn.Module):
    """Inter-temporal object interaction (IOI, §3.2): (B, C, H, W) -> (B, C, H, W).

    The 7x7 convolution of 16 channels sees the map with learnt positions; they are interpolated
    (corners aligned) where the map has another size than in training.
    """

    def __init__(self, dim: int, positions: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, NARROW, positions, positions))
        nn.init.kaiming_normal_(self.pos_embed, mode="fan_out", nonlinearity="relu")
        self.short_conv = nn.Conv2d(dim, dim, 3, padding=1)
        self.glo_conv = nn.Sequential(
            nn.Conv2d(dim, NARROW, 3, padding=1),
            nn.BatchNorm2d(NARROW),
            nn.ReLU(),
            nn.Conv2d(NARROW, NARROW, 7, padding=3),
            nn.BatchNorm2d(NARROW),
            nn.ReLU(),
            nn.Conv2d(NARROW, dim, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor, importance: Tensor) -> Tensor:
        positions: Tensor = self.pos_embed
        if positions.shape[2:] != x.shape[2:]:
            positions = F.interpolate(
                positions, size=x.shape[2:], mode="bilinear", align_corners=True
            )
        narrow = self.glo_conv[:3](x * importance) + positions
        return cast(Tensor, self.short_conv(x) * self.glo_conv[3:](narrow))


class ChannelTimeLearning(nn.Module):
    """CTL (§3.2): temporal branch + interaction: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, positions: int) -> None:
        super().__init__()
        self.param_conv = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, dim, 1, bias=False),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 1, bias=False),
            nn.Sigmoid(),
        )
        self.temporal_conv = nn.Conv2d(dim, dim, 1, bias=False)
        self.spatial_conv = Interaction(dim, positions)

    def forward(self, x: Tensor) -> Tensor:
        importance = self.param_conv(x)
        y: Tensor = self.temporal_conv(importance * x) + self.spatial_conv(x, importance)
        return y


class Bottleneck(nn.Module):
    """ResNet's bottleneck around a CTL module: (B, C, H, W) -> (B, 4·dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, positions: int, *, stride: int, widen: bool) -> None:
        super().__init__()
        dim_out = EXPANSION * dim
        self.conv1 = nn.Conv2d(dim_in, dim, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv2 = ChannelTimeLearning(dim, positions)
        self.bn2 = nn.BatchNorm2d(dim)
        self.conv3 = nn.Conv2d(dim, dim_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(dim_out)
        self.shortcut_conv: nn.Module = nn.Identity()
        if widen:
            self.shortcut_conv = nn.Sequential(
                nn.Conv2d(dim_in, dim_out, 1, bias=False), nn.BatchNorm2d(dim_out)
            )
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(dim_in, dim_in, stride, stride=stride, groups=dim_in),
                nn.BatchNorm2d(dim_in),
            )

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut_conv(x))


class ResNet(nn.Module):
    """Images of all frames' channels (B, C·T, H, W) -> (B, 2048, ~H/32, ~W/32)."""

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        dim = STAGES[0][0]
        self.conv1 = nn.Conv2d(in_chans, dim, 5, stride=2, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for index, (width, depth, positions) in enumerate(STAGES):
            blocks: list[nn.Module] = []
            for block in range(depth):
                stride = 2 if index and not block else 1
                blocks.append(
                    Bottleneck(dim, width, positions, stride=stride, widen=dim != EXPANSION * width)
                )
                dim = EXPANSION * width
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
        self.dim = dim
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for index in range(len(STAGES)):
            x = getattr(self, f"layer{index + 1}")(x)
        return x


class Backbone(nn.Module):
    """The network under the name that the official code gives it."""

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.net = ResNet(in_chans)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.net(x))


class Head(nn.Module):
    """Global pooling and classifier: (B, C, H, W) -> (B, num_classes)."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.fc_cls = nn.Linear(dim, num_classes)
        nn.init.normal_(self.fc_cls.weight, std=0.01)
        nn.init.zeros_(self.fc_cls.bias)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.fc_cls(x.mean((2, 3))))


class SqueezeTime(nn.Module):
    """SqueezeTime: clips (B, in_chans, 16, H, W), normalised -> logits (B, num_classes).

    Any H and W from 25 up work (below, the last map would be empty).
    """

    def __init__(self, *, num_classes: int = 400, in_chans: int = 3) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        self.backbone = Backbone(in_chans * FRAMES)
        self.cls_head = Head(self.backbone.net.dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.cls_head(self.backbone(x.flatten(1, 2))))


def squeezetime(num_classes: int = 400, *, in_chans: int = 3) -> SqueezeTime:
    """SqueezeTime: 28.7 M parameters, 71.6 % top-1 on Kinetics-400 (Table 1)."""
    return SqueezeTime(num_classes=num_classes, in_chans=in_chans)

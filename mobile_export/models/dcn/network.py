"""ResNet-50 with modulated deformable convolutions (DCNv2, arXiv 1811.11168).

"Deformable ConvNets v2: More Deformable, Better Results", Zhu et al., CVPR 2019. The 3x3
convolutions of the last three stages take their values beside the pixels, at offsets that a further
convolution gives, each times a weight in (0, 1) of the same convolution (§3.1 and §3.2). The
detector of the paper is a head on its maps: ``resnet50_dcnv2+mask_rcnn``.

Parameter names are those of torchvision's ResNet and of mmcv's ``ModulatedDeformConv2dPack``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import values_beside
from ..resnet import EXPANSION, Bottleneck, ResNet

__all__ = ["DeformableConv", "resnet50_dcnv2"]

DEPTHS = (3, 4, 6, 3)
KERNEL = 3
POINTS = KERNEL * KERNEL


class DeformableConv(nn.Module):
    """Modulated deformable 3x3 convolution: (B, dim, H, W) -> (B, dim, ⌈H/stride⌉, ⌈W/stride⌉)."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(dim, dim, KERNEL, KERNEL))
        offset = nn.Conv2d(dim, 3 * POINTS, KERNEL, stride, KERNEL // 2)
        for tensor in offset.parameters():
            nn.init.zeros_(tensor)
        self.conv_offset = offset
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv_offset(x)
        values = values_beside(x, found[:, : 2 * POINTS], stride=self.stride)
        taken = values * torch.sigmoid(found[:, 2 * POINTS :])[:, None]
        kernel = self.weight.reshape(self.weight.shape[0], -1, 1, 1)
        return F.conv2d(taken.flatten(1, 2), kernel)


def block(stage: int, dim_in: int, dim: int, stride: int) -> Bottleneck:
    """A bottleneck, deformable behind the first stage."""
    middle = dim // EXPANSION
    plain = nn.Conv2d(middle, middle, KERNEL, stride, KERNEL // 2, bias=False)
    mix = DeformableConv(middle, stride) if stage else plain
    return Bottleneck(dim_in, dim, stride, mix)


def resnet50_dcnv2(num_classes: int = 1000, *, in_chans: int = 3) -> ResNet:
    """ResNet-50 whose stages conv3 to conv5 are deformable."""
    return ResNet(DEPTHS, block, num_classes=num_classes, in_chans=in_chans)

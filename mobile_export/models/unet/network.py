"""U-Net, MICCAI 2015 (arXiv 1505.04597).

"U-Net: Convolutional Networks for Biomedical Image Segmentation", Ronneberger et al. Four halvings
and four doublings of the map, each with two 3x3 convolutions, and the maps of the way down joined
to those of the way up (Figure 1). Convolutions are padded and normed, as everyone has them since:
the paper's crop the image and have no norm.

Parameter names are those of the most used code (github.com/milesial/Pytorch-UNet).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import check_classes
from ..segmentation import SegmentationOutput, check_output, finish

__all__ = ["UNet", "unet"]

DIMS = (64, 128, 256, 512, 1024)


class DoubleConv(nn.Module):
    """3x3 convolution, norm and ReLU, twice."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(dim_in, dim, 3, padding=1, bias=False),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1, bias=False),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.double_conv(x)
        return y


class Down(nn.Module):
    """Half the size, twice the channels."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(dim_in, dim))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.maxpool_conv(x)
        return y


class Up(nn.Module):
    """Twice the size, half the channels, joined with the map of the way down."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(dim_in, dim, 2, 2)
        self.conv = DoubleConv(dim_in, dim)

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        y: Tensor = self.conv(torch.cat([skipped, self.up(x)], 1))
        return y


class Classifier(nn.Module):
    """A score per class and pixel."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class UNet(nn.Module):
    """U-Net: images (B, in_chans, H, W) -> one score map per class and pixel.

    H and W are multiples of 16. ``output``: see `models.segmentation`.
    """

    def __init__(self, *, num_classes: int, in_chans: int, output: SegmentationOutput) -> None:
        check_classes(num_classes)
        check_output(output)
        super().__init__()
        self.num_classes = num_classes
        self.output: SegmentationOutput = output
        self.inc = DoubleConv(in_chans, DIMS[0])
        self.down1 = Down(DIMS[0], DIMS[1])
        self.down2 = Down(DIMS[1], DIMS[2])
        self.down3 = Down(DIMS[2], DIMS[3])
        self.down4 = Down(DIMS[3], DIMS[4])
        self.up1 = Up(DIMS[4], DIMS[3])
        self.up2 = Up(DIMS[3], DIMS[2])
        self.up3 = Up(DIMS[2], DIMS[1])
        self.up4 = Up(DIMS[1], DIMS[0])
        self.outc = Classifier(DIMS[0], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        first = self.inc(x)
        second = self.down1(first)
        third = self.down2(second)
        fourth = self.down3(third)
        y = self.up1(self.down4(fourth), fourth)
        y = self.up3(self.up2(y, third), second)
        logits = self.outc(self.up4(y, first))
        return finish(logits, (x.shape[2], x.shape[3]), self.output)


def unet(num_classes: int = 2, *, in_chans: int = 3, output: SegmentationOutput = "logits") -> UNet:
    """U-Net of 64 to 1024 channels."""
    return UNet(num_classes=num_classes, in_chans=in_chans, output=output)

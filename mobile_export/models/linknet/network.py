"""LinkNet: a ResNet-18 encoder whose stages are added to the decoder's (arXiv 1707.03718).

"LinkNet: Exploiting Encoder Representations for Efficient Semantic Segmentation", Chaurasia and
Culurciello. The parameter names are those of the authors' PyTorch code
(github.com/e-lab/pytorch-linknet, models/linknet.py, class LinkNet); its final log-softmax, which
changes neither order nor arg-max, is left out: the output is the scores before it.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ..layers import check_classes
from ..resnet import BasicBlock
from ..segmentation import SegmentationOutput, check_output, finish

__all__ = ["LinkNet", "linknet"]

DIMS = (64, 128, 256, 512)


def _norm_relu(conv: nn.Module, dim: int) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(dim), nn.ReLU())


class Decoder(nn.Module):
    """1x1, transposed 3x3 and 1x1 convolution: (B, C, H, W) -> (B, D, stride·H, stride·W)."""

    def __init__(self, dim_in: int, dim_out: int, stride: int) -> None:
        super().__init__()
        middle = dim_in // 4
        transposed = nn.ConvTranspose2d(
            middle, middle, 3, stride, padding=1, output_padding=stride - 1, bias=False
        )
        self.conv1 = _norm_relu(nn.Conv2d(dim_in, middle, 1, bias=False), middle)
        self.tp_conv = _norm_relu(transposed, middle)
        self.conv2 = _norm_relu(nn.Conv2d(middle, dim_out, 1, bias=False), dim_out)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv2(self.tp_conv(self.conv1(x))))


class LinkNet(nn.Module):
    """LinkNet segmenter: normalised images (B, in_chans, H, W) -> (B, num_classes, H, W).

    H and W are multiples of 32. ``output`` says what comes out (`segmentation`): the logits have
    the image's size already, so "upsampled" is the same.
    """

    def __init__(
        self,
        *,
        num_classes: int = 19,
        in_chans: int = 3,
        output: SegmentationOutput = "logits",
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        check_output(output)
        self.num_classes = num_classes
        self.output: SegmentationOutput = output
        self.in_block = nn.Sequential(
            nn.Conv2d(in_chans, DIMS[0], 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(DIMS[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        inputs = (DIMS[0], *DIMS[:-1])
        strides = (1, 2, 2, 2)
        for index, (before, dim, stride) in enumerate(zip(inputs, DIMS, strides, strict=True)):
            stage = nn.Sequential(BasicBlock(before, dim, stride), BasicBlock(dim, dim, 1))
            setattr(self, f"encoder{index + 1}", stage)
        for index, (before, dim, stride) in enumerate(zip(inputs, DIMS, strides, strict=True)):
            setattr(self, f"decoder{index + 1}", Decoder(dim, before, stride))
        up = nn.ConvTranspose2d(DIMS[0], 32, 3, stride=2, padding=1, output_padding=1)
        self.tp_conv1 = _norm_relu(up, 32)
        self.conv2 = _norm_relu(nn.Conv2d(32, 32, 3, padding=1), 32)
        self.tp_conv2 = nn.ConvTranspose2d(32, num_classes, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2], x.shape[3])
        x = self.in_block(x)
        links = [x]
        for index in range(len(DIMS)):
            x = getattr(self, f"encoder{index + 1}")(x)
            links.append(x)
        for index in reversed(range(len(DIMS))):
            x = links[index] + getattr(self, f"decoder{index + 1}")(x)
        logits = self.tp_conv2(self.conv2(self.tp_conv1(x)))
        return finish(logits, size, self.output)


def linknet(
    num_classes: int = 19, *, in_chans: int = 3, output: SegmentationOutput = "logits"
) -> LinkNet:
    """LinkNet: 11.5 M parameters (Table 2), 76.4 % IoU on Cityscapes' 19 classes (Table 4)."""
    return LinkNet(num_classes=num_classes, in_chans=in_chans, output=output)

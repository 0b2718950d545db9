"""Monodepth: disparity of a single picture, learnt from stereo pairs (arXiv 1609.03677).

"Unsupervised Monocular Depth Estimation with Left-Right Consistency", Godard et al., CVPR 2017. A U
of convolutions and ELU; the decoder gives the disparities towards the left and the right picture at
four scales, each of which the next finer one takes (§3.1 and the supplementary material's table).
For inference the finest map of the left picture counts.

Written after the paper and the official code, which is of TensorFlow 1
(github.com/mrharicot/monodepth, the encoder "vgg"); the names of the parameters are its variables'.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Monodepth", "monodepth_vgg"]

ENCODER = ((32, 7), (64, 5), (128, 3), (256, 3), (512, 3), (512, 3), (512, 3))
"""Channels and kernel of the two convolutions of each step of stride 2."""
DECODER = (512, 512, 256, 128, 64, 32, 16)
SCALES = 4
LARGEST = 0.3
"""Of the disparities, in widths of the picture."""


def conv(dim_in: int, dim: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Convolution with the same padding on all sides."""
    return nn.Conv2d(dim_in, dim, kernel, stride, (kernel - 1) // 2)


def twice(x: Tensor) -> Tensor:
    """Every pixel as four."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Down(nn.Module):
    """Two convolutions and ELU, the second of stride 2."""

    def __init__(self, dim_in: int, dim: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = conv(dim_in, dim, kernel)
        self.conv2 = conv(dim, dim, kernel, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.conv2(F.elu(self.conv1(x))))


class Up(nn.Module):
    """Twice the size, joined with what comes from the encoder and the coarser disparities."""

    def __init__(self, dim_in: int, dim: int, joined: int, *, disparities: bool) -> None:
        super().__init__()
        self.upconv = conv(dim_in, dim, 3)
        self.iconv = conv(dim + joined, dim, 3)
        self.disp = conv(dim, 2, 3) if disparities else None

    def forward(self, x: Tensor, joined: list[Tensor]) -> Tensor:
        """(B, dim_in, h, w) and maps of twice the size -> (B, dim, 2·h, 2·w)."""
        return F.elu(self.iconv(torch.cat([F.elu(self.upconv(twice(x))), *joined], 1)))

    def logits(self, x: Tensor) -> list[Tensor]:
        """Of the disparities to the right and the left picture, if there are any: (B, 2, h, w)."""
        return [] if self.disp is None else [self.disp(x)]


class Monodepth(nn.Module):
    """Monodepth: images (B, in_chans, H, W) -> (B, 1, H, W).

    H and W are multiples of 128. The result is the disparity to the right picture in widths of the
    picture.

    Args:
        output: "disparity", or "logits" before its sigmoid.
    """

    def __init__(self, *, in_chans: int = 3, output: str = "disparity") -> None:
        super().__init__()
        self.output = output
        dims = [dim for dim, _ in ENCODER]
        downs = zip([in_chans, *dims[:-1]], ENCODER, strict=True)
        self.encoder = nn.ModuleList(Down(before, dim, kernel) for before, (dim, kernel) in downs)
        ups = []
        before = dims[-1]
        for index, dim in enumerate(DECODER):
            left = len(DECODER) - 1 - index
            skip = dims[left - 1] if left else 0
            coarser = 2 if left < SCALES - 1 else 0
            ups.append(Up(before, dim, skip + coarser, disparities=left < SCALES))
            before = dim
        self.decoder = nn.ModuleList(ups)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for down in self.encoder:
            x = down(x)
            maps.append(x)
        maps.pop()
        logits: list[Tensor] = []
        for part in self.decoder:
            up = cast(Up, part)
            skip = [maps.pop()] if maps else []
            x = up(x, [*skip, *(twice(LARGEST * torch.sigmoid(each)) for each in logits)])
            logits = up.logits(x)
        left = logits[0][:, :1]
        return left if self.output == "logits" else LARGEST * torch.sigmoid(left)


def monodepth_vgg(*, in_chans: int = 3, output: str = "disparity") -> Monodepth:
    """Monodepth with the smaller encoder: 31 M parameters (§4.1)."""
    return Monodepth(in_chans=in_chans, output=output)

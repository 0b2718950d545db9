"""U²-Net's small variant, U²-Net†: a U of Us for salient objects (arXiv 2005.09007).

"U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Qin et al. Every stage
of the outer U is a residual U-block (RSU, §3.1), an inner U of its own. Six side outputs and their
fusion give one map each; the fused one is the prediction (§3.2). Parameter names are those of the
official checkpoint u2netp.pth (github.com/xuebinqin/U-2-Net, model/u2net.py, class U2NETP).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..segmentation import MaskOutput, check_mask_output, finish_mask

__all__ = ["ResidualUBlock", "U2NetLite", "u2netp"]

WIDTH = 64
MIDDLE = 16
HEIGHTS = (7, 6, 5, 4)
"""Heights of the RSUs of stages 1 to 4; stages 5 and 6 have height 4 and dilate instead of pool."""


class ConvNormReLU(nn.Module):
    """3x3 convolution, batch norm and ReLU of one resolution: (B, C, H, W) -> (B, D, H, W)."""

    def __init__(self, dim_in: int, dim_out: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(dim_in, dim_out, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_s1(self.conv_s1(x)))


def _like(x: Tensor, target: Tensor) -> Tensor:
    """``x`` resized to the height and width of ``target``, bilinear; itself if it has them."""
    if x.shape[2:] == target.shape[2:]:
        return x
    return F.interpolate(x, size=target.shape[2:], mode="bilinear", align_corners=False)


def _halve(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, ⌈H/2⌉, ⌈W/2⌉)"""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


class ResidualUBlock(nn.Module):
    """RSU (§3.1): a U of ``height`` convolutions down and up: (B, C, H, W) -> (B, 64, H, W).

    Args:
        pools: whether the U halves the resolution (between all but its last two convolutions);
            if not, it dilates by 1, 2, 4, … instead ("RSU-4F").
    """

    def __init__(self, height: int, dim_in: int, *, pools: bool = True) -> None:
        super().__init__()
        self.height = height
        self.pools = pools
        last = {height: 2} if pools else {}
        dilations = {n: last.get(n, 1) if pools else 2 ** (n - 1) for n in range(1, height + 1)}
        self.rebnconvin = ConvNormReLU(dim_in, WIDTH)
        for n, dilation in dilations.items():
            layer = ConvNormReLU(WIDTH if n == 1 else MIDDLE, MIDDLE, dilation)
            setattr(self, f"rebnconv{n}", layer)
        for n in range(height - 1, 0, -1):
            layer = ConvNormReLU(2 * MIDDLE, WIDTH if n == 1 else MIDDLE, dilations[n])
            setattr(self, f"rebnconv{n}d", layer)

    def forward(self, x: Tensor) -> Tensor:
        entrance = self.rebnconvin(x)
        maps: list[Tensor] = []
        x = entrance
        for n in range(1, self.height + 1):
            if self.pools and 1 < n < self.height:
                x = _halve(x)
            x = getattr(self, f"rebnconv{n}")(x)
            maps.append(x)
        x = maps.pop()
        for n in range(self.height - 1, 0, -1):
            finer = maps.pop()
            x = getattr(self, f"rebnconv{n}d")(torch.cat([_like(x, finer), finer], 1))
        return cast(Tensor, x + entrance)


class U2NetLite(nn.Module):
    """U²-Net†: normalised images (B, in_chans, H, W) -> one map of salience (`MaskOutput`).

    Any H and W from 1 up work.
    """

    def __init__(
        self,
        *,
        in_chans: int = 3,
        output: MaskOutput = "probabilities",
    ) -> None:
        super().__init__()
        check_mask_output(output)
        self.output = output
        for index, height in enumerate(HEIGHTS):
            stage = ResidualUBlock(height, WIDTH if index else in_chans)
            setattr(self, f"stage{index + 1}", stage)
        self.stage5 = ResidualUBlock(4, WIDTH, pools=False)
        self.stage6 = ResidualUBlock(4, WIDTH, pools=False)
        self.stage5d = ResidualUBlock(4, 2 * WIDTH, pools=False)
        for index, height in reversed(list(enumerate(HEIGHTS))):
            setattr(self, f"stage{index + 1}d", ResidualUBlock(height, 2 * WIDTH))
        for n in range(1, 7):
            setattr(self, f"side{n}", nn.Conv2d(WIDTH, 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for n in range(1, 7):
            x = self.get_submodule(f"stage{n}")(_halve(x) if maps else x)
            maps.append(x)
        x = maps.pop()
        sides: list[Tensor] = [self.get_submodule("side6")(x)]
        for n in range(5, 0, -1):
            finer = maps.pop()
            x = getattr(self, f"stage{n}d")(torch.cat([_like(x, finer), finer], 1))
            sides.append(getattr(self, f"side{n}")(x))
        sides = [_like(side, sides[-1]) for side in reversed(sides)]
        return finish_mask(self.outconv(torch.cat(sides, 1)), self.output)


def u2netp(*, in_chans: int = 3, output: MaskOutput = "probabilities") -> U2NetLite:
    """U²-Net†: a checkpoint of 4.7 MB (abstract)."""
    return U2NetLite(in_chans=in_chans, output=output)

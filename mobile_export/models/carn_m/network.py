"""CARN-M: super-resolution by cascades of grouped convolutions (arXiv 1803.08664).

"Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network", Ahn et al.,
§3.3: recursive cascading blocks of grouped convolutions. One checkpoint serves all scales, so that
every variant holds the upsamplers of all three; parameter names are those of the official
checkpoint carn_m.pth (github.com/nmhkahn/CARN-pytorch). Its table (assets/table.png there) prints
412 K parameters for every scale, and 91.2, 46.1 and 32.5 G Mult-Adds for scales 2, 3 and 4.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CARNM", "carn_m_x2", "carn_m_x3", "carn_m_x4"]

WIDTH = 64
GROUPS = 4
MEAN = (0.4488, 0.4371, 0.4040)
"""DIV2K's mean colour."""


class MeanShift(nn.Module):
    """A 1x1 convolution that adds ``shift`` to the colours; the official code does not train it."""

    def __init__(self, shift: tuple[float, ...]) -> None:
        super().__init__()
        self.shifter = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.shifter.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
            cast(Tensor, self.shifter.bias).copy_(torch.tensor(shift))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.shifter(x))


class Fusion(nn.Module):
    """1x1 convolution and ReLU: (B, parts·64, H, W) -> (B, 64, H, W)."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(parts * WIDTH, WIDTH, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.body(x))


class EfficientResidual(nn.Module):
    """Two grouped 3x3 and one 1x1 convolution with a residual: (B, 64, H, W) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=GROUPS),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=GROUPS),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + x)


def _cascade(x: Tensor, steps: list[nn.Module], fusions: list[nn.Module]) -> Tensor:
    """Every step's input is fused from all outputs before it: (B, 64, H, W) -> the same."""
    gathered = x
    for step, fusion in zip(steps, fusions, strict=True):
        gathered = torch.cat([gathered, step(x)], 1)
        x = fusion(gathered)
    return x


class CascadingBlock(nn.Module):
    """Three times the same residual block, cascading: (B, 64, H, W) -> (B, 64, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.b1 = EfficientResidual()
        self.c1, self.c2, self.c3 = Fusion(2), Fusion(3), Fusion(4)

    def forward(self, x: Tensor) -> Tensor:
        return _cascade(x, [self.b1] * 3, [self.c1, self.c2, self.c3])


class SubPixel(nn.Module):
    """Grouped 3x3 convolution, ReLU and pixel shuffle, once for each of ``factors``."""

    def __init__(self, *factors: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for factor in factors:
            conv = nn.Conv2d(WIDTH, factor**2 * WIDTH, 3, padding=1, groups=GROUPS)
            layers += [conv, nn.ReLU(), nn.PixelShuffle(factor)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.body(x))


class CARNM(nn.Module):
    """CARN-M: RGB in [0, 1], (B, 3, H, W) -> about the same range, (B, 3, scale·H, scale·W)."""

    def __init__(self, scale: int, *, in_chans: int = 3) -> None:
        super().__init__()
        if in_chans != 3:
            raise ValueError(f"it takes RGB images, not {in_chans} channels")
        self.scale = scale
        self.sub_mean = MeanShift(tuple(-mean for mean in MEAN))
        self.add_mean = MeanShift(MEAN)
        self.entry = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.b1, self.b2, self.b3 = CascadingBlock(), CascadingBlock(), CascadingBlock()
        self.c1, self.c2, self.c3 = Fusion(2), Fusion(3), Fusion(4)
        self.upsample = nn.ModuleDict(
            {"up2": SubPixel(2), "up3": SubPixel(3), "up4": SubPixel(2, 2)}
        )
        self.exit = nn.Conv2d(WIDTH, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(self.sub_mean(x))
        x = _cascade(x, [self.b1, self.b2, self.b3], [self.c1, self.c2, self.c3])
        x = self.upsample[f"up{self.scale}"](x)
        return cast(Tensor, self.add_mean(self.exit(x)))


def carn_m_x2(**kwargs: Any) -> CARNM:
    """CARN-M for twice the size: 412 K parameters. Keywords: those of `CARNM`."""
    return CARNM(2, **kwargs)


def carn_m_x3(**kwargs: Any) -> CARNM:
    """CARN-M for three times the size: 412 K parameters. Keywords: those of `CARNM`."""
    return CARNM(3, **kwargs)


def carn_m_x4(**kwargs: Any) -> CARNM:
    """CARN-M for four times the size: 412 K parameters. Keywords: those of `CARNM`."""
    return CARNM(4, **kwargs)

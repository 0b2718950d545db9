"""Convolutions of Kolmogorov-Arnold networks (arXiv 2407.01092).

"Kolmogorov-Arnold Convolutions: Design Principles and Empirical Studies", Drokin. In place of a
weight stands a learnt function of one variable: a sum of B-splines, whose factors are the weights
of a convolution over the splines' values, plus a convolution behind GELU. The network is that of
the official README, SimpleConvKAN, with the widths of the script that trains it.

Parameter names are those of the official code (github.com/IvanDrokin/torch-conv-kan).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["KANConv", "SimpleConvKAN", "Splines", "kan_conv"]

WIDTHS = (32, 64, 128, 256)
STRIDES = (1, 2, 2, 1)
ORDER = 3
"""Of the splines."""
INTERVALS = 5
"""Of the knots between -1 and 1."""


class Splines(nn.Module):
    """Values of all B-splines (Cox-de Boor): (B, C, H, W) -> (B, C·splines, H, W).

    The pieces meet at equal steps, `ORDER` more of them on both sides of [-1, 1].
    """

    knots: Tensor

    def __init__(self) -> None:
        super().__init__()
        last = 1 + 2 * ORDER / INTERVALS
        knots = torch.linspace(-last, last, INTERVALS + 2 * ORDER + 1)[:, None, None]
        self.register_buffer("knots", knots, persistent=False)
        for order in range(1, ORDER + 1):
            spans = knots[order:] - knots[:-order]
            self.register_buffer(f"spans{order}", spans, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x, knots = x.unsqueeze(2), self.knots
        bases = ((x >= knots[:-1]) & (x < knots[1:])).to(x.dtype)
        for order in range(1, ORDER + 1):
            spans = self.get_buffer(f"spans{order}")
            left = (x - knots[: -order - 1]) / spans[:-1]
            right = (knots[order + 1 :] - x) / spans[1:]
            bases = left * bases[:, :, :-1] + right * bases[:, :, 1:]
        return bases.flatten(1, 2)


class KANConv(nn.Module):
    """A 3x3 convolution of learnt functions, a norm and PReLU: (B, dim_in, H, W) -> (B, dim, …)."""

    def __init__(self, dim_in: int, dim: int, stride: int) -> None:
        super().__init__()
        wide = (INTERVALS + ORDER) * dim_in
        self.base_conv = _alone(nn.Conv2d(dim_in, dim, 3, stride, 1, bias=False))
        self.spline_conv = _alone(nn.Conv2d(wide, dim, 3, stride, 1, bias=False))
        self.layer_norm = _alone(nn.InstanceNorm2d(dim))
        self.prelus = _alone(nn.PReLU())
        self.splines = Splines()

    def forward(self, x: Tensor) -> Tensor:
        base = self.base_conv[0](F.gelu(x))
        bent = self.spline_conv[0](self.splines(x))
        y: Tensor = self.prelus[0](self.layer_norm[0](base + bent))
        return y


def _alone(layer: nn.Module) -> nn.ModuleList:
    """In a list, as official checkpoints have the layers of each group."""
    return nn.ModuleList([layer])


class SimpleConvKAN(nn.Module):
    """Four such convolutions and a linear classifier over the mean: images -> logits."""

    def __init__(self, num_classes: int, in_chans: int) -> None:
        super().__init__()
        check_classes(num_classes)
        layers: list[nn.Module] = []
        for width, stride in zip(WIDTHS, STRIDES, strict=True):
            layers.append(KANConv(in_chans, width, stride))
            in_chans = width
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(in_chans, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(self.layers(x).mean((2, 3)))
        return logits


def kan_conv(num_classes: int = 10, *, in_chans: int = 3) -> SimpleConvKAN:
    """SimpleConvKAN of the official README."""
    return SimpleConvKAN(num_classes, in_chans)

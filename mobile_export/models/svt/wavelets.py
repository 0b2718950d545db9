"""One level of the dual-tree complex wavelet transform, and back (Kingsbury; "near_sym_b" filters).

What leaves has half the size and six orientations, complex; the low pass keeps the size. Maps are
mirrored at their borders.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Wavelets", "from_quads", "to_quads"]

_LOW_HALF = (-0.0017578125, 0.0, 0.022265625, -0.046875, -0.0482421875, 0.296875, 0.55546875)
_HIGH_HALF = (
    -7.062639508928571e-05,
    0.0,
    0.0013419015066964285,
    -0.0018833705357142855,
    -0.007156808035714285,
    0.023856026785714284,
    0.05564313616071428,
    -0.05168805803571428,
    -0.29975760323660716,
    0.5594308035714286,
)
"""Up to the middle: both filters are symmetric."""


def _mirrored(half: tuple[float, ...]) -> Tensor:
    return torch.tensor([*half, *reversed(half[:-1])])


def _modulated(taps: Tensor) -> Tensor:
    """Every second tap negated, the middle one not: the synthesis filter of the other band."""
    places = torch.arange(len(taps)) - len(taps) // 2
    return taps * torch.where(places % 2 == 0, 1.0, -1.0)


def to_quads(x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A band (B, C, H, W) -> two orientations, each real and imaginary: (B, C, H/2, W/2)."""
    x = x / math.sqrt(2)
    a, b, c, d = (x[:, :, down::2, right::2] for down in (0, 1) for right in (0, 1))
    return (a - d, b + c), (a + d, b - c)


def from_quads(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """A band of two orientations; without change between, twice the band of `to_quads`."""
    (real1, imaginary1), (real2, imaginary2) = first, second
    corners = (
        real1 + real2,
        imaginary1 + imaginary2,
        imaginary1 - imaginary2,
        real2 - real1,
    )
    x = torch.stack(corners, 2).flatten(1, 2)
    return F.pixel_shuffle(x, 2) / math.sqrt(2)


class Wavelets(nn.Module):
    """The filters, and the two directions of the transform."""

    low: Tensor
    high: Tensor
    low_back: Tensor
    high_back: Tensor

    def __init__(self) -> None:
        super().__init__()
        low, high = _mirrored(_LOW_HALF), _mirrored(_HIGH_HALF)
        filters = {
            "low": low,
            "high": high,
            "low_back": _modulated(high),
            "high_back": _modulated(low),
        }
        for name, taps in filters.items():
            self.register_buffer(name, taps, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The low pass of (B, C, H, W), and the real and imaginary parts of six orientations."""
        across_low, across_high = _across(x, self.low), _across(x, self.high)
        bands = (
            _down(across_low, self.high),
            _down(across_high, self.high),
            _down(across_high, self.low),
        )
        pairs = [part for band in bands for part in to_quads(band)]
        reals, imaginaries = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        return _down(across_low, self.low), reals, imaginaries

    def back(self, low: Tensor, reals: list[Tensor], imaginaries: list[Tensor]) -> Tensor:
        """The map of which these are the parts."""
        pairs = list(zip(reals, imaginaries, strict=True))
        wide, both, tall = (from_quads(*pairs[index : index + 2]) for index in (0, 2, 4))
        across_low = _down(wide, self.high_back) + _down(low, self.low_back)
        across_high = _down(both, self.high_back) + _down(tall, self.low_back)
        return _across(across_high, self.high_back) + _across(across_low, self.low_back)


def _across(x: Tensor, taps: Tensor) -> Tensor:
    """Filtered along the rows, which are mirrored at both ends."""
    reach = len(taps) // 2
    x = torch.cat([x[..., :reach].flip(-1), x, x[..., -reach:].flip(-1)], -1)
    kernel = taps.reshape(1, 1, 1, -1).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(x, kernel, groups=x.shape[1])


def _down(x: Tensor, taps: Tensor) -> Tensor:
    """Filtered along the columns."""
    reach = len(taps) // 2
    x = torch.cat([x[:, :, :reach].flip(2), x, x[:, :, -reach:].flip(2)], 2)
    kernel = taps.reshape(1, 1, -1, 1).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(x, kernel, groups=x.shape[1])

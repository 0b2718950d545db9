"""Resizing and sampling of (N, C, H, W)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from ..proto import FormatError
from ..table import Params, Tensor, layer

__all__: list[str] = []

_NEAREST, _BILINEAR, _BICUBIC = 1, 2, 3
_CUBIC = -0.75


@layer("Upsample")
def upsample(x: Tensor, *, params: Params) -> Tensor:
    """To the size that is given, else to the rounded product with the scales."""
    mode = params.integer()
    scales = params.number(), params.number()
    corners = params.integer(0)
    size = params.rest()[:2]
    if len(size) < 2:
        size = tuple(_scaled(n, scale) for n, scale in zip(x.shape[2:], scales, strict=True))
        if corners < 0:
            corners = int(min(scales) < 1)
    if mode not in (_NEAREST, _BILINEAR, _BICUBIC):
        raise FormatError(f"upsampling mode {mode} is unknown")
    if tuple(x.shape[2:]) == size:
        return x.clone()
    if mode == _NEAREST:
        return F.interpolate(x, size, mode="nearest")
    rows, columns = (
        _matrix(n, m, mode, bool(corners)) for n, m in zip(x.shape[2:], size, strict=True)
    )
    return rows @ x @ columns.T


def _scaled(size: int, scale: float) -> int:
    """C's ``round`` of a product in float32: 5 * 1.3f is 6.5 there, and a half goes up."""
    return math.floor(float(np.float32(size) * np.float32(scale)) + 0.5)


def _matrix(n: int, m: int, mode: int, corners: bool) -> Tensor:
    """(m, n): the weight of every input position in every output position."""
    index = torch.arange(m, dtype=torch.float32)
    ratio = (n - 1) / max(m - 1, 1) if corners else n / m
    scale = ratio if m > 1 else 0.0
    position = index * scale if corners else (index + 0.5) * scale - 0.5
    if mode == _BILINEAR:
        position = position.clamp(0, n - 1)
    first = position.floor()
    offset = position - first
    taps = _linear(offset) if mode == _BILINEAR else _cubic(offset)
    matrix = torch.zeros(m, n)
    for step, weight in taps.items():
        column = (first + step).clamp(0, n - 1).long()
        matrix[torch.arange(m), column] += weight
    return matrix


def _linear(t: Tensor) -> dict[int, Tensor]:
    return {0: 1 - t, 1: t}


def _cubic(t: Tensor) -> dict[int, Tensor]:
    a = _CUBIC
    before = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a
    here = ((a + 2) * t - (a + 3)) * t * t + 1
    after = ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1
    return {-1: before, 0: here, 1: after, 2: 1 - before - here - after}

"""Convolutions and pools of several images at once, without a batch axis.

* In groups: (B, C, H, W) is (B C, H, W), and a convolution of it has B times the groups and its
  weight B times over. Nothing moves, which is what a depthwise convolution and a pool want.
* Stacked: (B, C, H, W) becomes one image (C, B H', W) with rows between the images that no window
  crosses. The weight is stored once, which is what a dense convolution wants.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ir
from ..builder import Builder
from ..view import View
from .moving import narrow, pad, reshape

__all__ = ["convolve_batch"]

_MAX_COPIES = 65536
"""Elements of a weight that may be stored once per image."""


def convolve_batch(
    builder: Builder,
    x: View,
    weight: np.ndarray,
    bias: np.ndarray | None,
    groups: int,
    attributes: dict[str, Any],
    shape: ir.Shape,
) -> View:
    """Convolution of (B, C, *spatial).

    Args:
        attributes: ``stride``, ``padding`` and ``dilation`` of the layer.
        shape: of the result, (B, O, *spatial).
    """
    batch, rank = x.shape[0], weight.ndim - 2
    if batch > 1 and batch * weight.size > _MAX_COPIES and groups < weight.shape[0]:
        return _stacked(builder, x, weight, bias, groups, attributes, shape)
    value = builder.place(x, [0, 1], *[[2 + axis] for axis in range(rank)])
    result = builder.add(
        ir.Convolution,
        [value],
        (batch * shape[1], *shape[2:]),
        weight=np.tile(weight, (batch, *[1] * (rank + 1))),
        bias=None if bias is None else np.tile(bias, batch),
        groups=batch * groups,
        **attributes,
    )
    return View.of(result, shape)


def _stacked(
    builder: Builder,
    x: View,
    weight: np.ndarray,
    bias: np.ndarray | None,
    groups: int,
    attributes: dict[str, Any],
    shape: ir.Shape,
) -> View:
    """Image b starts at row b H', a multiple of the stride, so its outputs start at b H' / s."""
    batch, rank = x.shape[0], weight.ndim - 2
    step = attributes["stride"][0]
    (before, after), *sides = attributes["padding"]
    reach = attributes["dilation"][0] * (weight.shape[2] - 1) + 1
    height = x.shape[2] + before + after
    height = math.ceil(max(height, shape[2] * step) / step) * step
    tall = pad(builder, x, {2: (before, height - x.shape[2] - before)}, "constant")
    value = builder.place(tall, [1], [0, 2], *[[3 + axis] for axis in range(rank - 1)])
    rows = batch * (height // step)
    total = (rows - 1) * step + reach
    attributes = {
        **attributes,
        "padding": ((0, max(total - batch * height, 0)), *sides),
    }
    result = builder.add(
        ir.Convolution,
        [value],
        (shape[1], (batch * height + attributes["padding"][0][1] - reach) // step + 1, *shape[3:]),
        weight=weight,
        bias=bias,
        groups=groups,
        **attributes,
    )
    image = View.of(result, result.shape)
    image = narrow(builder, image, 1, 0, rows)
    apart = reshape(builder, image, (shape[1], batch, height // step, *shape[3:]))
    kept = narrow(builder, apart, 2, 0, shape[2])
    return kept.permute([1, 0, *range(2, rank + 2)])

"""Weights of 4 bits: a scale for each block of input channels of each output channel.

A block is as many channels as wanted, or the next fewer that make whole blocks, at least half
(`block_of`). A layer without (a depthwise one, the first of a network) has 8 bits and a scale for
each output channel. Transposed convolutions, and groups of several channels, stay
float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..graph.stored_integers import block_of
from .assign import module_of
from .plan import Floating, PlannedTensor
from .ranges import Grid, fit_weight

if TYPE_CHECKING:
    from torch.fx import Node

    from ..graph.layers import WeightedLayer

__all__ = ["block_values", "plan_blocks"]


def _rows(weight: np.ndarray, block: int) -> np.ndarray:
    """(O, I, *kernel) as (O * blocks, block * kernel)."""
    size = weight.size // (weight.shape[0] * (weight.shape[1] // block))
    return weight.reshape(-1, size)


def block_values(weight: np.ndarray, planned: PlannedTensor) -> np.ndarray:
    """What the integers of a layer's weights stand for, float32.

    Raises:
        ValueError: the plan has another number of blocks.
    """
    block = planned.block or weight.shape[1]
    if weight.ndim < 2 or weight.shape[1] % block:
        raise ValueError(f"{weight.shape[1:2]} channels are no blocks of {block}")
    rows = _rows(weight.astype(np.float64), block)
    if len(rows) != len(planned.scale):
        raise ValueError(f"{len(rows)} blocks have {len(planned.scale)} scales")
    scales = np.asarray(planned.scale, np.float32).astype(np.float64)[:, None]
    integers = np.rint(rows / scales).clip(planned.low, planned.high)
    values = (integers * scales).astype(np.float32) + np.float32(0)  # no zero is negative
    return values.reshape(weight.shape)


def plan_blocks(
    layers: Mapping[Node, WeightedLayer], bits: int, block: int, method: str
) -> tuple[list[PlannedTensor], list[Floating]]:
    """The weights of each layer on their grids, and the layers that have none."""
    planned, floating = [], []
    for node, layer in layers.items():
        weight = layer.weight.numpy()
        if layer.transposed or (layer.groups > 1 and weight.shape[1] > 1):
            why = "its output channels have no blocks of their own"
            floating.append(Floating(node.name, "weights", why, module_of(node)))
            continue
        part = block_of(weight.shape[1], block)
        width, size = (8, weight.shape[1]) if part is None else (bits, part)
        high = 2 ** (width - 1) - 1
        scales = fit_weight(_rows(weight, size), Grid(-high, high, symmetric=True), method)
        what = (
            "per channel: no whole blocks" if part is None else f"blocks of {part} input channels"
        )
        planned.append(
            PlannedTensor(
                name=node.name,
                kind="weight",
                bits=width,
                symmetric=True,
                scale=[float(each) for each in scales],
                zero_point=[0] * len(scales),
                why=f"{method}, {what}",
                axis=0,
                module=module_of(node),
                block=size,
            )
        )
    return planned, floating

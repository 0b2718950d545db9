"""Palettes: the weights of a layer as indices into a table of a few values.

The table has the least squared error that k-means in one dimension finds (Lloyd 1982): each value
moves to the mean of the weights that are nearest to it, until none moves. They start as dense as
the cube root of the weights' density, which is the best for many values (Panter and Dite 1951). No
number is drawn: the same weights have the same palette.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .assign import module_of
from .plan import Floating, PlannedTensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.fx import Node

    from ..graph.layers import WeightedLayer

__all__ = ["nearest_entries", "palette_of", "plan_palettes"]

_ROUNDS = 300
_BINS = 1024


def palette_of(weights: np.ndarray, entries: int) -> np.ndarray:
    """At most ``entries`` values, sorted, float32, all different.

    Args:
        weights: of any shape.
    """
    values = np.sort(weights.reshape(-1).astype(np.float64))
    sums = np.concatenate(([0.0], np.cumsum(values)))
    centres = np.unique(values)
    if centres.size > entries:
        centres = _spread(values, entries)
    for _ in range(_ROUNDS):
        bounds = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        edges = np.concatenate(([0], bounds, [values.size]))
        counts = np.diff(edges)
        means = np.diff(sums[edges])[counts > 0] / counts[counts > 0]
        if means.size == centres.size and np.array_equal(means, centres):
            break
        centres = means
    return np.unique(centres.astype(np.float32))


def _spread(values: np.ndarray, entries: int) -> np.ndarray:
    """Where the values of a palette start."""
    counts, edges = np.histogram(values, bins=_BINS)
    mass = np.concatenate(([0.0], np.cumsum(np.cbrt(counts))))
    return np.unique(np.interp((np.arange(entries) + 0.5) / entries * mass[-1], mass, edges))


def nearest_entries(weights: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The index of the nearest value for each weight; the lower of two that are as near."""
    exact = palette.astype(np.float64)
    middles = (exact[1:] + exact[:-1]) / 2
    return np.searchsorted(middles, weights.astype(np.float64), side="left")


def plan_palettes(
    layers: Mapping[Node, WeightedLayer], bits: int
) -> tuple[list[PlannedTensor], list[Floating]]:
    """A palette for the weights of each layer, and the layers that have none."""
    planned, floating = [], []
    for node, layer in layers.items():
        weight = layer.weight.numpy()
        if weight.size <= 2**bits:
            why = f"its {weight.size} weights are no more than a palette has"
            floating.append(Floating(node.name, "weights", why, module_of(node)))
            continue
        palette = palette_of(weight, 2**bits)
        planned.append(
            PlannedTensor(
                name=node.name,
                kind="weight",
                bits=bits,
                symmetric=True,
                scale=[1.0],
                zero_point=[0],
                why="least squared error",
                module=module_of(node),
                palette=[float(each) for each in palette],
            )
        )
    return planned, floating

"""What integers that a program stores stand for, exactly: for formats that take floats there.

A writer whose converter knows no integers is given `as_floats`, and puts the integers of
`planned_weights` into the file that it wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..system.torch_private import quantization_operators
from .editor import GraphEditor
from .quantized import dequantized, is_quantization

if TYPE_CHECKING:
    from torch.fx import Node

    from .program import Program

__all__ = [
    "PlannedTable",
    "PlannedWeights",
    "as_floats",
    "block_of",
    "cut",
    "exact_floats",
    "find_weights",
    "in_blocks",
    "planned_weights",
]


def exact_floats(graph: GraphEditor, node: Node) -> torch.Tensor:
    """The float64 values of stored integers that ``node`` dequantises."""
    integers = graph.constant(node.args[0])
    assert integers is not None
    if node.target is quantization_operators().dequantize_per_tensor.default:
        scale: Any = torch.tensor(node.args[1], dtype=torch.float64)
        return dequantized(integers, scale, torch.tensor(node.args[2]))
    axis: Any = node.args[3]
    scales = graph.exact(node.args[1])
    assert scales is not None
    shape = [1] * integers.ndim
    shape[axis] = -1
    return dequantized(integers, scales.reshape(shape), torch.tensor(0))


@dataclass(frozen=True)
class PlannedWeights:
    """Weights that a file of floats has.

    Attributes:
        values: float32, in the layout of the program.
        scales: one, or one for each place on some axis, float32.
    """

    values: np.ndarray
    scales: np.ndarray

    def integers(self, found: np.ndarray) -> tuple[np.ndarray, int] | None:
        """The integers of ``found``, the same weights in another layout, and the axis of the
        scales; None where it is something else."""
        axes = range(found.ndim) if len(self.scales) > 1 else (0,)
        for axis in axes:
            if len(self.scales) not in (1, found.shape[axis]):
                continue
            shape = [1] * found.ndim
            shape[axis] = len(self.scales)
            scale = self.scales.reshape(shape).astype(np.float64)
            integers = np.rint(found / scale)
            exact = np.abs(integers).max(initial=0) <= 127
            if exact and np.array_equal((integers * scale).astype(np.float32), found):
                return integers.astype(np.int8), axis
        return None


PlannedTable = Mapping[bytes, list[PlannedWeights]]
"""By what weights have in common in every layout: their sorted values."""


def planned_weights(program: Program) -> PlannedTable:
    """The weights of a program with a plan in it, by what they have in common in every layout.

    They are stored as integers, or as the floats that these stand for with a quantise behind them.
    """
    graph = GraphEditor(program)
    found: dict[bytes, list[PlannedWeights]] = {}
    for node in graph.nodes:
        if not is_quantization(node) or not graph.is_constant(node.args[0]):
            continue
        stored: Any = graph.constant(node.args[0])
        if stored.dtype != torch.int8 and not stored.is_floating_point():
            continue
        scale: Any = node.args[1]
        scales = graph.exact(scale) if graph.is_constant(scale) else torch.tensor([scale])
        assert scales is not None
        exact = stored if stored.is_floating_point() else exact_floats(graph, node)
        values = exact.float().numpy()
        weights = PlannedWeights(values, scales.float().numpy().reshape(-1))
        found.setdefault(_sorted(values), []).append(weights)
    return found


def _sorted(values: np.ndarray) -> bytes:
    return np.sort(values.reshape(-1)).tobytes()


def find_weights(
    planned: PlannedTable, values: np.ndarray
) -> tuple[PlannedWeights, np.ndarray, int] | None:
    """The planned weights that ``values``, a tensor of a file, are; their integers in its layout,
    and the axis of the scales. None: they are no planned weights."""
    for weights in planned.get(_sorted(values), ()):
        found = weights.integers(values)
        if found is not None:
            return weights, *found
    return None


def as_floats(program: Program) -> Program:
    """``program`` with exact floats in the place of the integers that it stores, and without
    roundings whose scales are chosen while it runs."""
    graph = GraphEditor(program)
    for node in graph.nodes:
        if not is_quantization(node):
            continue
        integers: Any = node.args[0]
        if graph.is_constant(integers):
            name = graph.name_of(integers).replace(".integers", ".values")
            stored = graph.add_constant(exact_floats(graph, node), name)
            graph.replace(node, stored, "stored integers as floats")
        elif node.target is quantization_operators().dequantize_per_tensor.tensor:
            graph.replace(node, integers.args[0], "a rounding of the runtime's")
    return graph.result().program


def block_of(channels: int, block: int) -> int | None:
    """How many of a layer's input channels share a scale: the largest even number that divides them
    and is at most ``block`` and at least half of it; None where there is none."""
    sizes = range(block, block // 2 - 1, -1)
    return next((each for each in sizes if each % 2 == 0 and channels % each == 0), None)


def cut(values: np.ndarray, block: int, bits: int) -> tuple[np.ndarray, np.ndarray, int] | None:
    """The integers of weights (O, I, *kernel), the scales (O, blocks), and the bits, that stand for
    exactly ``values``: ``bits`` in blocks, or 8 with a scale for each output channel; None where
    there are none.

    Args:
        block: as in `block_of`.
    """
    if values.ndim < 2:
        return None
    size = block_of(values.shape[1], block)
    for width, each in ((bits, size), (8, values.shape[1])):
        found = in_blocks(values, each, width) if each is not None else None
        if found is not None:
            return *found, width
    return None


def in_blocks(values: np.ndarray, block: int, bits: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The integers of weights (O, I, *kernel) and the scales (O, I / block) that stand for exactly
    ``values``; None where there are none.

    The largest magnitude of a block is stored as the largest integer: that gives its scale to the
    last bit, which is tried.
    """
    if values.ndim < 2 or values.shape[1] % block:
        return None
    high = 2 ** (bits - 1) - 1
    places = (values.shape[0], values.shape[1] // block)
    rows = values.reshape(*places, -1)
    largest = np.abs(rows).max(-1)
    near = (largest.astype(np.float64) / high).astype(np.float32)
    near = np.where(largest > 0, near, np.float32(1))
    integers = np.zeros(rows.shape, np.int8)
    scales, found = near, np.zeros(places, bool)
    for each in (near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(1e30))):
        wide = each.astype(np.float64)[..., None]
        tried = np.rint(rows / wide).clip(-high, high)
        fits = ((tried * wide).astype(np.float32) == rows).all(-1) & ~found
        integers[fits] = tried[fits]
        scales = np.where(fits, each, scales)
        found |= fits
    return (integers.reshape(values.shape), scales) if found.all() else None

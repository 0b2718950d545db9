"""Depthwise convolutions of many taps as sums of depthwise convolutions of few.

    Σ_o w[o] x[s·p + o] = Σ_i Σ_{o in O_i} w[o] x[s·p + o]     with any partition O_1, O_2, … of o

XNNPACK, which runs TFLite files on the CPUs of phones, has depthwise kernels of up to `TAPS` taps.
A larger one (7x7 in ConvNeXt and FastViT) runs there as one matrix product of a single column per
channel, which is five times slower than four pieces (LiteRT 2.3, 48 channels of 64x64: 4.4 and
0.8 ms). A piece is a lattice: rows times columns, each equally spaced and symmetric about the
middle of the kernel. It so is a dilated convolution that pads both sides alike.

Only formats that ask for it in their row get this pass. It runs after all others, for which the
pieces would be branches to be merged.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor
from ..graph.layers import WeightedLayer, layer_of
from ..graph.ops import argument

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["split_depthwise"]

aten = torch.ops.aten

TAPS = 25
MOST_PIECES = 12
_KERNELS = (3, 4, 9, TAPS)  # taps of the kernels: a piece costs as much as the next larger one
_ADDITION = 5  # what adding a piece to the others costs, in taps

Lattice = tuple[int, int, int]
"""Taps along one axis: the first, the step, how many."""


def split_depthwise(program: Program) -> PassResult:
    """No depthwise convolution of more than `TAPS` taps is left."""
    graph = GraphEditor(program)
    for node in graph.find(aten.conv2d.default):
        layer = layer_of(graph, node)
        if not isinstance(layer, WeightedLayer) or not _is_depthwise(layer):
            continue
        rows, columns = layer.weight.shape[2:]
        if rows * columns <= TAPS:
            continue
        pieces = _pieces(rows, columns)
        if pieces is None:
            graph.refuse(node, f"{rows}x{columns} taps need more than {MOST_PIECES} pieces")
        elif not _fits(layer, pieces):
            graph.refuse(node, f"its padding {list(layer.padding)} is less than half its kernel")
        else:
            what = f"{rows}x{columns} taps in {len(pieces)} pieces"
            graph.replace(node, _sum_of(graph, layer, pieces), what)
    return graph.result()


def _is_depthwise(layer: WeightedLayer) -> bool:
    return layer.weight.shape[1] == 1 and layer.groups == layer.channels


def _fits(layer: WeightedLayer, pieces: tuple[tuple[Lattice, Lattice], ...]) -> bool:
    """Whether no piece would have to crop instead of pad."""
    return all(
        lattice[0] * step <= padding
        for piece in pieces
        for lattice, step, padding in zip(piece, layer.dilation, layer.padding, strict=True)
    )


def _sum_of(
    graph: GraphEditor, layer: WeightedLayer, pieces: tuple[tuple[Lattice, Lattice], ...]
) -> Node:
    """The sum of ``layer`` with only the taps of each piece; the first one has the bias."""
    node = layer.node
    total: Node | None = None
    for piece in pieces:
        (top, down, height), (left, right, width) = piece
        taps = layer.weight[:, :, top::down, left::right][:, :, :height, :width]
        weight = graph.derived(argument(node, "weight"), taps.contiguous(), f"{node.name}.weight")
        padding = [p - first * d for p, d, (first, _, _) in _per_axis(layer, piece)]
        dilation = [d * step for _, d, (_, step, _) in _per_axis(layer, piece)]
        bias = argument(node, "bias") if total is None else None
        numbers = (list(layer.stride), padding, dilation, layer.groups)
        part = graph.call(node.target, layer.source, weight, bias, *numbers, like=node)
        total = part if total is None else graph.call(aten.add.Tensor, total, part, like=node)
    assert total is not None
    return total


def _per_axis(
    layer: WeightedLayer, piece: tuple[Lattice, Lattice]
) -> Iterator[tuple[int, int, Lattice]]:
    """Padding, dilation and lattice of rows, then of columns."""
    return zip(layer.padding, layer.dilation, piece, strict=True)


@functools.cache
def _pieces(rows: int, columns: int) -> tuple[tuple[Lattice, Lattice], ...] | None:
    """The cheapest partition of a kernel into pieces of at most `TAPS` taps, or None."""
    best, least = None, math.inf
    for pair in itertools.product(_partitions(rows), _partitions(columns)):
        pieces = tuple(itertools.product(*pair))
        sizes = [down[2] * right[2] for down, right in pieces]
        if len(pieces) > MOST_PIECES or max(sizes) > TAPS:
            continue
        cost = sum(next(k for k in _KERNELS if size <= k) + _ADDITION for size in sizes)
        if cost < least:
            best, least = pieces, cost
    return best


def _partitions(size: int) -> Iterator[tuple[Lattice, ...]]:
    """Partitions of the taps 0 to ``size`` - 1 into lattices that are symmetric about the middle.

    All in one; every second and the rest; those in the middle, and pairs further out.
    """
    yield ((0, 1, size),)
    if size % 2 and size > 1:
        yield ((0, 2, size // 2 + 1), (1, 2, size // 2))
    for outer in range(1, size // 2 + 1):
        pairs = tuple((first, size - 1 - 2 * first, 2) for first in range(outer))
        middle = size - 2 * outer
        yield ((outer, 1, middle), *pairs) if middle else pairs

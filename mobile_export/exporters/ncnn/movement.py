"""Rules for layers that only move data."""

from __future__ import annotations

import math

from ...lowering import ir
from . import tables
from .files import NcnnLayer, Param
from .rules import Step, chain, layer_name, one_layer, reshape_to, rule

__all__ = ["slice_together"]


@rule(ir.Reshape)
def _reshape(layer: ir.Reshape) -> list[NcnnLayer]:
    return chain(layer, reshape_to(layer.output.shape))


@rule(ir.Permute)
def _permute(layer: ir.Permute) -> list[NcnnLayer]:
    return chain(layer, ("Permute", {0: tables.order_type(layer.order)}))


@rule(ir.Concat)
def _concat(layer: ir.Concat) -> list[NcnnLayer]:
    return [one_layer(layer, "Concat", {0: layer.axis})]


@rule(ir.Slice)
def _slice(layer: ir.Slice) -> list[NcnnLayer]:
    crop: Step = ("Crop", {9: (layer.start,), 10: (layer.stop,), 11: (layer.axis,)})
    if layer.step == 1:
        return chain(layer, crop)
    return _strided(layer, crop)


def _strided(layer: ir.Slice, crop: Step) -> list[NcnnLayer]:
    """Every ``step``-th position: crop, then the maximum of windows of one, ``step`` apart."""
    shape, axis = layer.input.shape, layer.axis
    size = layer.stop - layer.start
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    pooled = (outer, layer.output.shape[axis], inner)
    steps = [] if size == shape[axis] else [crop]
    if (*shape[:axis], size, *shape[axis + 1 :]) != (outer, size, inner):
        steps.append(reshape_to((outer, size, inner)))
    steps.append(("Pooling", {0: 0, 1: 1, 2: 1, 12: layer.step, 5: 1}))
    if layer.output.shape != pooled:
        steps.append(reshape_to(layer.output.shape))
    return chain(layer, *steps)


def slice_together(slices: list[ir.Slice]) -> NcnnLayer:
    """One ncnn ``Slice`` for slices that together are the whole of one axis, in order."""
    sizes = tuple(part.stop - part.start for part in slices)
    return NcnnLayer(
        "Slice",
        layer_name(slices[0].output),
        (slices[0].input.name,),
        tuple(part.name for part in slices),
        {0: sizes, 1: slices[0].axis},
    )


_PAD_IDS = {3: ((7, 8), (0, 1), (2, 3)), 2: ((0, 1), (2, 3)), 1: ((2, 3),)}
"""Per rank, the ids of (before, after) along each axis: front and behind, top and bottom, …"""


@rule(ir.Pad)
def _pad(layer: ir.Pad) -> list[NcnnLayer]:
    params: dict[int, Param] = {4: tables.PAD_MODES[layer.mode], 5: float(layer.value)}
    for ids, pair in zip(_PAD_IDS[len(layer.padding)], layer.padding, strict=True):
        params |= dict(zip(ids, pair, strict=True))
    return [one_layer(layer, "Padding", params)]


@rule(ir.Tile)
def _tile(layer: ir.Tile) -> list[NcnnLayer]:
    return chain(layer, ("Tile", {2: tuple(layer.repeats)}))


@rule(ir.PixelShuffle)
def _pixel_shuffle(layer: ir.PixelShuffle) -> list[NcnnLayer]:
    return chain(layer, ("PixelShuffle", {0: layer.factor}))


@rule(ir.PixelUnshuffle)
def _pixel_unshuffle(layer: ir.PixelUnshuffle) -> list[NcnnLayer]:
    return chain(layer, ("Reorg", {0: layer.factor}))

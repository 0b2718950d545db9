"""Rules of layers that move elements."""

from __future__ import annotations

import math

from ...lowering import ir
from .emit import Blob, Emitter, dims_of, rule

__all__: list[str] = []

_PAD_MODES = {"constant": 0, "reflect": 1}
_TO_DEPTH = 0
"""Reorg's ``forward``: 1 takes channels to space, 0 space to channels."""
_DEPTH_BY_CHANNEL = 1
"""Reorg's mode in which a channel's f x f elements stay together, as PyTorch has them."""


def pad_image(out: Emitter, x: Blob, padding: ir.Pairs, mode: int = 0, value: float = 0.0) -> Blob:
    """``x`` (1, C, H, W) with its last axes padded by pairs (before, after)."""
    pairs = ((0, 0),) * (3 - len(padding)) + padding
    dims = [n + sum(pair) for n, pair in zip(x.dims[1:], pairs, strict=True)]
    channels, rows, columns = pairs
    params = (0, 0, *rows, *columns, *channels, mode, value)
    return out.emit("Pad", [x], (1, *dims), *params)


def slice_axis(out: Emitter, x: Blob, axis: int, start: int, stop: int, step: int = 1) -> Blob:
    """``x[start:stop:step]`` along an axis of the blob."""
    dims = list(x.dims)
    dims[axis] = math.ceil((stop - start) / step)
    return out.emit("StridedSliceV2", [x], dims, 1, start, 1, stop, 1, axis, 1, step)


@rule(ir.Reshape)
def _reshape(layer: ir.Reshape, out: Emitter) -> Blob:
    return out.reshape(out.input(layer), dims_of(layer.output.shape))


@rule(ir.Permute)
def _permute(layer: ir.Permute, out: Emitter) -> Blob:
    x = out.input(layer)
    extra = len(x.dims) - len(layer.order)
    return out.permute(x, (*range(extra), *(axis + extra for axis in layer.order)))


@rule(ir.Concat)
def _concat(layer: ir.Concat, out: Emitter) -> Blob:
    blobs = out.inputs(layer)
    axis = blobs[0].axis(layer.axis, len(layer.output.shape))
    return out.concat(blobs, dims_of(layer.output.shape), axis)


@rule(ir.Slice)
def _slice(layer: ir.Slice, out: Emitter) -> Blob:
    x = out.input(layer)
    axis = x.axis(layer.axis, len(layer.input.shape))
    return slice_axis(out, x, axis, layer.start, layer.stop, layer.step)


@rule(ir.Pad)
def _pad(layer: ir.Pad, out: Emitter) -> Blob:
    x = out.input(layer)
    pairs = ((0, 0),) * (len(x.dims) - len(layer.padding)) + layer.padding
    if layer.mode == "replicate":
        return _repeat_edges(out, x, pairs)
    if layer.mode == "reflect" or len(layer.padding) == 3:
        return pad_image(out, x, layer.padding, _PAD_MODES[layer.mode], layer.value)
    none: ir.Pairs = ((0, 0),)
    for step in (pairs[:1] + none * (len(pairs) - 1), none + pairs[1:]):  # ARM: batch by itself
        x = _pad_blob(out, x, step, layer.value)
    return x


def _pad_blob(out: Emitter, x: Blob, pairs: ir.Pairs, value: float) -> Blob:
    """By constants only: on ARM, ``PadV2`` does not reflect along channels."""
    before, after = zip(*pairs, strict=True)
    dims = [n + sum(pair) for n, pair in zip(x.dims, pairs, strict=True)]
    if not any(map(any, pairs)):
        return x
    return out.emit("PadV2", [x], dims, len(pairs), *before, *after, _PAD_MODES["constant"], value)


def _repeat_edges(out: Emitter, x: Blob, pairs: ir.Pairs) -> Blob:
    """Edges of ``x`` joined to it: Pad's own mode for this fails on TNN's devices."""
    for axis, (before, after) in enumerate(pairs):
        size = x.dims[axis]
        parts = [slice_axis(out, x, axis, 0, 1)] * before if before else []
        parts.append(x)
        parts += [slice_axis(out, x, axis, size - 1, size)] * after if after else []
        if len(parts) > 1:
            dims = list(x.dims)
            dims[axis] += before + after
            x = out.concat(parts, dims, axis)
    return x


@rule(ir.Tile)
def _tile(layer: ir.Tile, out: Emitter) -> Blob:
    x = out.input(layer)
    repeats = (1,) * (len(x.dims) - len(layer.repeats)) + layer.repeats
    return out.emit("Tile", [x], dims_of(layer.output.shape), *repeats)


@rule(ir.PixelShuffle)
def _pixel_shuffle(layer: ir.PixelShuffle, out: Emitter) -> Blob:
    dims = dims_of(layer.output.shape)
    return out.emit("PixelShuffle", [out.input(layer)], dims, layer.factor)


@rule(ir.PixelUnshuffle)
def _pixel_unshuffle(layer: ir.PixelUnshuffle, out: Emitter) -> Blob:
    dims = dims_of(layer.output.shape)
    params = (layer.factor, _TO_DEPTH, 0, _DEPTH_BY_CHANNEL)
    return out.emit("Reorg", [out.input(layer)], dims, *params)

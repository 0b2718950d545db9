"""Which layers a phone must not compute in float16.

ncnn's default options store blobs and compute in float16 where the processor can. A value beyond
float16's range would become infinity there, so its layers, and those that take it, get ncnn's mask:
storage in float32. Where only a sum on the way to the result is too large, arithmetic in float32 is
enough. What is too large is measured on the parity inputs, with a margin, because other images will
give other values. A layer whose kernel for ARM is wrong in float16 computes in float32, too.

Where rounding to float16 alone costs most of what parity allows, small layers stay in float32, too:
tokens, gates, squeezed vectors, which touch every pixel afterwards and cost little.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

import numpy as np

from ..layers import ir
from ..layers.reference import run_values
from .files import FLOAT16_MAX, NO_FLOAT16_ARITHMETIC, NO_FLOAT16_STORAGE

__all__ = ["float32_masks"]

_ALL = NO_FLOAT16_ARITHMETIC | NO_FLOAT16_STORAGE
LIMIT = FLOAT16_MAX / 4
ROUNDING = 8e-3
"""Largest error that rounding to float16 may cause, relative to the largest output."""
SMALL_VALUE = 1 << 12
SMALL_WEIGHTS = 1 << 17
"""Elements at most of a layer that is kept in float32 where it causes more."""


def float32_masks(graph: ir.LayerGraph, images: Sequence[np.ndarray]) -> dict[str, int]:
    """Masks by name of the layer's output; layers that float16 can hold are not in it.

    Args:
        images: inputs of the program, (1, C, H, W), on which the values are measured in float64.
    """
    largest: dict[str, float] = {}
    outputs: list[list[np.ndarray]] = []
    for image in images:
        values = run_values(graph, image)
        outputs.append([values[value.name] for value in graph.outputs])
        for name, value in values.items():
            largest[name] = max(largest.get(name, 0.0), _largest(value))
    masks: dict[str, int] = {}
    for layer in graph.layers:
        touched = [layer.name, *(value.name for value in layer.inputs)]
        if any(largest[name] > LIMIT for name in touched):
            masks[layer.name] = _ALL
            continue
        total = _terms(layer) * largest[layer.input.name if layer.inputs else layer.name]
        if total > LIMIT or _wrong_in_float16(layer):
            masks[layer.name] = NO_FLOAT16_ARITHMETIC
    half = {x.name for x in graph.layers if not masks.get(x.name, 0) & NO_FLOAT16_STORAGE}
    if any(_error(graph, i, o, half) > ROUNDING for i, o in zip(images, outputs, strict=True)):
        masks |= {layer.name: _ALL for layer in graph.layers if _is_small(layer)}
    return masks


def _error(
    graph: ir.LayerGraph, image: np.ndarray, exact: Sequence[np.ndarray], half: Container[str]
) -> float:
    """Largest error of an output when the results of the layers ``half`` are rounded to float16,
    relative to the output's largest magnitude."""
    values = run_values(graph, image, half=half)
    pairs = zip((values[value.name] for value in graph.outputs), exact, strict=True)
    return max(_largest(got - true) / (_largest(true) or 1.0) for got, true in pairs)


def _is_small(layer: ir.Layer) -> bool:
    values = (*layer.inputs, layer.output)
    weights = [array for array in layer.attributes.values() if isinstance(array, np.ndarray)]
    return (
        max(math.prod(value.shape) for value in values) <= SMALL_VALUE
        and sum(array.size for array in weights) <= SMALL_WEIGHTS
    )


def _wrong_in_float16(layer: ir.Layer) -> bool:
    """Whether ncnn's ARM kernel for it is wrong, whatever the numbers.

    ``convdw3x3s2_pack8_fp16sa`` (ncnn 20261020, run under qemu) is off by half of the largest
    result in the last columns when the width of the result is 2 or 3 more than a multiple of 4.
    """
    return (
        isinstance(layer, ir.Convolution)
        and layer.groups == layer.input.shape[0] == layer.output.shape[0]
        and layer.groups % 8 == 0
        and (layer.kernel, layer.stride, layer.dilation) == ((3, 3), (2, 2), (1, 1))
        and layer.output.shape[-1] % 4 in (2, 3)
    )


def _largest(value: np.ndarray) -> float:
    """The largest finite magnitude: an infinity that the model means is one in float16, too."""
    magnitudes = np.abs(value)
    return float(magnitudes.max(initial=0.0, where=np.isfinite(magnitudes)))


def _terms(layer: ir.Layer) -> int:
    """How many elements of its input a layer sums before it divides."""
    if isinstance(layer, ir.Pool):
        return math.prod(layer.kernel) if layer.mode == "avg" else 1
    if isinstance(layer, ir.Reduce):
        return math.prod(layer.input.shape[axis] for axis in layer.axes)
    return 1

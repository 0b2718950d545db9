"""Which layers a phone must not compute in float16.

ncnn's default options store blobs and compute in float16 where the processor can. A value beyond
float16's range would become infinity there, so its layers, and those that take it, get ncnn's mask:
storage in float32. Where only a sum on the way to the result is too large, arithmetic in float32 is
enough. What is too large is measured on the parity inputs, with a margin, because other images will
give other values. A layer whose kernel for ARM is wrong in float16 computes in float32, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...lowering import ir
from ...lowering.reference import run_values
from .files import FEATURE_MASK, FLOAT16_MAX, NO_FLOAT16_ARITHMETIC, NO_FLOAT16_STORAGE, NcnnLayer

__all__ = ["float32_masks", "with_conversions"]

LIMIT = FLOAT16_MAX / 4


def float32_masks(
    graph: ir.LayerGraph,
    images: Sequence[np.ndarray | Sequence[np.ndarray]],
    *,
    widths_vary: bool = False,
) -> dict[str, int]:
    """Masks by name of the layer's output; layers that float16 can hold are not in it.

    Args:
        images: inputs of the program, (1, C, H, W), on which the values are measured in float64; of
            a program with several, one for each of them.
    """
    largest: dict[str, float] = {}
    for image in images:
        given = [image] if isinstance(image, np.ndarray) else image
        for name, value in run_values(graph, *given).items():
            largest[name] = max(largest.get(name, 0.0), _largest(value))
    masks: dict[str, int] = {}
    for layer in graph.layers:
        touched = [layer.name, *(value.name for value in layer.inputs)]
        if any(largest[name] > LIMIT for name in touched):
            masks[layer.name] = NO_FLOAT16_ARITHMETIC | NO_FLOAT16_STORAGE
            continue
        total = _terms(layer) * largest[layer.input.name if layer.inputs else layer.name]
        if total > LIMIT or _wrong_in_float16(layer, widths_vary):
            masks[layer.name] = NO_FLOAT16_ARITHMETIC
    return masks


def _wrong_in_float16(layer: ir.Layer, widths_vary: bool) -> bool:
    """Whether ncnn's ARM kernel for it is wrong, whatever the numbers.

    ``convdw3x3s2_pack8_fp16sa`` (ncnn 20261020, run under qemu) is off by half of the largest
    result in the last columns when the width of the result is 2 or 3 more than a multiple of 4.
    """
    return (
        isinstance(layer, ir.Convolution)
        and layer.groups == layer.input.shape[0] == layer.output.shape[0]
        and layer.groups % 8 == 0
        and (layer.kernel, layer.stride, layer.dilation) == ((3, 3), (2, 2), (1, 1))
        and (widths_vary or layer.output.shape[-1] % 4 in (2, 3))
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


def with_conversions(layers: Sequence[NcnnLayer]) -> list[NcnnLayer]:
    """``layers`` with a conversion where one that stores float32 takes a blob stored in float16.

    ncnn (20261020) gives a layer whose mask forbids storage in float16 such a blob as it is, and
    the layer's kernel reads it as float32: on ARM it crashes. For a layer that has no float16 form
    at all ncnn does convert; `Dropout`, which changes nothing in inference, is such a layer. Every
    taker gets its own, because a ``Split`` between would convert back.
    """
    exact: set[str] = set()
    made: list[NcnnLayer] = []
    for layer in layers:
        inputs = list(layer.inputs)
        if _stores_float32(layer):
            for place, blob in enumerate(layer.inputs):
                if blob not in exact:
                    inputs[place] = f"{layer.outputs[0]}:float32_{place}"
                    made.append(NcnnLayer("Dropout", inputs[place], (blob,), (inputs[place],)))
        if layer.type == "Input" or _stores_float32(layer):
            exact.update(layer.outputs)
        made.append(replace(layer, inputs=tuple(inputs)))
    return made


def _stores_float32(layer: NcnnLayer) -> bool:
    mask = layer.params.get(FEATURE_MASK, 0)
    return isinstance(mask, int) and bool(mask & NO_FLOAT16_STORAGE)

"""Layers of ncnn that multiply integers.

Param 8 (``int8_scale_term``) says so: 1 for ``ConvolutionDepthWise``, which then has a scale for
each group, 2 for ``Convolution`` and ``InnerProduct``, which have one for each output channel. In
the ``.bin`` the weights are int8, behind them the bias in float32, the scales of the weights and
the scale of the input. A scale of ncnn is what a number is multiplied by: 1 / step. A layer rounds
its input to the nearest integer, halves away from zero, from -127 to 127 (``quantize.cpp``).

With 100 more the layer gives integers, by one more scale, which the next one takes as they are:
``ncnn2int8`` does that between convolutions, and so does `with_handed_on`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from ...lowering import ir
from ...lowering.integers import integer_weights
from .files import FEATURE_MASK, NcnnLayer, Param, Weight

__all__ = ["TERM", "GIVES_INTEGERS", "of_layer", "with_handed_on"]

TERM = 8
GIVES_INTEGERS = 100
_GIVING = ("Convolution", "ConvolutionDepthWise")


def of_layer(
    layer: ir.Convolution | ir.Linear, groups: int = 1
) -> tuple[dict[int, Param], tuple[Weight, ...]]:
    """The param and the weights of a layer with steps."""
    assert layer.steps is not None
    scales = 1.0 / layer.steps.weights
    if groups > 1:
        scales = scales.reshape(groups, -1)[:, 0]
    bias = [] if layer.bias is None else [layer.bias]
    bare = [*bias, scales, np.array([1.0 / layer.steps.source])]
    weights = (Weight(integer_weights(layer)), *(Weight(each, flagged=False) for each in bare))
    return {TERM: 1 if groups > 1 else 2}, weights


def with_handed_on(layers: Sequence[NcnnLayer], outputs: Collection[str]) -> list[NcnnLayer]:
    """With convolutions that give integers where all that read them would round to the same ones.

    Args:
        layers: in which a blob may have any number of consumers.
        outputs: blobs that somebody else reads.
    """
    readers: dict[str, list[NcnnLayer]] = {}
    for layer in layers:
        for blob in layer.inputs:
            readers.setdefault(blob, []).append(layer)
    return [_handing_on(layer, readers, outputs) for layer in layers]


def _handing_on(
    layer: NcnnLayer, readers: dict[str, list[NcnnLayer]], outputs: Collection[str]
) -> NcnnLayer:
    if layer.type not in _GIVING or TERM not in layer.params or layer.outputs[0] in outputs:
        return layer
    taking = readers.get(layer.outputs[0], [])
    if not taking or not all(each.type in _GIVING and TERM in each.params for each in taking):
        return layer
    if any(FEATURE_MASK in each.params for each in (layer, *taking)):  # see `with_conversions`
        return layer
    scales = {float(each.weights[-1].value[0]) for each in taking}
    if len(scales) > 1:
        return layer
    term = layer.params[TERM]
    assert isinstance(term, int)
    given = Weight(np.array([scales.pop()]), flagged=False)
    return replace(
        layer,
        params={**layer.params, TERM: term + GIVES_INTEGERS},
        weights=(*layer.weights, given),
    )

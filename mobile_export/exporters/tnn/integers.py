"""Layers of TNN that multiply integers.

A layer whose type begins with ``Quantized`` reads and makes blobs of int8, each with one scale,
which stands among the weights under the name of the blob (`files.SCALE_SUFFIX`). Between such a
layer and one of floats TNN puts a ``Reformat`` when it loads a file
(``NetOptimizerInsertInt8Reformat``); it is in no file. Behind the int8 weights and the int32 bias
stands the scale of the sums: that of the input times those of the weights, one for each output
channel.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ...lowering import ir
from ...lowering.integers import integer_biases, integer_weights
from .emit import Blob, Emitter
from .files import Field, Weight

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["multiply"]


def multiply(
    out: Emitter,
    layer: ir.Convolution | ir.Linear,
    x: Blob,
    dims: Iterable[int],
    params: tuple[int, ...],
    weight: np.ndarray,
) -> Blob:
    """A layer of integers, with the scales of what it reads and makes.

    Args:
        weight: as the file has it, in the layout of its kernel.
    """
    steps = layer.steps
    assert steps is not None
    assert steps.result is not None
    x = out.of_scale(x, steps.source)
    integers = Weight(integer_weights(dataclasses.replace(layer, weight=weight)))
    scales = Weight((steps.source * steps.weights).astype(np.float32))
    bias = None if layer.bias is None else Weight(integer_biases(layer))
    fields: tuple[Field, ...]
    if isinstance(layer, ir.Convolution):
        biases = () if bias is None else (bias,)
        type_, fields = "QuantizedConvolution", (len(biases), integers, *biases, scales)
    else:
        none = Weight(np.zeros(0, np.int32))
        type_, fields = "QuantizedInnerProduct", (integers, bias or none, scales)
    made = out.emit(type_, [x], dims, *params, fields=(out.next_name(), *fields))
    return out.of_scale(made, steps.result)

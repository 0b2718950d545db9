"""Convolutions that ncnn computes in Winograd's form, and how to have them computed as they are.

The float32 result of that form (3x3, stride 1) is some 1e-6 of its largest value off, ten to fifty
times what the sums of the direct form are. In front of a sigmoid or a tanh that shows: behind it
nothing is larger than 1, and sums of 30 that are 3e-5 off make gates that are 3e-5 off.
"""

from __future__ import annotations

from ...lowering import ir
from .files import NO_WINOGRAD

__all__ = ["direct_masks"]


def direct_masks(graph: ir.LayerGraph) -> dict[str, int]:
    """Masks by name of the layer's output, for all that ncnn has the form for."""
    return {
        layer.name: NO_WINOGRAD
        for layer in graph.layers
        if isinstance(layer, ir.Convolution) and _has_winograd(layer)
    }


def _has_winograd(layer: ir.Convolution) -> bool:
    square, ones = layer.kernel == (3, 3), (1, 1)
    return square and layer.groups == 1 and layer.stride == ones and layer.dilation == ones

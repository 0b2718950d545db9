"""Cleaning a layer graph, and what a writer may ask for beyond it.

`simplify` runs at the end of every lowering; `fuse_activations` is for a writer whose runtime
applies some functions inside a convolution or a linear layer, `unfold_as_convolutions` for one
whose runtime cuts windows best with a convolution.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Container, Sequence

from . import ir

__all__ = ["fuse_activations", "simplify", "unfold_as_convolutions"]

_FUSING = (ir.Convolution, ir.ConvTranspose, ir.Linear)


def simplify(graph: ir.LayerGraph, whole: Container[str] = ()) -> ir.LayerGraph:
    """Without layers that nothing uses, with every run of reshapes as one, and with no tap of a
    convolution that only ever sees padding.

    Args:
        whole: nodes of the program whose weights stay as they are: the integers of a plan.
    """
    layers, outputs = _join_reshapes(graph)
    alive = tuple(
        _without_idle_taps(layer)
        if isinstance(layer, ir.Convolution) and layer.output.node not in whole
        else layer
        for layer in _alive(layers, outputs)
    )
    return dataclasses.replace(graph, layers=alive, outputs=outputs)


def fuse_activations(
    graph: ir.LayerGraph, functions: Collection[ir.NonlinearityName]
) -> ir.LayerGraph:
    """With activations of ``functions`` inside the layer before, where nobody else takes its
    output. The fused layer has the name of the activation."""
    users = graph.users()
    makers = {layer.output: layer for layer in graph.layers}
    fused: dict[ir.Value, ir.Layer] = {}  # by the output of the activation
    gone: set[ir.Value] = set()
    for layer in graph.layers:
        if not isinstance(layer, ir.Activation) or layer.function.name not in functions:
            continue
        before = makers.get(layer.input)
        if not isinstance(before, _FUSING) or before.activation is not None:
            continue
        if len(users[before.output]) > 1 or before.output in graph.outputs:
            continue
        fused[layer.output] = dataclasses.replace(
            before, output=layer.output, activation=layer.function
        )
        gone.add(before.output)
    layers = tuple(
        fused.get(layer.output, layer) for layer in graph.layers if layer.output not in gone
    )
    return dataclasses.replace(graph, layers=layers)


def unfold_as_convolutions(graph: ir.LayerGraph) -> ir.LayerGraph:
    """With every `ir.Unfold` as a depthwise convolution that picks the elements of each window.

    Each weight is 0 or 1, so it is exact in every precision.
    """
    layers = tuple(
        _picking(layer) if isinstance(layer, ir.Unfold) else layer for layer in graph.layers
    )
    return dataclasses.replace(graph, layers=layers)


def _picking(layer: ir.Unfold) -> ir.Convolution:
    import numpy as np

    channels, taps = layer.input.shape[0], math.prod(layer.kernel)
    one = np.eye(taps, dtype=np.float32).reshape(taps, 1, *layer.kernel)
    return _without_idle_taps(
        ir.Convolution(
            inputs=layer.inputs,
            output=layer.output,
            weight=np.tile(one, (channels, 1, *[1] * len(layer.kernel))),
            bias=None,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=channels,
        )
    )


def _join_reshapes(
    graph: ir.LayerGraph,
) -> tuple[list[ir.Layer], tuple[ir.Value, ...]]:
    """Every reshape starts from what is not itself one; those that change nothing are gone."""
    origin: dict[ir.Value, ir.Value] = {}  # of a reshaped value: what it was before
    same: dict[ir.Value, ir.Value] = {}
    made: dict[tuple[ir.Value, ir.Shape], ir.Value] = {}
    layers: list[ir.Layer] = []
    for layer in graph.layers:
        inputs = tuple(same.get(value, value) for value in layer.inputs)
        if isinstance(layer, ir.Reshape):
            source = origin.get(inputs[0], inputs[0])
            key = (source, layer.output.shape)
            if source.shape == layer.output.shape or key in made:
                same[layer.output] = made.get(key, source)
                continue
            made[key] = layer.output
            origin[layer.output] = source
            inputs = (source,)
        layers.append(dataclasses.replace(layer, inputs=inputs))
    return layers, tuple(same.get(value, value) for value in graph.outputs)


def _without_idle_taps(layer: ir.Convolution) -> ir.Convolution:
    """The same convolution with a smaller kernel, where the image is smaller than its reach.

    A 3x3 kernel of dilation 24 on 16x16 pixels is a 1x1 kernel: DeepLab on a small image. It saves
    eight of nine products, and TNN's x86 device computes a dilation above the image's size wrong.
    """
    slices, padding = [slice(None), slice(None)], []
    for axis, size in enumerate(layer.input.shape[1:]):
        dilation, (before, after) = layer.dilation[axis], layer.padding[axis]
        reach = (layer.output.shape[1 + axis] - 1) * layer.stride[axis]
        starts = [tap * dilation - before for tap in range(layer.kernel[axis])]
        used = [tap for tap, start in enumerate(starts) if start < size and start + reach >= 0]
        first, last = (used[0], used[-1]) if used else (0, len(starts) - 1)
        first = min(first, before // dilation)
        last = max(last, len(starts) - 1 - after // dilation)
        slices.append(slice(first, last + 1))
        padding.append((before - first * dilation, after - (len(starts) - 1 - last) * dilation))
    weight = layer.weight[tuple(slices)]
    return dataclasses.replace(layer, weight=weight, padding=tuple(padding))


def _alive(layers: Sequence[ir.Layer], outputs: Sequence[ir.Value]) -> tuple[ir.Layer, ...]:
    needed = set(outputs)
    kept: list[ir.Layer] = []
    for layer in reversed(layers):
        if layer.output in needed:
            kept.append(layer)
            needed.update(layer.inputs)
    return tuple(reversed(kept))

"""Depthwise convolutions with several outputs per channel, with the channels repeated instead.

    y[c·m + j] = w[c·m + j] * x[c]   for m outputs per channel   (* is the convolution)
    z[j·C + c] = w[c·m + j] * x'[j·C + c]   with x' = x, x, … m times

z is y in another order of channels, which the layer behind takes with its weights in that order.
Depthwise kernels are for m = 1 only: others run in XNNPACK (TFLite) as matrix products of m
columns, in onnxruntime outside its blocked layout, in TNN and ncnn one group at a time. FastViT-T8
as a whole takes 0.94 of the time in onnxruntime and 0.93 in ncnn (x86).

Only formats that ask for it in their row get this pass, and it runs after all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, where
from ..graph.layers import WeightedLayer, layer_of
from ..graph.ops import argument, is_call, is_elementwise

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["repeat_channels"]

aten = torch.ops.aten


def repeat_channels(program: Program) -> PassResult:
    """Every depthwise convolution has one output per channel, where the next layer allows it."""
    graph = GraphEditor(program)
    for node in graph.find(aten.conv2d.default):
        layer = layer_of(graph, node)
        if not isinstance(layer, WeightedLayer) or layer.weight.shape[1] != 1 or layer.groups == 1:
            continue
        times = layer.channels // layer.groups
        if times == 1:
            continue
        user = _next_layer(graph, node)
        if isinstance(user, str):
            graph.refuse(node, f"{times} outputs per channel in another order: {user}")
            continue
        order = torch.arange(layer.channels).reshape(layer.groups, times).T.flatten()
        _take_in_order(graph, user, order)
        graph.replace(node, _repeated(graph, layer, order), f"its channels repeated {times} times")
    return graph.result()


def _next_layer(graph: GraphEditor, node: Node) -> WeightedLayer | str:
    """The one layer that takes ``node``, elementwise calls between, or why there is none."""
    user = graph.only_user(node)
    while user is not None and is_elementwise(user):
        user = graph.only_user(user)
    if user is None:
        return "it has several users"
    layer = layer_of(graph, user)
    if (
        not isinstance(layer, WeightedLayer)
        or not is_call(user, aten.conv2d.default)
        or layer.groups != 1
    ):
        return f"{where(user)} is no convolution of one group with stored weights"
    return layer


def _take_in_order(graph: GraphEditor, layer: WeightedLayer, order: torch.Tensor) -> None:
    """Let ``layer`` take its input channels in another order."""
    node = layer.node
    origin = argument(node, "weight")
    weight = graph.derived(origin, layer.weight[:, order], f"{node.name}.weight")
    node.replace_input_with(origin, weight)


def _repeated(graph: GraphEditor, layer: WeightedLayer, order: torch.Tensor) -> Node:
    """``layer`` on its source repeated, with its output channels in ``order``."""
    node = layer.node
    times = layer.channels // layer.groups
    source = graph.call(aten.cat.default, [layer.source] * times, 1, like=node)
    origin, bias = argument(node, "weight"), None
    weight = graph.derived(origin, layer.weight[order], f"{node.name}.weight")
    if layer.bias is not None:
        bias = graph.derived(argument(node, "bias"), layer.bias[order], f"{node.name}.bias")
    numbers = [list(value) for value in (layer.stride, layer.padding, layer.dilation)]
    return graph.call(node.target, source, weight, bias, *numbers, layer.channels, like=node)

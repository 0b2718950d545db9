"""Compose two linear layers in a row into one, where that is exact and not dearer.

    W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2)

for linear layers, and for convolutions of which one is 1x1 without padding: the other one's kernel,
dilation and padding stay, strides multiply. A kernel that pads with zeros after a 1x1 convolution
with a bias sees 0 at the border where that gives b1, so this is refused. Two kernels larger than
1x1 are left alone: together they cost more, or their borders differ.

Not dearer: no more multiplications than the two together. A narrow middle (a factorised layer)
stays. Nothing else may see what lies between.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of, where
from ..graph.layers import WeightedLayer, layer_of, regrouped
from ..graph.ops import CONVS, argument

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["compose_layers"]

aten = torch.ops.aten


def compose_layers(program: Program) -> PassResult:
    """One layer where two follow each other with nothing between."""
    graph = GraphEditor(program)
    for node in graph.find(aten.linear.default, *CONVS):
        second = layer_of(graph, node)
        first = layer_of(graph, second.source) if isinstance(second, WeightedLayer) else None
        if not isinstance(second, WeightedLayer) or not isinstance(first, WeightedLayer):
            continue
        if first.transposed or graph.only_user(first.node) is not node:
            continue
        composed = _composed(first, second)
        if isinstance(composed, str):
            graph.refuse(node, composed)
            continue
        now, then = _macs(first) + _macs(second), _macs(composed)
        pair = f"{where(first.node)} and {where(node)}"
        if then > now:
            graph.refuse(node, f"{pair} would cost {then} multiplications instead of {now}")
            continue
        new = _call(graph, composed, node)
        graph.replace(node, new, f"{pair} are one layer: {then} multiplications, not {now}")
        graph.sweep()
    return graph.result()


def _composed(first: WeightedLayer, second: WeightedLayer) -> WeightedLayer | str:
    """``second`` after ``first``, or why the two are not one layer."""
    if first.rank != second.rank:
        return f"{where(first.node)} and {where(second.node)} are not layers of one kind"
    after = _is_point(second)
    if not after and not (_is_point(first) and set(first.stride) <= {1}):
        return f"{where(first.node)} and {where(second.node)} both look at neighbours"
    if not after and any(second.padding) and first.bias is not None and first.bias.any():
        worst = int(first.bias.abs().argmax())
        return (
            f"{where(second.node)} pads with zeros (padding {list(second.padding)}) after a bias "
            f"of {float(first.bias[worst]):.3g} in channel {worst} of {where(first.node)}"
        )
    groups = math.gcd(first.groups, second.groups)
    one, two = (regrouped(layer.weight, layer.groups, groups) for layer in (first, second))
    bias = _bias(two, groups, first.bias, second.bias)
    kernel = first if after else second
    return replace(
        second,
        source=first.source,
        weight=_product(two, one, groups),
        bias=bias,
        stride=tuple(a * b for a, b in zip(first.stride, second.stride, strict=True)),
        padding=kernel.padding,
        dilation=kernel.dilation,
        groups=groups,
    )


def _is_point(layer: WeightedLayer) -> bool:
    """Whether every output sees one pixel."""
    return math.prod(layer.weight.shape[2:]) == 1 and not any(layer.padding)


def _product(two: Tensor, one: Tensor, groups: int) -> Tensor:
    """Weights (out, middle / groups, *k2) and (middle, in / groups, *k1) as (out, in / groups, *k).

    One of k1 and k2 is all ones, so one of the two sums below has a single term.
    """
    kernel = one.shape[2:] if math.prod(two.shape[2:]) == 1 else two.shape[2:]
    left = two.reshape(groups, two.shape[0] // groups, two.shape[1], -1)
    right = one.reshape(groups, one.shape[0] // groups, one.shape[1], -1)
    total = torch.einsum("gomk,gmil->goikl", left, right)
    return total.reshape(two.shape[0], one.shape[1], *kernel)


def _bias(two: Tensor, groups: int, first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None:
        return second
    left = two.flatten(2).sum(2) if two.ndim > 2 else two
    blocks = left.reshape(groups, -1, left.shape[1])
    passed = torch.einsum("gom,gm->go", blocks, first.reshape(groups, -1)).flatten()
    return passed if second is None else passed + second


def _macs(layer: WeightedLayer) -> int:
    """Multiplications of one run."""
    shape = shape_of(layer.node)
    return layer.weight.numel() * (math.prod(shape) // shape[layer.axis])


def _call(graph: GraphEditor, layer: WeightedLayer, like: Node) -> Node:
    origin = argument(like, "weight")
    weight = graph.derived(origin, layer.weight, f"{like.name}.weight")
    bias = None
    if layer.bias is not None:
        name = re.sub(r"\.weight(_\d+)?$", "", graph.name_of(origin)) or like.name
        bias = graph.derived(argument(like, "bias"), layer.bias, f"{name}.bias")
    if not layer.rank:
        return graph.call(aten.linear.default, layer.source, weight, bias, like=like)
    numbers = [list(value) for value in (layer.stride, layer.padding, layer.dilation)]
    args = (layer.source, weight, bias, *numbers, layer.groups)
    return graph.call(like.target, *args, like=like)

"""A piece of linear(x) along its outputs is linear(x) with these rows of the weight alone.

``q, k, v = chunk(linear(x))`` computes one tensor, moves it as a whole and cuts it; three layers
give each piece in the order that its user wants.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from ..graph.chains import tail_of, trace_back, write
from ..graph.editor import GraphEditor, shape_of
from ..graph.layers import WeightedLayer, layer_of
from ..graph.ops import argument, is_call, is_private, source_of
from ..graph.rearrange import GRAPH_PRICES, MAX_RANK, Rearrangement, compose

__all__ = ["SPLITS", "split_layer"]

aten = torch.ops.aten
SPLITS = (aten.split_with_sizes.default, aten.split.Tensor, aten.chunk.default, aten.unbind.int)

SPLIT_PRICE = 10


def split_layer(graph: GraphEditor, node: Node) -> None:
    """Compute the pieces of a split layer apart where that moves less."""
    root, forward = trace_back(source_of(node))
    layer = layer_of(graph, root)
    if not isinstance(layer, WeightedLayer) or layer.transposed or layer.groups != 1:
        return
    items = list(node.users)
    private = is_private(graph, source_of(node), root)
    if not private or not all(is_call(item, operator.getitem) for item in items):
        return
    axis = argument(node, "dim") % len(shape_of(source_of(node)))
    exact = _exact_cut(forward, layer, axis)
    if exact is None:
        return
    factors, order, first, count, mine = exact
    rows = factors[first : first + count]
    unbound = is_call(node, aten.unbind.int)
    sizes = [1 if unbound else piece.shape[axis] for piece in node.meta["val"]]
    paths: list[Rearrangement] = []
    now, apart = SPLIT_PRICE + forward.cost(GRAPH_PRICES), 0.0
    for item in items:
        resized = list(factors)
        resized[mine] = sizes[item.args[1]]  # type: ignore[index]
        shape = list(forward.before)
        shape[layer.axis] = shape[layer.axis] // factors[mine] * resized[mine]
        path = Rearrangement(
            tuple(shape), tuple(resized), tuple(order), shape_of(item)
        ).simplified()
        onward = tail_of(graph, item).rearrangement
        whole = compose(path, onward)
        if whole is None:
            return
        paths.append(path)
        now, apart = now + onward.cost(GRAPH_PRICES), apart + whole.cost(GRAPH_PRICES)
    if apart >= now and len(forward.after) <= MAX_RANK:
        return
    for item, path in zip(items, paths, strict=True):
        number: Any = item.args[1]
        start, size = sum(sizes[:number]), sizes[number]

        def piece(values: torch.Tensor, start: int = start, size: int = size) -> torch.Tensor:
            rest = values.shape[1:]
            picked = values.reshape(*rows, *rest).narrow(mine - first, start, size)
            return picked.reshape(-1, *rest)

        part = _call_again(graph, layer, piece)
        graph.replace(item, write(graph, part, path, item))
    graph.changed(node, f"{len(items)} pieces of {root.name} computed apart")


def _call_again(
    graph: GraphEditor, layer: WeightedLayer, piece: Callable[[torch.Tensor], torch.Tensor]
) -> Node:
    """The call of ``layer`` with pieces of its weight and bias."""
    root = layer.node
    weight = graph.derived(argument(root, "weight"), piece(layer.weight), f"{root.name}.weight")
    bias = None
    if layer.bias is not None:
        bias = graph.derived(argument(root, "bias"), piece(layer.bias), f"{root.name}.bias")
    if not layer.rank:
        return graph.call(aten.linear.default, layer.source, weight, bias, like=root)
    numbers = [list(value) for value in (layer.stride, layer.padding, layer.dilation)]
    return graph.call(root.target, layer.source, weight, bias, *numbers, like=root)


def _exact_cut(
    forward: Rearrangement, layer: WeightedLayer, axis: int
) -> tuple[list[int], list[int], int, int, int] | None:
    """Factors of ``forward`` that end where the channels of ``layer`` do, and one that is ``axis``.

    Returns:
        Factors and order; the first factor of the channels and how many there are; the one that is
        exactly ``axis`` of the result. None when there are no such factors.
    """
    cut = forward.cut()
    if cut is None:
        return None
    factors = list(cut.factors)
    lead = math.prod(forward.before[: layer.axis % len(forward.before)])
    first = 0
    while math.prod(factors[:first]) < lead:
        first += 1
    count = 0
    while math.prod(factors[first : first + count]) < layer.channels and first + count < len(
        factors
    ):
        count += 1
    channels = math.prod(factors[first : first + count])
    if math.prod(factors[:first]) != lead or channels != layer.channels:
        return None
    mine = cut.factors_of(axis)
    if len(mine) != 1 or not first <= mine[0] < first + count:
        return None
    return factors, list(cut.order), first, count, mine[0]

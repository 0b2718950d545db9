"""Pointwise layers (linear, 1x1 convolution): on which side of reshapes and permutes they go.

With P a chain of permutes and reshapes that leaves the channels of a pixel together, layer(P(x)) =
P'(layer(x)), with P' the same for another number of channels. P costs what it moves, so it belongs
on the side of the layer that has fewer channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.fx import Node

from .chains import tail_of, trace_back, write
from .editor import GraphEditor
from .layers import WeightedLayer, layer_of
from .ops import argument
from .rearrange import GRAPH_PRICES, Rearrangement, compose, first_steps

__all__ = ["move_before", "point_to_linear"]

aten = torch.ops.aten


def _point_of(graph: GraphEditor, node: Node) -> WeightedLayer | None:
    """``node`` as a linear layer or a 1x1 convolution of stride 1, or None."""
    layer = layer_of(graph, node)
    if not isinstance(layer, WeightedLayer) or layer.groups != 1 or layer.rank not in (0, 2):
        return None
    return layer if layer.is_pointwise else None


Writer = Callable[[GraphEditor, Node, Rearrangement, Node], Node]


def move_before(graph: GraphEditor, node: Node, write: Writer = write) -> None:
    """Move the narrow input of a layer instead of its wide output."""
    layer = _point_of(graph, node)
    if layer is None:
        return
    outputs, inputs = layer.weight.shape[:2]
    tail = tail_of(graph, node)
    if (
        not tail.rearrangement.disorder
        or inputs > outputs
        or (inputs == outputs and not layer.rank)
    ):
        return
    shape = tail.rearrangement.after
    for axis in (1, -1) if len(shape) == 4 else (-1,):
        rearrangement = _resized(tail.rearrangement, layer.axis, axis, inputs)
        if rearrangement is not None:
            break
    else:
        return
    _, before = trace_back(layer.source)
    whole = compose(before, rearrangement)
    now = outputs * _price(tail.rearrangement) + inputs * _price(before)
    if whole is None or inputs * _price(whole) > now:
        return
    moved = write(graph, layer.source, rearrangement, node)
    kernel = (1, 1) if axis == 1 else ()
    weight = layer.weight.reshape(outputs, inputs, *kernel)
    stored = graph.derived(argument(node, "weight"), weight, f"{node.name}.weight")
    target = aten.conv2d.default if axis == 1 else aten.linear.default
    new = graph.call(target, moved, stored, argument(node, "bias"), like=node)
    for call in tail.elementwise:
        new = graph.call(call.target, new, *call.args[1:], like=call, kwargs=dict(call.kwargs))
    graph.replace(tail.end, new, "the narrow side of a layer is moved")


def _resized(
    rearrangement: Rearrangement, before: int, after: int, channels: int
) -> Rearrangement | None:
    """``rearrangement`` of pixels that have another number of channels.

    Args:
        before: axis of the channels in front of it.
        after: axis of the channels behind it.

    Returns:
        None when the channels of a pixel do not stay together, or end elsewhere.
    """
    old = rearrangement.before[before]
    if rearrangement.after[after] != old:
        return None
    to_last = _to_last(rearrangement.before, before)
    from_last = _to_last(rearrangement.after, after).inverse
    pixels = compose(to_last.inverse, rearrangement, from_last.inverse)
    if pixels is None or not pixels.factors or pixels.factors[-1] % old:
        return None
    if pixels.order[-1] != len(pixels.order) - 1:
        return None
    start = list(rearrangement.before)
    start[before] = channels
    end = list(rearrangement.after)
    end[after] = channels
    resized = _with_channels(pixels, old, channels)
    return compose(_to_last(tuple(start), before), resized, _to_last(tuple(end), after).inverse)


def _to_last(shape: tuple[int, ...], axis: int) -> Rearrangement:
    """The channels on ``axis`` are brought to the end."""
    axis %= len(shape)
    return Rearrangement.permute(shape, [*(i for i in range(len(shape)) if i != axis), axis])


def point_to_linear(graph: GraphEditor, node: Node, done: dict[Node, list[Rearrangement]]) -> None:
    """Write a 1x1 convolution of moved tokens as a linear layer, where that moves less.

    Args:
        done: rearrangements of each tensor that other layers have asked for; they cost nothing.
    """
    layer = _point_of(graph, node)
    if layer is None:
        return
    root, moved_by = trace_back(layer.source)
    tokens = compose(moved_by, Rearrangement.permute(moved_by.after, (0, 2, 3, 1)))
    if tokens is None or tokens.disorder >= moved_by.disorder:
        return
    inputs, outputs = layer.weight.shape[1], layer.weight.shape[0]
    onward = tail_of(graph, node).rearrangement
    turn = _best_order(tokens, onward, inputs, outputs, done.setdefault(root, []))
    forward = compose(tokens, turn)
    assert forward is not None
    inverse = _with_channels(turn, inputs, outputs).inverse
    image = compose(inverse, Rearrangement.permute(inverse.after, (0, 3, 1, 2)))
    assert image is not None
    after = compose(image, onward)
    now = inputs * _price(moved_by) + outputs * _price(onward)
    then = inputs * (0 if forward in done[root] else _price(forward))
    then += outputs * _price(after or image)
    if then >= now:
        return
    done[root].append(forward)
    moved = write(graph, root, forward, node)
    weight = graph.derived(node.args[1], layer.weight.flatten(1), f"{node.name}.weight")
    bias = argument(node, "bias")
    linear = graph.call(aten.linear.default, moved, weight, bias, like=node)
    new = write(graph, linear, image, node)
    graph.replace(node, new, "1x1 convolution is a linear layer on channels at the end")


def _best_order(
    tokens: Rearrangement,
    onward: Rearrangement,
    inputs: int,
    outputs: int,
    done: list[Rearrangement],
) -> Rearrangement:
    """In which order a linear layer takes its pixels, which is free: the one that moves least.

    Tried are the order of the image, and those at which the permutes before and after the layer
    pass by. What is ``done`` already, for another layer, costs nothing.
    """
    shape = tokens.after
    image = Rearrangement.permute((*shape[:-1], outputs), (0, 3, 1, 2))
    pixels = Rearrangement.reshape(shape, (math.prod(shape[:-1]), inputs))
    orders = [Rearrangement.identity(shape).simplified(), pixels.simplified()]
    for step in first_steps(tokens):
        turn = compose(tokens.inverse, step)
        if turn is not None:
            orders.append(turn)
    after = compose(image, onward)
    if after is not None:
        orders += [
            _with_channels(step, outputs, inputs)
            for step in first_steps(after)
            if step.factors[-1] % outputs == 0
        ]
    best, least = orders[0], math.inf
    for turn in orders:
        if not turn.factors or turn.factors[-1] % inputs or turn.order[-1] != len(turn.order) - 1:
            continue
        turn = Rearrangement(
            turn.before, turn.factors, turn.order, (math.prod(turn.factors) // inputs, inputs)
        )
        forward = compose(tokens, turn)
        rest = compose(_with_channels(turn, inputs, outputs).inverse, image, onward)
        if forward is None or rest is None:
            continue
        cost = inputs * (0 if forward in done else _price(forward)) + outputs * _price(rest)
        if cost < least:
            best, least = turn, cost
    return best


def _price(rearrangement: Rearrangement) -> float:
    return rearrangement.cost(GRAPH_PRICES)


def _with_channels(turn: Rearrangement, old: int, new: int) -> Rearrangement:
    """``turn``, which keeps channels at the end, for another number of channels."""
    factors = turn.factors
    if factors:
        factors = (*factors[:-1], factors[-1] // old * new)
    return Rearrangement((*turn.before[:-1], new), factors, turn.order, (*turn.after[:-1], new))

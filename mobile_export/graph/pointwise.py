"""Layers on the channels of every pixel (linear, 1x1 convolution): where between movements they go.

With P a chain of permutes and reshapes that leaves the channels of a pixel together, layer(P(x)) =
P'(layer(x)), with P' the same for another number of channels. A movement costs what it moves, so it
belongs on the side of the layer that has fewer channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.fx import Node

from .editor import Graph
from .layers import Layer, layer_of
from .movement import Movement, emit, first_steps, identity, permutation, price, tail_of, trace_back
from .ops import argument

__all__ = ["move_before", "point_to_linear"]

aten = torch.ops.aten


def _point_of(graph: Graph, node: Node) -> Layer | None:
    """``node`` as a linear layer or a 1x1 convolution of stride 1, or None."""
    layer = layer_of(graph, node)
    if not isinstance(layer, Layer) or layer.groups != 1 or layer.rank not in (0, 2):
        return None
    return layer if layer.is_pointwise else None


Writer = Callable[[Graph, Node, Movement, Node], Node]


def move_before(graph: Graph, node: Node, write: Writer = emit) -> None:
    """Move the narrow input of a layer instead of its wide output."""
    layer = _point_of(graph, node)
    if layer is None:
        return
    outputs, inputs = layer.weight.shape[:2]
    tail = tail_of(graph, node)
    if not tail.movement.cost or inputs > outputs or (inputs == outputs and not layer.rank):
        return
    shape = tail.movement.after
    for axis in (1, -1) if len(shape) == 4 else (-1,):
        movement = _resized(tail.movement, layer.axis, axis, inputs)
        if movement is not None:
            break
    else:
        return
    _, before = trace_back(layer.source)
    whole = before.then(movement)
    now = outputs * price(tail.movement) + inputs * price(before)
    if whole is None or inputs * price(whole) > now:
        return
    moved = write(graph, layer.source, movement, node)
    kernel = (1, 1) if axis == 1 else ()
    weight = layer.weight.reshape(outputs, inputs, *kernel)
    stored = graph.derived(argument(node, "weight"), weight, f"{node.name}.weight")
    target = aten.conv2d.default if axis == 1 else aten.linear.default
    new = graph.call(target, moved, stored, argument(node, "bias"), like=node)
    for call in tail.elementwise:
        new = graph.call(call.target, new, *call.args[1:], like=call, kwargs=dict(call.kwargs))
    graph.replace(tail.end, new, "the narrow side of a layer is moved")


def _resized(movement: Movement, before: int, after: int, channels: int) -> Movement | None:
    """``movement`` of pixels that have another number of channels.

    Args:
        before: axis of the channels in front of it.
        after: axis of the channels behind it.

    Returns:
        None when the channels of a pixel do not stay together, or end elsewhere.
    """
    old = movement.before[before]
    if movement.after[after] != old:
        return None
    to_last = _to_last(movement.before, before)
    from_last = _to_last(movement.after, after).inverse
    pixels = to_last.inverse.then(movement)
    pixels = pixels and pixels.then(from_last.inverse)
    if pixels is None or not pixels.atoms or pixels.atoms[-1] % old:
        return None
    if pixels.order[-1] != len(pixels.order) - 1:
        return None
    start = list(movement.before)
    start[before] = channels
    end = list(movement.after)
    end[after] = channels
    resized = _to_last(tuple(start), before).then(_with_channels(pixels, old, channels))
    return resized and resized.then(_to_last(tuple(end), after).inverse)


def _to_last(shape: tuple[int, ...], axis: int) -> Movement:
    """The channels on ``axis`` are brought to the end."""
    axis %= len(shape)
    return permutation(shape, [*(i for i in range(len(shape)) if i != axis), axis])


def point_to_linear(graph: Graph, node: Node, done: dict[Node, list[Movement]]) -> None:
    """Write a 1x1 convolution of moved tokens as a linear layer, where that moves less.

    Args:
        done: movements of each tensor that other layers have asked for; they cost nothing.
    """
    layer = _point_of(graph, node)
    if layer is None:
        return
    root, moved_by = trace_back(layer.source)
    tokens = moved_by.then(permutation(moved_by.after, (0, 2, 3, 1)))
    if tokens is None or tokens.cost >= moved_by.cost:
        return
    inputs, outputs = layer.weight.shape[1], layer.weight.shape[0]
    onward = tail_of(graph, node).movement
    turn = _best_order(tokens, onward, inputs, outputs, done.setdefault(root, []))
    there = tokens.then(turn)
    assert there is not None
    back = _with_channels(turn, inputs, outputs).inverse
    image = back.then(permutation(back.after, (0, 3, 1, 2)))
    assert image is not None
    after = image.then(onward)
    now = inputs * price(moved_by) + outputs * price(onward)
    then = inputs * (0 if there in done[root] else price(there)) + outputs * price(after or image)
    if then >= now:
        return
    done[root].append(there)
    moved = emit(graph, root, there, node)
    weight = graph.derived(node.args[1], layer.weight.flatten(1), f"{node.name}.weight")
    bias = argument(node, "bias")
    linear = graph.call(aten.linear.default, moved, weight, bias, like=node)
    new = emit(graph, linear, image, node)
    graph.replace(node, new, "1x1 convolution is a linear layer on channels at the end")


def _best_order(
    tokens: Movement, onward: Movement, inputs: int, outputs: int, done: list[Movement]
) -> Movement:
    """In which order a linear layer takes its pixels, which is free: the one that moves least.

    Tried are the order of the image, and those at which the permutes before and after the layer
    pass by. What is ``done`` already, for another layer, costs nothing.
    """
    shape = tokens.after
    image = permutation((*shape[:-1], outputs), (0, 3, 1, 2))
    pixels = Movement(shape, shape, tuple(range(len(shape))), (math.prod(shape[:-1]), inputs))
    orders = [identity(shape), pixels.simplified()]
    for step in first_steps(tokens):
        turn = tokens.inverse.then(step)
        if turn is not None:
            orders.append(turn)
    after = image.then(onward)
    if after is not None:
        orders += [
            _with_channels(step, outputs, inputs)
            for step in first_steps(after)
            if step.atoms[-1] % outputs == 0
        ]
    best, least = orders[0], math.inf
    for turn in orders:
        if not turn.atoms or turn.atoms[-1] % inputs or turn.order[-1] != len(turn.order) - 1:
            continue
        turn = Movement(
            turn.before, turn.atoms, turn.order, (math.prod(turn.atoms) // inputs, inputs)
        )
        there = tokens.then(turn)
        back = _with_channels(turn, inputs, outputs).inverse.then(image)
        rest = None if back is None else back.then(onward)
        if there is None or rest is None:
            continue
        cost = inputs * (0 if there in done else price(there)) + outputs * price(rest)
        if cost < least:
            best, least = turn, cost
    return best


def _with_channels(turn: Movement, old: int, new: int) -> Movement:
    """``turn``, which keeps channels at the end, for another number of channels."""
    atoms = (*turn.atoms[:-1], turn.atoms[-1] // old * new) if turn.atoms else turn.atoms
    return Movement((*turn.before[:-1], new), atoms, turn.order, (*turn.after[:-1], new))

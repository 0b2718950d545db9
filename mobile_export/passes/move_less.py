"""Move less data: fewer and cheaper transposes, none of rank above 4.

Attention on feature maps is written with permutes of up to six axes, because PyTorch's images have
their channels in front and its tokens at the end. Phones pay for every one. With P a permute or
reshape, all of these are identities:

* a 1x1 convolution of P(x) is P'(linear(P"(x))), with P" cheaper than P, when x has its channels at
  the end (a 1x1 convolution is a linear layer on the channels of every pixel);
* f(P(x)) = P(f(x)) for f elementwise;
* A B = (Bᵀ Aᵀ)ᵀ, which is cheaper when A and B come transposed;
* a piece of linear(x) along its outputs is linear(x) with these rows of the weight alone;
* a chain of permutes and reshapes is one `Movement`, written as permutes of rank ≤ 4 of contiguous
  runs, from whichever tensor of the same origin is nearest.

Each is done only where it lowers the cost of movement (0 for a reshape, 1 for moving runs of
elements, 2 for moving single ones).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ._graph import Graph, shape_of
from ._movement import (
    MAX_RANK,
    MOVES,
    Movement,
    emit,
    first_steps,
    identity,
    permutation,
    steps_of,
    trace_back,
)
from ._ops import Layer, argument, is_call, layer_of, source_of
from .remove_noops import simplify

if TYPE_CHECKING:
    from ..program import Program
    from ._types import PassResult

__all__ = ["move_less"]

aten = torch.ops.aten

_ELEMENTWISE = (
    aten.gelu.default,
    aten.silu.default,
    aten.relu.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.hardswish.default,
    aten.hardsigmoid.default,
    aten.sigmoid.default,
    aten.tanh.default,
)
_SPLITS = (aten.split_with_sizes.default, aten.split.Tensor, aten.chunk.default, aten.unbind.int)


def move_less(program: Program) -> PassResult:
    """Rewrite what can do with less movement."""
    graph = Graph(program)
    before = -1
    while graph.edits != before:
        before = graph.edits
        for node in graph.find(*_SPLITS):
            _split_layer(graph, node)
        for node in graph.find(aten.matmul.default):
            _turn_product(graph, node)
        done: dict[Node, list[Movement]] = {}
        for node in graph.find(aten.conv2d.default):
            _point_to_linear(graph, node, done)
        for node in graph.find(*_ELEMENTWISE):
            _move_later(graph, node)
        if graph.edits != before:
            graph.sweep()
            simplify(graph)
    _shorten(graph)
    if graph.edits:
        simplify(graph)
    return graph.result()


# Rules ------------------------------------------------------------------------------------------


def _point_to_linear(graph: Graph, node: Node, done: dict[Node, list[Movement]]) -> None:
    layer = layer_of(graph, node)
    if not isinstance(layer, Layer) or layer.weight.shape[2:] != (1, 1) or layer.groups != 1:
        return
    if layer.stride != (1, 1) or layer.padding != (0, 0):
        return
    root, moved_by = trace_back(layer.source)
    tokens = moved_by.then(permutation(moved_by.after, (0, 2, 3, 1)))
    if tokens is None or tokens.cost >= moved_by.cost:
        return
    inputs, outputs = layer.weight.shape[1], layer.weight.shape[0]
    onward = _onward(graph, node)
    turn = _best_order(tokens, onward, inputs, outputs, done.setdefault(root, []))
    there = tokens.then(turn)
    assert there is not None
    back = _with_channels(turn, inputs, outputs).inverse
    image = back.then(permutation(back.after, (0, 3, 1, 2)))
    assert image is not None
    after = image.then(onward)
    now = _price(moved_by) + _price(onward)
    then = (0.0 if there in done[root] else _price(there)) + _price(after or image)
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
        price = (0.0 if there in done else _price(there)) + _price(rest)
        if price < least - 0.05:
            best, least = turn, price
    return best


def _with_channels(turn: Movement, old: int, new: int) -> Movement:
    """``turn``, which keeps channels at the end, for another number of channels."""
    atoms = (*turn.atoms[:-1], turn.atoms[-1] // old * new) if turn.atoms else turn.atoms
    return Movement((*turn.before[:-1], new), atoms, turn.order, (*turn.after[:-1], new))


def _move_later(graph: Graph, node: Node) -> None:
    moved = node.args[0]
    if not is_call(moved, *MOVES) or graph.only_user(moved) is None:  # type: ignore[arg-type]
        return
    if not any(is_call(user, *MOVES) for user in node.users):
        return
    root, there = trace_back(moved)  # type: ignore[arg-type]
    if not there.cost:
        return
    early = graph.call(node.target, root, *node.args[1:], like=node, kwargs=dict(node.kwargs))
    graph.replace(node, emit(graph, early, there, node), "done before its input is moved")


def _turn_product(graph: Graph, node: Node) -> None:
    first, second = node.args
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    rank = len(shape_of(node))
    if rank < 2 or not len(shape_of(first)) == len(shape_of(second)) == rank:
        return
    if graph.is_constant(first) or graph.is_constant(second):
        return
    swap = [*range(rank - 2), rank - 1, rank - 2]
    out = _onward(graph, node)
    now, turned = 0, 0
    for side in (first, second):
        _, there = trace_back(side)
        after = there.then(permutation(there.after, swap))
        if after is None:
            return
        now, turned = now + there.cost, turned + after.cost
    back = permutation(tuple(shape_of(node)[axis] for axis in swap), swap)
    onward = back.then(out)
    if onward is None or turned + onward.cost >= now + out.cost:
        return
    a = graph.call(aten.permute.default, second, swap, like=node)
    b = graph.call(aten.permute.default, first, swap, like=node)
    product = graph.call(aten.matmul.default, a, b, like=node)
    result = graph.call(aten.permute.default, product, swap, like=node)
    graph.replace(node, result, "transposed product of transposed operands")


def _onward(graph: Graph, node: Node) -> Movement:
    """What the movements after ``node`` do, as long as each is the only user of the one before.

    Elementwise calls between ``node`` and the first movement do not count.
    """
    while (user := graph.only_user(node)) is not None and is_call(user, *_ELEMENTWISE):
        node = user
    end = node
    while (user := graph.only_user(end)) is not None and is_call(user, *MOVES):
        end = user
    while end is not node:
        root, there = trace_back(end)
        if root is node:
            return there
        end = source_of(end)
    return identity(shape_of(node))


def _split_layer(graph: Graph, node: Node) -> None:
    root, there = trace_back(source_of(node))
    layer = layer_of(graph, root)
    if not isinstance(layer, Layer) or layer.transposed or layer.groups != 1:
        return
    chain = source_of(node)
    while chain is not root:
        if graph.only_user(chain) is None:
            return
        chain = source_of(chain)
    items = list(node.users)
    if graph.only_user(root) is None or not all(is_call(i, operator.getitem) for i in items):
        return
    axis = argument(node, "dim") % len(shape_of(source_of(node)))
    exact = _exact_atoms(there, layer, axis)
    if exact is None:
        return
    atoms, order, first, count, mine = exact
    rows = atoms[first : first + count]
    unbound = is_call(node, aten.unbind.int)
    sizes = [1 if unbound else piece.shape[axis] for piece in node.meta["val"]]
    paths: list[Movement] = []
    now, apart = 1.0 + _price(there), 0.0
    for item in items:
        resized = list(atoms)
        resized[mine] = sizes[item.args[1]]  # type: ignore[index]
        shape = list(there.before)
        shape[layer.axis] = shape[layer.axis] // atoms[mine] * resized[mine]
        path = Movement(tuple(shape), tuple(resized), tuple(order), shape_of(item)).simplified()
        onward = _onward(graph, item)
        whole = path.then(onward)
        if whole is None:
            return
        paths.append(path)
        now, apart = now + _price(onward), apart + _price(whole)
    if apart >= now and len(there.after) <= MAX_RANK:
        return
    for item, path in zip(items, paths, strict=True):
        number: Any = item.args[1]
        start, size = sum(sizes[:number]), sizes[number]

        def piece(values: torch.Tensor, start: int = start, size: int = size) -> torch.Tensor:
            rest = values.shape[1:]
            picked = values.reshape(*rows, *rest).narrow(mine - first, start, size)
            return picked.reshape(-1, *rest)

        part = _call_again(graph, layer, piece)
        graph.replace(item, emit(graph, part, path, item))
    graph.changed(node, f"{len(items)} pieces of {root.name} computed apart")


def _call_again(graph: Graph, layer: Layer, piece: Callable[[torch.Tensor], torch.Tensor]) -> Node:
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


def _exact_atoms(
    there: Movement, layer: Layer, axis: int
) -> tuple[list[int], list[int], int, int, int] | None:
    """Atoms of ``there`` that end where the channels of ``layer`` do, one of which is ``axis``.

    Returns:
        Atoms and order; the first atom of the channels and how many there are; the one that is
        exactly ``axis`` of the result.
    """
    full = _refined(there)
    if full is None:
        return None
    atoms, order, axes = full
    lead = math.prod(there.before[: layer.axis % len(there.before)])
    first = 0
    while math.prod(atoms[:first]) < lead:
        first += 1
    count = 0
    while math.prod(atoms[first : first + count]) < layer.channels and first + count < len(atoms):
        count += 1
    if (
        math.prod(atoms[:first]) != lead
        or math.prod(atoms[first : first + count]) != layer.channels
    ):
        return None
    mine = [atom for atom, owner in zip(order, axes, strict=True) if owner == axis]
    if len(mine) != 1 or not first <= mine[0] < first + count:
        return None
    return atoms, order, first, count, mine[0]


def _refined(there: Movement) -> tuple[list[int], list[int], list[int]] | None:
    """``there`` with atoms cut along the axes of its result.

    Returns:
        atoms, order, and for each atom of the result the axis that it belongs to.
    """
    from ._movement import _refine, _split

    middle = [there.atoms[i] for i in there.order]
    fine = _refine(middle, there.after)
    if fine is None:
        return None
    pieces = _split(middle, fine)
    position = {index: place for place, index in enumerate(there.order)}
    laid_out = [p for index in range(len(there.atoms)) for p in pieces[position[index]]]
    rank_of = {piece: rank for rank, piece in enumerate(laid_out)}
    owners = _split(there.after, fine)
    axes = [next(a for a, own in enumerate(owners) if piece in own) for piece in range(len(fine))]
    atoms = [fine[piece] for piece in laid_out]
    return atoms, [rank_of[piece] for piece in range(len(fine))], axes


# Chains -----------------------------------------------------------------------------------------


def _shorten(graph: Graph) -> None:
    """Write every chain of movements anew, from the nearest tensor of the same origin."""
    ends: dict[Node, list[tuple[Movement, Node]]] = {}
    for node in graph.find(*MOVES):
        if node not in graph or all(is_call(user, *MOVES) for user in node.users):
            continue
        root, there = trace_back(node)
        best_from, best = root, there
        for movement, anchor in ends.get(root, []):
            rest = movement.inverse.then(there)
            if rest is not None and _price(rest) < _price(best):
                best_from, best = anchor, rest
        written, high = _written(node, root)
        low = all(len(v) <= MAX_RANK for kind, v in steps_of(best) if kind == "permute")
        if _price(best) < written or (high and low):
            new = emit(graph, best_from, best, node)
            if new is not node:
                graph.replace(node, new, "movement written anew")
                node = new
        ends.setdefault(root, []).append((there, node))


@functools.cache
def _price(movement: Movement) -> float:
    total = 0.0
    for kind, value in steps_of(movement):
        total += 0.1 if kind == "reshape" else 1.0 + 0.4 * (value[-1] != len(value) - 1)
    return total


def _written(node: Node, root: Node) -> tuple[float, bool]:
    """What the chain costs now, up to a node that others use too; whether a rank is above 4."""
    price, high, shared = 0.0, False, False
    while node is not root:
        step = 0.1
        if is_call(node, aten.permute.default):
            order: list[int] = node.args[1]  # type: ignore[assignment]
            step = 1.0 + 0.4 * (order[-1] != len(order) - 1)
            high = high or len(order) > MAX_RANK
        price += 0.0 if shared else step
        node = source_of(node)
        shared = shared or len(node.users) > 1
    return price, high

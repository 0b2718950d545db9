"""Move less data: fewer and cheaper transposes, none of rank above 4.

Attention on feature maps is written with permutes of up to six axes, because PyTorch's images have
their channels in front and its tokens at the end. Phones pay for every one. With P a permute or
reshape, all of these are identities:

* a 1x1 convolution of P(x) is P'(linear(P"(x))), with P" cheaper than P, when x has its channels at
  the end (a 1x1 convolution is a linear layer on the channels of every pixel);
* P(linear(x)) = linear(P(x)) for P that leaves the channels together, which moves less when the
  layer widens;
* f(P(x)) = P(f(x)) for f elementwise;
* A B = (Bᵀ Aᵀ)ᵀ, which is cheaper when A and B come transposed;
* an output of a split of linear(x) is linear(x) with these rows of the weight alone;
* the product of attention works with any batch dimensions, so with those that its operands come
  with (`graph.batch_dimensions`);
* a chain of permutes and reshapes is one `Rearrangement`, written as permutes of rank ≤ 4 from
  whichever tensor of the same origin is nearest.

A layer or a chain is rewritten where that lowers its cost: `GRAPH_PRICES` per element moved, times
the elements. A product is transposed where fewer of its operands and its result scatter single
elements (`Rearrangement.disorder`). An elementwise function always goes before a permute that
another permute or reshape follows, so that the two become one chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..graph.batch_dimensions import keep_stack
from ..graph.chains import MOVES, tail_of, trace_back, write
from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import is_call, is_elementwise, source_of
from ..graph.pointwise import move_before, point_to_linear
from ..graph.rearrange import GRAPH_PRICES, MAX_RANK, Rearrangement, compose
from ..graph.rounds import in_turn, settle
from .remove_noops import simplify
from .split_layer import SPLITS, split_layer

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["move_less"]

aten = torch.ops.aten
_PRODUCTS = (aten.matmul.default,)
_LAYERS = (aten.conv2d.default, aten.linear.default)


def move_less(program: Program) -> PassResult:
    """Rewrite what can do with less rearrangement."""
    graph = GraphEditor(program)
    rules: dict[str, Callable[[], None]] = {
        "pieces of layers": lambda: _each(graph, SPLITS, split_layer),
        "transposed products": lambda: _each(graph, _PRODUCTS, _transpose_product),
        "narrow sides of layers": lambda: _each(graph, _LAYERS, move_before),
        "1x1 convolutions": lambda: _point_to_linear(graph),
        "elementwise before permutes": lambda: _elementwise_first(graph),
    }
    settle("move_less", _and_simplify(graph, in_turn(graph, rules)))
    rules = {
        "chains of permutes and reshapes": lambda: _shorten(graph),
        "batch dimensions of attention": lambda: _each(graph, _PRODUCTS, keep_stack),
    }
    settle("move_less", _and_simplify(graph, in_turn(graph, rules)))
    return graph.result()


def _each(
    graph: GraphEditor, targets: Sequence[Any], rule: Callable[[GraphEditor, Node], None]
) -> None:
    for node in graph.find(*targets):
        rule(graph, node)


def _elementwise_first(graph: GraphEditor) -> None:
    for node in graph.nodes:
        if node in graph and is_elementwise(node):
            _move_later(graph, node)


def _point_to_linear(graph: GraphEditor) -> None:
    done: dict[Node, list[Rearrangement]] = {}
    for node in graph.find(aten.conv2d.default):
        point_to_linear(graph, node, done)


def _and_simplify(
    graph: GraphEditor, one_round: Callable[[], list[str]]
) -> Callable[[], list[str]]:
    """``one_round``, and cleaning when it changed something."""

    def run() -> list[str]:
        fired = one_round()
        if fired:
            graph.sweep()
            simplify(graph)
        return fired

    return run


# Rules ------------------------------------------------------------------------------------------


def _move_later(graph: GraphEditor, node: Node) -> None:
    moved = node.args[0]
    if not is_call(moved, *MOVES) or graph.only_user(moved) is None:  # type: ignore[arg-type]
        return
    if not any(is_call(user, *MOVES) for user in node.users):
        return
    root, forward = trace_back(moved)  # type: ignore[arg-type]
    if not forward.disorder:
        return
    early = graph.call(node.target, root, *node.args[1:], like=node, kwargs=dict(node.kwargs))
    graph.replace(node, write(graph, early, forward, node), "done before its input is moved")


def _transpose_product(graph: GraphEditor, node: Node) -> None:
    first, second = node.args
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    rank = len(shape_of(node))
    if rank < 2 or not len(shape_of(first)) == len(shape_of(second)) == rank:
        return
    if graph.is_constant(first) or graph.is_constant(second):
        return
    swap = [*range(rank - 2), rank - 1, rank - 2]
    out = tail_of(graph, node).rearrangement
    now, transposed = 0, 0
    for side in (first, second):
        _, forward = trace_back(side)
        after = compose(forward, Rearrangement.permute(forward.after, swap))
        if after is None:
            return
        now, transposed = now + forward.disorder, transposed + after.disorder
    inverse = Rearrangement.permute([shape_of(node)[axis] for axis in swap], swap)
    onward = compose(inverse, out)
    if onward is None or transposed + onward.disorder >= now + out.disorder:
        return
    a = graph.call(aten.permute.default, second, swap, like=node)
    b = graph.call(aten.permute.default, first, swap, like=node)
    product = graph.call(aten.matmul.default, a, b, like=node)
    result = graph.call(aten.permute.default, product, swap, like=node)
    graph.replace(node, result, "transposed product of transposed operands")


# Chains -----------------------------------------------------------------------------------------


def _shorten(graph: GraphEditor) -> None:
    """Write every chain of rearrangements anew, from the nearest tensor of the same origin."""
    ends: dict[Node, list[tuple[Rearrangement, Node]]] = {}
    for node in graph.find(*MOVES):
        if node not in graph or all(is_call(user, *MOVES) for user in node.users):
            continue
        root, forward = trace_back(node)
        start, best = root, forward
        for known, anchor in ends.get(root, []):
            rest = compose(known.inverse, forward)
            if rest is not None and rest.cost(GRAPH_PRICES) < best.cost(GRAPH_PRICES):
                start, best = anchor, rest
        now, high = _as_written(node, root)
        low = all(len(numbers) <= MAX_RANK for kind, numbers in best.steps() if kind == "permute")
        if best.cost(GRAPH_PRICES) < now or (high and low):
            new = write(graph, start, best, node)
            if new is not node:
                graph.replace(node, new, "rearrangement written anew")
                node = new
        ends.setdefault(root, []).append((forward, node))
    graph.sweep()


def _as_written(node: Node, root: Node) -> tuple[float, bool]:
    """What the chain costs now, up to a node that others use too; whether a rank is above 4."""
    total, high, shared = 0.0, False, False
    while node is not root:
        step = GRAPH_PRICES.reshape
        if is_call(node, aten.permute.default):
            order: list[int] = node.args[1]  # type: ignore[assignment]
            step = GRAPH_PRICES.of_permute(order)
            high = high or len(order) > MAX_RANK
        total += 0 if shared else step
        node = source_of(node)
        shared = shared or len(node.users) > 1
    return total, high

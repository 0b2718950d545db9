"""Multiply matrices in the cheapest order, and layers before or after products, whichever is less.

    (A B) C = A (B C)        (A B)ᵀ = Bᵀ Aᵀ        s (A B) = (s A) B

Chains of matrix products with nothing but transposes, other shapes of the stack and stored factors
between are multiplied in the order that needs fewest multiplications: linear attention written as
(q kᵀ) v becomes q (kᵀ v) where there are more pixels than channels, and the other way round. A
product of two stored matrices costs nothing. What lies between may have no other user; a softmax,
or anything else that is not linear, ends a chain.

A product and a layer on its channels are exchanged in the same way (`exchange`). Multiplications
are counted exactly, stored factors included, and nothing is rewritten for equal cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.affine import Affine, pull, scale_of
from ..graph.chains import MOVES, step_of, write
from ..graph.editor import GraphEditor, shape_of, where
from ..graph.ops import CONVS, is_call, is_elementwise, source_of
from ..graph.rearrange import Rearrangement, compose
from ..graph.rounds import in_turn, settle
from .exchange import PRODUCTS, layer_after_product, layer_before_product, multiplications

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["order_products"]

aten = torch.ops.aten
_BETWEEN = (aten.softmax.int, aten.mul.Tensor, aten.div.Tensor)
"""What people put between two products beside elementwise functions, and what is not linear."""


def order_products(program: Program) -> PassResult:
    """Products in the order that needs fewest multiplications."""
    result = _ordered(program)
    if result.changes:  # what was refused on the way may be something else now
        result = replace(result, refusals=_ordered(result.program).refusals)
    return result


def _ordered(program: Program) -> PassResult:
    graph = GraphEditor(program)

    def order_chains() -> None:
        for node in reversed(list(graph.find(aten.matmul.default))):  # whole chains first
            if node in graph:
                _order_chain(graph, node)

    def layers_before() -> None:
        for node in graph.find(*PRODUCTS):
            layer_before_product(graph, node)

    def layers_after() -> None:
        for node in graph.find(aten.linear.default, *CONVS):
            layer_after_product(graph, node)

    rules = {
        "chains of products": order_chains,
        "layers before products": layers_before,
        "layers after products": layers_after,
    }
    settle("order_products", in_turn(graph, rules))
    return graph.result()


# Chains -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Factor:
    """A matrix of a chain: ``rearrangement`` of ``scale`` times ``node``.

    Attributes:
        scale: a stored tensor of the rank of ``node``, or None for 1.
        rearrangement: from the shape of ``node`` to the stack of the chain and two axes.
    """

    node: Node
    scale: torch.Tensor | None
    rearrangement: Rearrangement

    @property
    def rows(self) -> int:
        return self.rearrangement.after[-2]

    @property
    def columns(self) -> int:
        return self.rearrangement.after[-1]


@dataclass
class _Chain:
    """The factors of a product, the products of them in the graph, and what those cost."""

    factors: list[_Factor]
    products: list[Node]
    cost: int = 0


_Tree = int | tuple["_Tree", "_Tree"]


def _order_chain(graph: GraphEditor, node: Node) -> None:
    """Multiply the factors of the product ``node`` in the cheapest order."""
    if not _is_plain(node):
        _explain(graph, node)
        return
    chain = _Chain([], [])
    _divide(graph, chain, node, None, Rearrangement.identity(shape_of(node)).simplified())
    scaled = [f for f in chain.factors if f.scale is not None and not graph.is_constant(f.node)]
    cost, tree = _cheapest(graph, chain.factors, math.prod(shape_of(node)[:-2]))
    cost += sum(math.prod(shape_of(factor.node)) for factor in scaled)
    if cost >= chain.cost:
        _explain(graph, node)
        return
    new = _written(graph, chain.factors, tree, node)
    names = ", ".join(where(product) for product in reversed(chain.products))
    what = f"{names} in another order: {cost} multiplications, not {chain.cost}"
    graph.replace(node, new, what)
    graph.sweep()


def _is_plain(node: Node) -> bool:
    """Whether it is a product of two stacks of as many matrices."""
    if not is_call(node, aten.matmul.default):
        return False
    stacks = [shape_of(operand)[:-2] for operand in node.all_input_nodes]
    return len(shape_of(node)) > 1 and all(stack == shape_of(node)[:-2] for stack in stacks)


def _divide(
    graph: GraphEditor,
    chain: _Chain,
    node: Node,
    scale: torch.Tensor | None,
    rearrangement: Rearrangement,
) -> bool:
    """Add the factors of ``rearrangement`` of ``scale`` times the product ``node`` to the chain.

    Returns:
        False, with nothing added, when the factor or the rearrangement does not divide.
    """
    first, second = node.args
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    moved = _of_operands(rearrangement, shape_of(first), shape_of(second))
    scales = _operand_scales(scale, first, second)
    if moved is None or scales is None:
        return False
    chain.products.append(node)
    chain.cost += multiplications(node)
    sides = [_Factor(first, scales[0], moved[0]), _Factor(second, scales[1], moved[1])]
    for factor in reversed(sides) if moved[2] else sides:
        _add_factor(graph, chain, factor)
    return True


def _add_factor(graph: GraphEditor, chain: _Chain, factor: _Factor) -> None:
    """Add the factors of ``factor``, which is one itself when it is not a product."""
    node, scale, rearrangement = factor.node, factor.scale, factor.rearrangement
    scaling = 0
    while graph.only_user(node) is not None:
        if _is_plain(node):
            chain.cost += scaling
            if _divide(graph, chain, node, scale, rearrangement):
                return
            chain.cost -= scaling
            break
        found = scale_of(graph, node)
        if is_call(node, *MOVES):
            step = compose(step_of(node), rearrangement)
            affine = pull(node, _factor_only(scale)) if scale is not None else None
            if step is None or (affine is None and scale is not None):
                break
            rearrangement = step
            scale = None if affine is None else affine.scale
            node = source_of(node)
        elif isinstance(found, tuple) and not found[1].shifts:
            scaling += math.prod(shape_of(node))
            node, scale = found[0], found[1].scale * (1 if scale is None else scale)
        else:
            break
    chain.factors.append(factor)


def _factor_only(scale: torch.Tensor) -> Affine:
    return Affine(scale, torch.zeros_like(scale))


def _of_operands(
    rearrangement: Rearrangement, first: Sequence[int], second: Sequence[int]
) -> tuple[Rearrangement, Rearrangement, bool] | None:
    """``rearrangement`` of a product as rearrangements of its operands (…, M, K) and (…, K, N).

    Returns:
        Both, and whether the matrices are transposed, so that (A B)ᵀ = Bᵀ Aᵀ; None when more is
        done to them than that.
    """
    rank, after = len(rearrangement.before), len(rearrangement.after)
    cut = rearrangement.cut(rearrangement.before)
    if cut is None or after < 2:
        return None
    sources, targets = cut.sources(rearrangement.before), cut.targets
    batch = [factor for factor in cut.order if sources[factor] < rank - 2]
    matrix = [(sources[f] - rank, targets[f] - after) for f in cut.order]
    matrix = [pair for pair in matrix if max(pair) >= -2]
    for transposed in (False, True):
        pairs = {(-2, -1), (-1, -2)} if transposed else {(-2, -2), (-1, -1)}
        rows, columns = (-1, -2) if transposed else (-2, -1)
        sizes = rearrangement.before[rows], rearrangement.before[columns]
        if (
            set(matrix) <= pairs
            and len(set(matrix)) == len(matrix)
            and sizes == rearrangement.after[-2:]
        ):
            break
    else:
        return None
    return (
        _of_matrices(cut, batch, tuple(first), transposed=transposed),
        _of_matrices(cut, batch, tuple(second), transposed=transposed),
        transposed,
    )


def _of_matrices(
    cut: Rearrangement, batch: list[int], shape: tuple[int, ...], *, transposed: bool
) -> Rearrangement:
    """What ``cut`` does to its factors ``batch``, on matrices of another shape."""
    places = sorted(batch)
    sizes = [cut.factors[factor] for factor in places]
    order = [places.index(factor) for factor in batch]
    last = [len(places) + 1, len(places)] if transposed else [len(places), len(places) + 1]
    matrix = shape[-2:][::-1] if transposed else shape[-2:]
    after = (*cut.after[:-2], *matrix)
    return Rearrangement(shape, (*sizes, *shape[-2:]), (*order, *last), after).simplified()


def _operand_scales(
    scale: torch.Tensor | None, first: Node, second: Node
) -> tuple[torch.Tensor | None, torch.Tensor | None] | None:
    """s (A B) as (s A) B or A (s B), whichever is smaller; None when s varies along both axes."""
    if scale is None:
        return None, None
    possible = [
        (math.prod(shape_of(operand)), index)
        for index, (operand, axis) in enumerate(((first, -1), (second, -2)))
        if scale.shape[axis] == 1
    ]
    if not possible:
        return None
    return (scale, None) if min(possible)[1] == 0 else (None, scale)


def _cheapest(graph: GraphEditor, factors: Sequence[_Factor], stack: int) -> tuple[int, _Tree]:
    """Multiplications of the cheapest order of ``factors``, and that order as a binary tree."""
    count = len(factors)
    stored = [graph.is_constant(factor.node) for factor in factors]
    best: dict[tuple[int, int], tuple[int, _Tree]] = {(i, i): (0, i) for i in range(count)}
    for length in range(1, count):
        for first in range(count - length):
            last = first + length
            free = all(stored[first : last + 1])
            outer = stack * factors[first].rows * factors[last].columns
            found: list[tuple[int, _Tree]] = []
            for middle in range(first, last):
                (one, left), (two, right) = best[first, middle], best[middle + 1, last]
                own = 0 if free else outer * factors[middle].columns
                found.append((one + two + own, (left, right)))
            best[first, last] = min(found, key=lambda entry: entry[0])
    return best[0, count - 1]


def _written(graph: GraphEditor, factors: Sequence[_Factor], tree: _Tree, node: Node) -> Node:
    """The product of ``factors`` in the order ``tree``, before ``node``."""
    if isinstance(tree, tuple):
        left, right = (_written(graph, factors, part, node) for part in tree)
        return graph.call(aten.matmul.default, left, right, like=node)
    factor = factors[tree]
    source = factor.node
    if factor.scale is not None:
        stored = graph.derived(None, factor.scale.contiguous(), f"{source.name}.scale")
        source = graph.call(aten.mul.Tensor, source, stored, like=node)
    return write(graph, source, factor.rearrangement, node)


# Saying why -------------------------------------------------------------------------------------


def _explain(graph: GraphEditor, node: Node) -> None:
    """Refuse the other order of ``node`` and a product before it, where it would be cheaper."""
    rank = len(shape_of(node))
    if rank < 2:
        return
    for position in (0, 1):
        found = _product_before(graph, node.args[position])  # type: ignore[arg-type]
        if found is None:
            continue
        inner, reason = found
        other = node.args[1 - position]
        assert isinstance(other, Node)
        if len(shape_of(other)) < 2:
            continue
        rows, columns = shape_of(node)[-2:]
        summed = shape_of(inner.args[0])[-1]  # type: ignore[arg-type]
        stack = math.prod(shape_of(node)[:-2])
        now = multiplications(inner) + multiplications(node)
        then = stack * summed * (rows * columns + math.prod(shape_of(other)[-2:]))
        if then < now:
            graph.refuse(node, f"{reason}; in another order: {then} multiplications, not {now}")


def _product_before(graph: GraphEditor, node: Node) -> tuple[Node, str] | None:
    """The product of which ``node`` is computed element by element or row by row, and what keeps
    the two products from being exchanged."""
    reason = None
    while node.op == "call_function":
        if graph.only_user(node) is None:
            reason = reason or f"{where(node)} has other users"
        if is_call(node, aten.matmul.default):
            return node, reason or f"the matrices of {where(node)} are repeated or rearranged"
        found = scale_of(graph, node)
        if isinstance(found, tuple):
            if found[1].shifts or 1 not in found[1].scale.shape[-2:]:
                reason = reason or f"{where(node)} is no factor of rows or columns"
            node = found[0]
            continue
        if is_elementwise(node) or is_call(node, *_BETWEEN):
            reason = reason or f"{where(node)} stands between two products"
        elif not is_call(node, *MOVES):
            return None
        node = source_of(node)
    return None

"""Merge sums of parallel linear branches into one convolution (reparameterization).

Σ_i ± branch_i(x) with every branch a convolution, linear layer, average pool, batch norm, stored
factor or the identity, or a factor or norm of one of these, is a linear map of x
(`linear_branches`).
Nested blocks collapse from the inside out, since a merged branch is a convolution itself; an op
that is not linear ends a region. Terms of a sum that are no such branch stay summands.

A merge must pay: the merged kernel has no more weights than the branches together (a dense 1x1 and
a depthwise 7x7 convolution stay apart), and the sum must not need a padding that differs from side
to side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import is_call
from .linear_branches import Form, add_forms, emit, forms_of

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["merge_branches"]

aten = torch.ops.aten
Term = tuple[float, Node]


def merge_branches(program: Program) -> PassResult:
    """One convolution per sum of linear branches."""
    graph = GraphEditor(program)
    for node in graph.find(aten.add.Tensor, aten.sub.Tensor):
        if not _adds_tensors(node) or _is_inner(graph, node):
            continue
        terms = _terms(graph, node, node, 1.0)
        merged, rest, groups = _merge(graph, node, terms)
        if not merged:
            continue
        parts: list[Term] = [(1.0, emit(graph, form, node)) for form in merged]
        new = _sum(graph, parts + rest, node)
        graph.replace(node, new, f"{groups} parallel linear branches merged")
        graph.sweep()
    return graph.result()


def _adds_tensors(node: Node) -> bool:
    first, second = node.args[:2]
    return (
        isinstance(first, Node)
        and isinstance(second, Node)
        and shape_of(first) == shape_of(second) == shape_of(node)
        and node.meta["val"].is_floating_point()
        and all(n.meta["val"].dtype == node.meta["val"].dtype for n in (first, second))
    )


def _is_inner(graph: GraphEditor, node: Node) -> bool:
    """Whether ``node`` is a summand of another sum and of nothing else."""
    user = graph.only_user(node)
    if user is None or not is_call(user, aten.add.Tensor, aten.sub.Tensor):
        return False
    return _adds_tensors(user)


def _terms(graph: GraphEditor, node: Node, root: Node, sign: float) -> list[Term]:
    """The signed terms of a tree of additions and subtractions, from left to right."""
    is_sum = is_call(node, aten.add.Tensor, aten.sub.Tensor) and _adds_tensors(node)
    if not is_sum or (node is not root and graph.only_user(node) is None):
        return [(sign, node)]
    alpha = float(node.kwargs.get("alpha", 1))  # type: ignore[arg-type]
    second = -alpha if is_call(node, aten.sub.Tensor) else alpha
    first_node, second_node = node.args[:2]
    assert isinstance(first_node, Node)
    assert isinstance(second_node, Node)
    return [
        *_terms(graph, first_node, root, sign),
        *_terms(graph, second_node, root, sign * second),
    ]


def _merge(graph: GraphEditor, node: Node, terms: list[Term]) -> tuple[list[Form], list[Term], int]:
    """Merged forms, the terms that are left over, and how many terms were merged."""
    merged: list[Form] = []
    left = [term for term in terms if not graph.is_constant(term[1])]
    constants = [term for term in terms if graph.is_constant(term[1])]
    count = 0
    options = {term[1]: forms_of(graph, term[1], term[0]) for term in left}
    if len(options) != len(left):  # x + x: forms are told apart by their node
        return [], terms, 0
    tried: set[Node] = set()
    while True:
        by_source: dict[Node, list[tuple[Term, Form]]] = {}
        for term in left:
            for form in options[term[1]]:
                by_source.setdefault(form.source, []).append((term, form))
        candidates = [s for s in by_source if s not in tried and len(by_source[s]) > 1]
        if not candidates:
            return merged, left + constants, count
        source = max(candidates, key=lambda s: len(by_source[s]))
        tried.add(source)
        sums, lonely = _add_up(graph, node, by_source[source])
        merged += sums
        used = {term[1] for term, _ in by_source[source]} - {term[1] for term in lonely}
        count += len(used)
        left = [term for term in left if term[1] not in used]


def _add_up(
    graph: GraphEditor, node: Node, group: list[tuple[Term, Form]]
) -> tuple[list[Form], list[Term]]:
    """Add forms of one source pairwise, small ones first; what merges with nothing is left."""
    reasons: list[str] = []
    sums: list[tuple[list[Term], Form]] = []
    for term, form in sorted(group, key=lambda pair: -pair[1].macs):
        for index in reversed(range(len(sums))):
            total = add_forms(sums[index][1], form)
            if isinstance(total, Form):
                sums[index] = ([*sums[index][0], term], total)
                break
            reasons.append(total)
        else:
            sums.append(([term], form))
    done = [form for terms, form in sums if len(terms) > 1]
    lonely = [term for terms, _ in sums if len(terms) == 1 for term in terms]
    if lonely:
        for reason in dict.fromkeys(reasons):
            graph.refuse(node, reason)
    return done, lonely


def _sum(graph: GraphEditor, terms: list[Term], node: Node) -> Node:
    terms = sorted(terms, key=lambda term: term[0] < 0)  # a positive one first, if there is one
    sign, total = terms[0]
    if sign != 1:
        total = graph.call(aten.mul.Tensor, total, sign, like=node)
    for sign, term in terms[1:]:
        target = aten.add.Tensor if sign > 0 else aten.sub.Tensor
        kwargs = {} if abs(sign) == 1 else {"alpha": abs(sign)}
        total = graph.call(target, total, term, like=node, kwargs=kwargs)
    return total

"""Sums of products and of distances."""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument
from .inline import inline

__all__ = ["attention", "distances", "einsum", "has_vector", "inner", "is_unusual"]

aten = torch.ops.aten
_LARGEST = 1 << 22  # elements of all differences at once


# aten::cdist(Tensor x1, Tensor x2, float p=2., int? compute_mode=None) -> Tensor
def distances(graph: GraphEditor, node: Node) -> Node | None:
    """The root of the sum of squared differences, or the sum of their sizes: for p of 2 and 1.

    None for other p, and where all differences at once would be more than 4 million.
    """
    first, second = node.args[:2]
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    p = argument(node, "p")
    if p not in (1, 2) or math.prod(shape_of(node)) * shape_of(first)[-1] > _LARGEST:
        return None
    a = graph.call(aten.unsqueeze.default, first, -2, like=node)
    b = graph.call(aten.unsqueeze.default, second, -3, like=node)
    apart = graph.call(aten.sub.Tensor, a, b, like=node)
    if p == 1:
        sizes = graph.call(aten.abs.default, apart, like=node)
        return graph.call(aten.sum.dim_IntList, sizes, [-1], like=node)
    squares = graph.call(aten.mul.Tensor, apart, apart, like=node)
    total = graph.call(aten.sum.dim_IntList, squares, [-1], like=node)
    return graph.call(aten.sqrt.default, total, like=node)


def has_vector(node: Node) -> bool:
    """Whether an operand of a product has one axis."""
    return any(isinstance(x, Node) and len(shape_of(x)) == 1 for x in node.args[:2])


# aten::matmul(Tensor self, Tensor other) -> Tensor
def inner(graph: GraphEditor, node: Node) -> Node:
    """The sum of the products of two vectors, or a product with a matrix of one row or column.

    coremltools fails on vectors: it asks for their second axis.
    """
    pair: list[Any] = list(node.args[:2])
    vectors = [len(shape_of(x)) == 1 for x in pair]
    if all(vectors):
        terms = graph.call(aten.mul.Tensor, *pair, like=node)
        return graph.call(aten.sum.dim_IntList, terms, [0], like=node)
    place = vectors.index(True)
    matrix = [1, -1] if place == 0 else [-1, 1]
    pair[place] = graph.call(aten.reshape.default, pair[place], matrix, like=node)
    y = graph.call(aten.matmul.default, *pair, like=node)
    return graph.call(aten.reshape.default, y, list(shape_of(node)), like=node)


# aten::einsum(str equation, Tensor[] tensors, *, int[]? path=None) -> Tensor
def einsum(graph: GraphEditor, node: Node) -> Node | None:
    """Letters for an ellipsis, and for three operands or more two at a time, smallest result first.

    None where that changes nothing, and for a diagonal, a result that is not named, or an axis of
    size 1 that is repeated.
    """
    equation, given = node.args[:2]
    assert isinstance(equation, str)
    assert isinstance(given, list | tuple)
    operands: list[Any] = list(given)
    terms = _named(equation, [len(shape_of(x)) for x in operands])
    if terms is None or any(len(set(term)) != len(term) for term in terms):
        return None
    *names, result = terms
    if len(operands) == 1:
        return _sums(graph, operands[0], names[0], result, node)
    if len(operands) == 2 and "." not in equation:
        return None
    sizes: dict[str, int] = {}
    for term, operand in zip(names, operands, strict=True):
        for axis, size in zip(term, shape_of(operand), strict=True):
            if sizes.setdefault(axis, size) != size:
                return None
    while len(operands) > 2:
        i, j, kept = min(_pairs(names, result), key=lambda pair: _elements(pair[2], sizes))
        product = _product(graph, (operands[i], operands[j]), (names[i], names[j]), kept, node)
        names = [n for k, n in enumerate(names) if k not in (i, j)] + [kept]
        operands = [x for k, x in enumerate(operands) if k not in (i, j)] + [product]
    return graph.call(aten.einsum.default, f"{','.join(names)}->{result}", operands, like=node)


def _sums(graph: GraphEditor, x: Node, name: str, result: str, like: Node) -> Node:
    """One operand: its sums along the axes that are not in the result, turned."""
    gone = [place for place, axis in enumerate(name) if axis not in result]
    if gone:
        x = graph.call(aten.sum.dim_IntList, x, gone, like=like)
    kept = [axis for axis in name if axis in result]
    order = [kept.index(axis) for axis in result]
    return graph.call(aten.permute.default, x, order, like=like) if order else x


def _named(equation: str, ranks: Sequence[int]) -> list[str] | None:
    """The terms of ``equation``, result last, with letters of their own for an ellipsis."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != len(ranks):
        return None
    free = [letter for letter in string.ascii_letters if letter not in equation]
    lengths = [rank - len(t) + 3 for t, rank in zip(terms, ranks, strict=True) if "..." in t]
    most = max(lengths, default=0)
    if most > len(free):
        return None
    wide = "".join(free[:most])
    named = [
        term.replace("...", wide[most - (rank - len(term) + 3) :]) if "..." in term else term
        for term, rank in zip(terms, ranks, strict=True)
    ]
    return [*named, result.replace("...", wide)]


def _pairs(names: Sequence[str], result: str) -> list[tuple[int, int, str]]:
    """Two operands, and the axes of their product that somebody still asks for."""
    found = []
    for i, j in itertools.combinations(range(len(names)), 2):
        later = set(result).union(*(names[k] for k in range(len(names)) if k not in (i, j)))
        both = dict.fromkeys(names[i] + names[j])
        found.append((i, j, "".join(axis for axis in both if axis in later)))
    return found


def _elements(term: str, sizes: dict[str, int]) -> int:
    return math.prod(sizes[axis] for axis in term)


def _product(
    graph: GraphEditor, pair: Sequence[Node], names: Sequence[str], kept: str, like: Node
) -> Node:
    """Two operands multiplied: element by element where no axis is summed, else an einsum."""
    if set(names[0] + names[1]) != set(kept):
        equation = f"{names[0]},{names[1]}->{kept}"
        return graph.call(aten.einsum.default, equation, list(pair), like=like)
    aligned = []
    for operand, name in zip(pair, names, strict=True):
        order = [name.index(axis) for axis in kept if axis in name]
        moved = graph.call(aten.permute.default, operand, order, like=like)
        sizes = dict(zip(name, shape_of(operand), strict=True))
        shape = [sizes.get(axis, 1) for axis in kept]
        aligned.append(graph.call(aten.reshape.default, moved, shape, like=like))
    return graph.call(aten.mul.Tensor, *aligned, like=like)


def is_unusual(node: Node) -> bool:
    """Whether queries have other than four axes, heads share keys, or a mask is stored."""
    rank = len(shape_of(node.args[0]))  # type: ignore[arg-type]
    mask = argument(node, "attn_mask")
    stored = mask is not None and mask.op != "call_function"
    return stored or _is_of_other_axes(rank, node)


def _is_of_other_axes(rank: int, node: Node) -> bool:
    return rank in (2, 3) or (rank == 4 and bool(argument(node, "enable_gqa")))


# aten::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None,
#     float dropout_p=0.0, bool is_causal=False, *, float? scale=None, bool enable_gqa=False)
def attention(graph: GraphEditor, node: Node) -> Any:
    """Of four axes, with a key and a value for every query's head, which torch.onnx asks for.

    Queries that a stored mask leaves no key give 0 (`torch._safe_softmax`), and NaN or the mean of
    all values elsewhere: they see all keys, and are multiplied by 0.
    """
    mask = argument(node, "attn_mask")
    seeing = _seeing(graph, mask)
    if seeing is not None:
        return _without_blind(graph, node, mask, seeing)
    if not _is_of_other_axes(len(shape_of(node.args[0])), node):  # type: ignore[arg-type]
        return None
    causal, scale = argument(node, "is_causal"), argument(node, "scale")
    shape = shape_of(node)

    def attend(query: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        parts = [
            part.reshape([1] * (4 - part.ndim) + list(part.shape)) for part in (query, *others[:2])
        ]
        q, k, v = (_repeated(part, parts[0].shape[1]) for part in parts)
        held = others[2] if len(others) > 2 else None
        y = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, held, 0.0, is_causal=causal, scale=scale
        )
        return y.reshape(shape)

    operands = [*node.args[:3], *([] if mask is None else [mask])]
    return inline(graph, node, attend, *operands)


def _seeing(graph: GraphEditor, mask: Any) -> torch.Tensor | None:
    """(…, L, 1): whether each query sees a key; None where all do, or the mask is not stored."""
    held = None if mask is None else graph.constant(mask)
    if held is None:
        return None
    seen = held if held.dtype == torch.bool else held != -math.inf
    seeing = seen.any(-1, keepdim=True)
    return None if seeing.all() else seeing


def _without_blind(graph: GraphEditor, node: Node, mask: Node, seeing: torch.Tensor) -> Node:
    """The attention of ``node`` with a mask that leaves every query a key, times 1 or 0."""
    held = graph.constant(mask)
    assert held is not None
    open_mask = torch.where(seeing, held, torch.full_like(held, held.dtype == torch.bool))
    stored = graph.add_constant(open_mask, f"{node.name}.mask")
    names = ("dropout_p", "is_causal")
    kwargs = {name: argument(node, name) for name in ("scale", "enable_gqa")}
    given = [argument(node, name) for name in names]
    y = graph.call(node.target, *node.args[:3], stored, *given, like=node, kwargs=kwargs)
    kept = graph.add_constant(seeing.to(node.meta["val"].dtype), f"{node.name}.seeing")
    return graph.call(aten.mul.Tensor, y, kept, like=node)


def _repeated(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, H, N, E) with each head repeated until there are ``heads``."""
    batch, own, *rest = x.shape
    if own == heads:
        return x
    wide = x.unsqueeze(2).expand(batch, own, heads // own, *rest)
    return wide.reshape(batch, heads, *rest)

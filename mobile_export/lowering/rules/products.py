"""Lowerings of matrix products, einsum and attention."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .. import ir
from ..builder import Builder
from ..lookahead import preferred_layout
from ..operands import agree, isolate
from ..table import Call, Operand, lowers
from ..view import Factor, View
from .elementwise import binary
from .linear import linear
from .moving import expand, reshape
from .statistics import reduce, softmax

__all__ = ["matmul"]

aten = torch.ops.aten

_MASKED = -3e4
"""Added to scores that a boolean mask excludes: their softmax is 0, and float16 holds it."""

_SWAPPED_PRICE = 0.3
"""What a transposed product costs more, per element: its users want the plain order."""


@lowers(aten.linear.default)
def _linear(call: Call) -> View:
    weight, bias = call.get("weight"), call.get("bias")
    x = call.first()
    builder = call.builder
    if isinstance(weight, np.ndarray) and not isinstance(bias, View) and isinstance(x, View):
        matrix, last = weight.reshape(-1, x.shape[-1]), len(x.shape) - 1
        result = linear(builder, x, last, matrix, bias, preferred=preferred_layout(call))
        return reshape(builder, result, call.shape)
    product = matmul(builder, call.view(x), call.view(weight).permute([1, 0]), call.shape)
    return product if bias is None else binary(builder, "add", product, bias, call.shape)


def matmul(builder: Builder, a: View, b: View, shape: ir.Shape) -> View:
    """``a @ b`` with torch's broadcasting of the leading axes."""
    if len(a.shape) == 1:
        a = reshape(builder, a, (1, *a.shape))
    if len(b.shape) == 1:
        b = reshape(builder, b, (*b.shape, 1))
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rank = len(batch) + 2
    a, b = (reshape(builder, v, (1,) * (rank - len(v.shape)) + v.shape) for v in (a, b))
    rows, columns = a.shape[-2], b.shape[-1]
    full = (*batch, rows, columns)
    if math.prod(batch) > 1 and math.prod(b.shape[:-2]) == 1:
        result = _shared(builder, a, b, full)
    elif math.prod(batch) > 1 and math.prod(a.shape[:-2]) == 1:
        swap = [*range(rank - 2), rank - 1, rank - 2]
        turned = (*batch, columns, rows)
        result = _shared(builder, b.permute(swap), a.permute(swap), turned).permute(swap)
    else:
        a, b = (expand(builder, v, (*batch, *v.shape[-2:])) for v in (a, b))
        result = _batched_product(builder, a, b, full)
    return reshape(builder, result, shape)


def _shared(builder: Builder, a: View, b: View, shape: ir.Shape) -> View:
    """(…, M, K) @ (K, N): every row of ``a``, in any order, times one matrix."""
    axis = len(shape) - 1
    held = isolate(builder, a, [axis], "last")
    left = held.value
    if len(left.shape) == 1:
        left = builder.reshaped(left, (1, *left.shape))
    right = builder.place(b, [axis], [axis - 1])
    result = builder.add(ir.MatMul, [left, right], (left.shape[0], shape[-1]), transpose_b=True)
    rest = [factor for factor in itertools.chain(*held.groups) if factor.axis != axis]
    last = [Factor(axis, 0, shape[-1])] if shape[-1] != 1 else []
    return View.of_factors(result, shape, [*rest, *last]).joined()


def _batched_product(builder: Builder, a: View, b: View, shape: ir.Shape) -> View:
    """(B…, M, K) @ (B…, K, N) in the memory order of the batch, and as the product or as its
    transpose, whichever moves fewer elements."""
    m, n = len(shape) - 2, len(shape) - 1
    a, b = agree(builder, [a, b], but=(m, n))
    row, inner_a = a.of_axes([m]), a.of_axes([n])
    inner_b, column = b.of_axes([m]), b.of_axes([n])
    size = math.prod(shape)
    best: tuple[float, Any] = (math.inf, None)
    for lead in dict.fromkeys(
        [a.without([m, n]), b.without([m, n]), tuple(sorted(a.without([m, n])))]
    ):
        for swapped in (False, True):
            first, second = ((b, column, inner_b), (a, row, inner_a)) if swapped else (
                (a, row, inner_a), (b, column, inner_b)
            )  # fmt: skip
            cost = builder.cost(first[0], [*lead, *first[1], *first[2]])
            cost += _SWAPPED_PRICE * size * swapped
            for turned in (True, False):
                order = (second[1], second[2]) if turned else (second[2], second[1])
                total = cost + builder.cost(second[0], [*lead, *order[0], *order[1]])
                if total < best[0]:
                    best = (total, (lead, swapped, turned, first, second, order))
    lead, swapped, turned, first, second, order = best[1]
    batch = [lead] if lead else []
    left = builder.put(first[0], [*batch, first[1], first[2]])
    right = builder.put(second[0], [*batch, *order])
    sizes = [left.shape[-2], right.shape[-2 if turned else -1]]
    value = builder.add(ir.MatMul, [left, right], [*left.shape[:-2], *sizes], transpose_b=turned)
    axes = (n, m) if swapped else (m, n)
    tail = [Factor(axis, 0, shape[axis]) for axis in axes if shape[axis] != 1]
    return View.of_factors(value, shape, [*lead, *tail]).joined()


@lowers(aten.matmul.default)
def _matmul(call: Call) -> View:
    return _product(call.builder, call.first(), call.get("other"), call.shape, call.view)


def _product(
    builder: Builder,
    first: Operand,
    second: Operand,
    shape: ir.Shape,
    stored: Callable[[Operand], View],
) -> View:
    """``first @ second``; ``stored`` makes a view of an operand."""
    if isinstance(second, np.ndarray) and isinstance(first, View):
        matrix = _matrix(second)
        if matrix is not None and len(first.shape) > 1:
            axis = len(first.shape) - 1
            return reshape(builder, linear(builder, first, axis, matrix.T, None), shape)
    if isinstance(first, np.ndarray) and isinstance(second, View):
        matrix = _matrix(first)
        if matrix is not None and len(second.shape) > 1:
            axis = len(second.shape) - 2
            return reshape(builder, linear(builder, second, axis, matrix, None), shape)
    return matmul(builder, stored(first), stored(second), shape)


def _matrix(array: np.ndarray) -> np.ndarray | None:
    """A stored operand without batch as a matrix."""
    if array.ndim < 2 or math.prod(array.shape[:-2]) != 1:
        return None
    return array.reshape(array.shape[-2:])


_SUMS = {
    aten.addmm.default: ("mat1", "mat2"),
    aten.baddbmm.default: ("batch1", "batch2"),
    aten.addbmm.default: ("batch1", "batch2"),
    aten.addmv.default: ("mat", "vec"),
}


@lowers(*_SUMS)
def _product_plus(call: Call) -> View:
    """alpha a @ b + beta c; ``addbmm`` adds up the products of its batch."""
    builder, shape = call.builder, call.shape
    a, b = (call.get(name) for name in _SUMS[call.target])
    batched = call.target is aten.addbmm.default
    whole = (a.shape[0], *shape) if batched else shape
    product = _product(builder, a, b, whole, call.view)
    if batched:
        product = reduce(builder, "sum", product, [0], shape)
    if call.get("alpha") != 1:
        product = binary(builder, "mul", product, call.get("alpha"), shape)
    other, beta = call.first(), call.get("beta")
    if beta == 0:
        return product
    if beta != 1:
        other = other * beta if isinstance(other, np.ndarray) else binary(
            builder, "mul", other, beta, other.shape
        )  # fmt: skip
    return binary(builder, "add", product, other, shape)


@lowers(aten.einsum.default)
def _einsum(call: Call) -> View:
    """Of two tensors: axes that only one has and the result lacks are summed, then it is a product
    of (batch, rows, inner) and (batch, inner, columns)."""
    builder, tensors = call.builder, call.get("tensors")
    left, _, out = call.get("equation").replace(" ", "").partition("->")
    terms = left.split(",")
    if "." in left or len(terms) != 2 or any(len(set(t)) != len(t) for t in (*terms, out)):
        raise call.refuse(f"its equation is {call.get('equation')!r}", "Use matmul.")
    views = [call.view(tensor) for tensor in tensors]
    for i, (view, term) in enumerate(zip(views, terms, strict=True)):
        alone = [axis for axis, name in enumerate(term) if name not in terms[1 - i] + out]
        if alone:
            kept = [axis for axis in range(len(term)) if axis not in alone]
            shape = tuple(view.shape[axis] for axis in kept)
            views[i] = reduce(builder, "sum", view, alone, shape)
            terms[i] = "".join(term[axis] for axis in kept)
    sizes = {
        name: size
        for view, term in zip(views, terms, strict=True)
        for name, size in zip(term, view.shape, strict=True)
    }
    first, second = terms
    batch = [name for name in first if name in second and name in out]
    inner = [name for name in first if name in second and name not in out]
    rows = [name for name in first if name not in second]
    columns = [name for name in second if name not in first]

    def arranged(view: View, term: str, *groups: list[str]) -> View:
        turned = view.permute([term.index(name) for group in groups for name in group])
        lead = [sizes[name] for name in groups[0]]
        shape = [*lead, *[math.prod(sizes[name] for name in group) for group in groups[1:]]]
        return reshape(builder, turned, shape)

    a = arranged(views[0], first, batch, rows, inner)
    b = arranged(views[1], second, batch, inner, columns)
    product = matmul(builder, a, b, (*a.shape[:-1], b.shape[-1]))
    names = [*batch, *rows, *columns]
    apart = reshape(builder, product, [sizes[name] for name in names])
    return apart.permute([names.index(name) for name in out])


@lowers(aten.scaled_dot_product_attention.default)
def _attention(call: Call) -> View:
    """softmax(q kᵀ · scale + mask) v; the scale goes to the smallest operand."""
    builder = call.builder
    query, key, value = (call.view(call.get(name)) for name in ("query", "key", "value"))
    if call.get("enable_gqa") and query.shape[1] != key.shape[1]:
        raise call.refuse("its heads share keys (enable_gqa)", "Repeat the keys and values.")
    mask = call.get("attn_mask")
    scale = call.get("scale")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if isinstance(mask, np.ndarray) and mask.dtype == np.bool_:
        mask = np.where(mask, 0.0, _MASKED)
    rows, columns = query.shape[-2], key.shape[-2]
    if call.get("is_causal"):
        mask = np.where(np.tri(rows, columns, dtype=np.bool_), 0.0, _MASKED)
    rank = len(key.shape)
    if query.size <= key.size:
        query = binary(builder, "mul", query, scale, query.shape)
    else:
        key = binary(builder, "mul", key, scale, key.shape)
    batch = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    shape = (*batch, rows, columns)
    scores = matmul(builder, query, key.permute([*range(rank - 2), rank - 1, rank - 2]), shape)
    if mask is not None:
        scores = binary(builder, "add", scores, mask, shape)
    return matmul(builder, softmax(builder, scores, len(shape) - 1), value, call.shape)

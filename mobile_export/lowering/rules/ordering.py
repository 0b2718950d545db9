"""Lowerings of what depends on the order of elements: sorting, medians, running extremes.

Sorting n elements compares each with each: element i has the rank of how many are below it, and of
how many equal ones stand before it. With P[r, i] = 1 where the rank of i is r, the sorted elements
are P x and their places P (0, 1, 2, …); every sum has one term that is not 0, so it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .. import ir
from ..builder import Builder
from ..table import Call, lowers
from ..view import View
from .comparing import as_truth, equal, step
from .elementwise import activate, binary, unary
from .gathering import gather
from .linear import linear
from .moving import concat, narrow, reshape
from .statistics import argmax, axes_of, flattened, only_place, reduce

__all__: list[str] = []

aten = torch.ops.aten

_LARGEST = 1 << 22
"""Comparisons of one sort."""
_PLACES = 2048
"""Places that float16 can count."""


# Sorting ------------------------------------------------------------------------------------------


def _sorted(
    call: Call, x: View, axis: int, first: int, count: int, *, descending: bool = False
) -> list[View]:
    """The elements of ``x`` of ranks ``first`` to ``first + count`` along ``axis``, and their
    places."""
    builder = call.builder
    size = x.shape[axis] if x.shape else 1
    lead = [n for i, n in enumerate(x.shape) if i != axis]
    rest = math.prod(lead)
    if rest * size * size > _LARGEST or size > _PLACES:
        raise call.refuse(
            f"it orders {rest} times {size} elements, which takes {rest * size * size} comparisons",
            f"{_LARGEST} can be, of at most {_PLACES} elements.",
        )
    order = [i for i in range(len(x.shape)) if i != axis]
    turned = x.permute([*order, axis]) if x.shape else x
    rows = reshape(builder, turned, (rest, size))
    rank = _ranks(builder, rows, descending=descending)
    places = np.arange(first, first + count, dtype=np.float64).reshape(1, count, 1)
    shape = (rest, count, size)
    chosen = equal(builder, reshape(builder, rank, (rest, 1, size)), places, shape)
    found = []
    for held in (reshape(builder, rows, (rest, 1, size)), np.arange(size, dtype=np.float64)):
        terms = binary(builder, "mul", chosen, held, shape)
        total = reduce(builder, "sum", terms, [2], (rest, count))
        apart = reshape(builder, total, [*lead, count])
        back = [*range(axis), len(lead), *range(axis, len(lead))]
        found.append(apart.permute(back))
    return found


def _ranks(builder: Builder, rows: View, *, descending: bool) -> View:
    """(R, n) -> how many of a row stand before each element of it."""
    count, size = rows.shape
    shape = (count, size, size)
    mine = reshape(builder, rows, (count, size, 1))
    other = reshape(builder, rows, (count, 1, size))
    earlier = np.tri(size, k=-1)  # [i, j]: j < i, where equal ones count, too
    a, b = (other, mine) if descending else (mine, other)
    apart = binary(builder, "sub", a, b, shape)
    # j before i: 1 - [b_j > a_i] where j < i, else [a_i > b_j].
    signs = 1.0 - 2.0 * earlier
    counted = step(builder, binary(builder, "mul", apart, signs[None], shape))
    counted = binary(builder, "mul", counted, signs[None], shape)
    counted = binary(builder, "add", counted, earlier[None], shape)
    return reduce(builder, "sum", counted, [2], (count, size))


def _axis(call: Call) -> int:
    return int(call.get("dim")) % max(len(call.x.shape), 1)


@lowers(aten.sort.default, aten.sort.stable)
def _sort(call: Call) -> tuple[View, ...]:
    x, axis = call.x, _axis(call)
    if not x.shape:
        return x, only_place(call.builder, x)
    descending = bool(call.get("descending"))
    if call.items == {0} and x.size * x.shape[axis] > _LARGEST:
        values = _merged(call.builder, x, axis)
        if descending:
            values = _flipped(call, values, axis)
        return values, values
    return tuple(_sorted(call, x, axis, 0, x.shape[axis], descending=descending))


def _flipped(call: Call, x: View, axis: int) -> View:
    return gather(call.builder, x, axis, range(x.shape[axis] - 1, -1, -1))


@lowers(aten.topk.default)
def _topk(call: Call) -> tuple[View, ...]:
    x, axis = call.x, _axis(call)
    if not x.shape:
        return x, only_place(call.builder, x)
    return tuple(_sorted(call, x, axis, 0, call.get("k"), descending=bool(call.get("largest"))))


@lowers(aten.kthvalue.default, aten.median.dim, aten.nanmedian.dim)
def _kth(call: Call) -> tuple[View, ...]:
    x, axis = call.x, _axis(call)
    if not x.shape:
        return x, only_place(call.builder, x)
    kth = call.target is aten.kthvalue.default
    rank = call.get("k") - 1 if kth else (x.shape[axis] - 1) // 2
    found = _sorted(call, x, axis, rank, 1)
    return tuple(reshape(call.builder, view, call.shape) for view in found)


@lowers(aten.median.default, aten.nanmedian.default)
def _median(call: Call) -> View:
    x = flattened(call.builder, call.x)
    value, _ = _sorted(call, x, 0, (x.size - 1) // 2, 1)
    return reshape(call.builder, value, call.shape)


@lowers(
    aten.quantile.scalar, aten.quantile.default, aten.nanquantile.scalar, aten.nanquantile.default
)  # fmt: skip
def _quantile(call: Call) -> View:
    """The sorted elements, weighted: two neighbours of each wanted rank."""
    q, axis, x = call.get("q"), call.get("dim"), call.x
    if isinstance(q, View):
        raise call.refuse("which quantile is computed from the image", "Give it a number.")
    if axis is None:
        x, axis = flattened(call.builder, x), 0
    axis %= len(x.shape)
    size = x.shape[axis]
    ordered = _sorted(call, x, axis, 0, size)[0]
    wanted = np.atleast_1d(np.asarray(q, dtype=np.float64)) * (size - 1)
    weights = np.stack([_weights(rank, size, call.get("interpolation")) for rank in wanted])
    found = linear(call.builder, ordered, axis, weights, None)
    rank = len(found.shape)
    first = found.permute([axis, *[i for i in range(rank) if i != axis]])
    return reshape(call.builder, first, call.shape)


def _weights(rank: float, size: int, mode: str) -> np.ndarray:
    """(size,): how much of each sorted element is in the quantile of ``rank``."""
    low, high = math.floor(rank), math.ceil(rank)
    part = rank - low
    if mode == "nearest":
        low = high = round(rank)
    elif mode == "lower":
        high = low
    elif mode == "higher":
        low = high
    elif mode == "midpoint":
        part = 0.5
    weights = np.zeros(size)
    weights[low] += 1 - part
    weights[high] += part
    return weights


def _merged(builder: Builder, x: View, axis: int) -> View:
    """Sorted by a bitonic network (Batcher 1968): minima and maxima of halves."""
    size = x.shape[axis]
    order = [i for i in range(len(x.shape)) if i != axis]
    lead = [x.shape[i] for i in order]
    rest = math.prod(lead)
    rows = reshape(builder, x.permute([*order, axis]), (rest, size))
    whole = 1 << (size - 1).bit_length()
    if whole > size:  # filled up with the largest of the row, which changes no place before it
        top = reduce(builder, "max", rows, [1], (rest, 1))
        fill = binary(builder, "mul", top, np.ones((1, whole - size)), (rest, whole - size))
        rows = concat(builder, [rows, fill], 1, (rest, whole))
    width = 2
    while width <= whole:
        blocks = reshape(builder, rows, (rest * whole // width, 2, width // 2))
        low, high = (narrow(builder, blocks, 1, i, 1) for i in (0, 1))
        high = gather(builder, high, 2, range(width // 2 - 1, -1, -1))
        rows = _exchanged(builder, low, high)
        step_ = width // 4
        while step_:
            blocks = reshape(builder, rows, (rest * whole // (2 * step_), 2, step_))
            low, high = (narrow(builder, blocks, 1, i, 1) for i in (0, 1))
            rows = _exchanged(builder, low, high)
            step_ //= 2
        width *= 2
    kept = narrow(builder, reshape(builder, rows, (rest, whole)), 1, 0, size)
    apart = reshape(builder, kept, [*lead, size])
    return apart.permute([*range(axis), len(lead), *range(axis, len(lead))])


def _exchanged(builder: Builder, low: View, high: View) -> View:
    small = binary(builder, "min", low, high, low.shape)
    large = binary(builder, "max", low, high, low.shape)
    count, _, size = low.shape
    return concat(builder, [small, large], 1, (count, 2, size))


# Running results ----------------------------------------------------------------------------------


def scan(builder: Builder, x: View, axis: int, combine: Callable[[View, View], View]) -> View:
    """Every element combined with all before it, in log2(n) steps (Hillis and Steele 1986)."""
    size = x.shape[axis] if x.shape else 1
    shift = 1
    while shift < size:
        head = narrow(builder, x, axis, 0, shift)
        later = narrow(builder, x, axis, shift, size - shift)
        earlier = narrow(builder, x, axis, 0, size - shift)
        x = concat(builder, [head, combine(later, earlier)], axis, x.shape)
        shift *= 2
    return x


def _elementwise(builder: Builder, op: ir.BinaryOp) -> Callable[[View, View], View]:
    return lambda a, b: binary(builder, op, a, b, a.shape)


@lowers(aten.cumprod.default)
def _cumprod(call: Call) -> View:
    return scan(call.builder, call.x, _axis(call), _elementwise(call.builder, "mul"))


@lowers(aten.logcumsumexp.default)
def _logcumsumexp(call: Call) -> View:
    builder = call.builder

    def combine(a: View, b: View) -> View:
        """log(exp(a) + exp(b)) = max(a, b) + log(1 + exp(-|a - b|))."""
        apart = unary(builder, "abs", binary(builder, "sub", a, b, a.shape))
        soft = activate(builder, unary(builder, "neg", apart), ir.Nonlinearity("softplus"))
        return binary(builder, "add", binary(builder, "max", a, b, a.shape), soft, a.shape)

    return scan(builder, call.x, _axis(call), combine)


@lowers(aten.cummax.default, aten.cummin.default)
def _cummax(call: Call) -> tuple[View, ...]:
    """The places are the last ones that hold the extreme."""
    x, axis, builder = call.x, _axis(call), call.builder
    op: ir.BinaryOp = "max" if call.target is aten.cummax.default else "min"
    values = scan(builder, x, axis, _elementwise(builder, op))
    if call.items == {0} or not x.shape:
        return values, (values if x.shape else only_place(builder, x))
    size = x.shape[axis]
    counts = np.arange(size, dtype=np.float64).reshape(
        [-1 if i == axis else 1 for i in range(len(x.shape))]
    )
    here = equal(builder, x, values, x.shape)
    places = binary(builder, "mul", here, counts, x.shape)
    return values, scan(builder, places, axis, _elementwise(builder, "max"))


@lowers(aten.argmin.default)
def _argmin(call: Call) -> Any:
    return argmax(call, unary(call.builder, "neg", call.x))


@lowers(aten.argsort.default, aten.argsort.stable)
def _argsort(call: Call) -> View:
    x, axis = call.x, _axis(call)
    if not x.shape:
        return only_place(call.builder, x)
    found = _sorted(call, x, axis, 0, x.shape[axis], descending=bool(call.get("descending")))
    return found[1]


@lowers(
    aten.any.default, aten.any.dim, aten.any.dims, aten.all.default, aten.all.dim, aten.all.dims
)
def _any(call: Call) -> View:
    """The largest truth value, or the smallest."""

    truth = call.view(as_truth(call, call.names[0]))
    some = call.target in (aten.any.default, aten.any.dim, aten.any.dims)
    return reduce(call.builder, "max" if some else "min", truth, axes_of(call), call.shape)


@lowers(aten.mode.default)
def _mode(call: Call) -> tuple[View, ...]:
    """The smallest of the values that occur most often, and the last place that holds it."""
    x, axis, builder = call.x, _axis(call), call.builder
    if not x.shape:
        return x, only_place(builder, x)
    size = x.shape[axis]
    lead = [i for i in range(len(x.shape)) if i != axis]
    count = math.prod(x.shape[i] for i in lead)
    if count * size * size > _LARGEST or size > _PLACES:
        raise call.refuse(f"it compares {count} times {size} elements with each other")
    shape = (count, size, size)
    rows = reshape(builder, x.permute([*lead, axis]), (count, size))
    mine, other = (reshape(builder, rows, (count, *s)) for s in ((size, 1), (1, size)))
    often = reduce(builder, "sum", equal(builder, mine, other, shape), [2], (count, size))
    most = reduce(builder, "max", often, [1], (count, 1))
    chosen = equal(builder, often, most, (count, size))
    # Others are moved behind the largest, where no minimum finds them.
    top = reduce(builder, "max", rows, [1], (count, 1))
    apart = binary(builder, "sub", rows, top, (count, size))
    lowest = reduce(
        builder, "min", binary(builder, "mul", apart, chosen, shape[:2]), [1], most.shape
    )
    held = binary(builder, "mul", chosen, equal(builder, apart, lowest, shape[:2]), shape[:2])
    terms = binary(builder, "mul", held, np.arange(size, dtype=np.float64)[None], shape[:2])
    place = reduce(builder, "max", terms, [1], (count, 1))
    value = binary(builder, "add", lowest, top, (count, 1))
    return tuple(reshape(builder, view, call.shape) for view in (value, place))


@lowers(aten.max.dim, aten.min.dim)
def _extreme(call: Call) -> tuple[View, ...]:
    """The extreme, and the first place that holds it."""
    maximum = call.target is aten.max.dim
    value = reduce(call.builder, "max" if maximum else "min", call.x, axes_of(call), call.shape)
    if call.items == {0}:
        return (value,)
    x = call.x if maximum else unary(call.builder, "neg", call.x)
    return value, argmax(call, x)

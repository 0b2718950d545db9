"""Lowerings of what moves, cuts, joins, repeats and gathers elements."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch

from ..lookahead import preferred_layout
from ..table import Call, lowers
from ..view import View
from .affine import affine
from .comparing import above, as_truth, equal, negated
from .elementwise import binary, unary
from .gathering import gather
from .linear import linear
from .moving import concat, expand, narrow, pad, reshape
from .statistics import reduce

__all__: list[str] = []

aten = torch.ops.aten


@lowers(aten.reshape.default)
def _reshape(call: Call) -> View:
    return reshape(call.builder, call.x, call.shape)


@lowers(aten.permute.default)
def _permute(call: Call) -> View:
    x = call.x
    return x.permute([axis % len(x.shape) for axis in call.get("dims")])


@lowers(
    aten.clone.default,
    aten._to_copy.default,
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.to.device,
    aten.to.other,
    aten.type_as.default,
)
def _same(call: Call) -> View:
    """Everything is a float: only what becomes an integer or a truth value changes."""
    name = call.names[0]
    source, result = call.dtype(name), call.node.meta["val"].dtype
    if result == torch.bool and source != torch.bool:
        return call.view(as_truth(call, name))
    if source.is_floating_point and not result.is_floating_point and call.x.size:
        return unary(call.builder, "trunc", call.x)
    return call.x


@lowers(aten.slice.Tensor)
def _slice(call: Call) -> View:
    x = call.x
    axis = call.get("dim") % len(x.shape)
    start, stop, step = slice(call.get("start"), call.get("end"), call.get("step")).indices(
        x.shape[axis]
    )
    return narrow(call.builder, x, axis, start, len(range(start, stop, step)), step)


@lowers(aten.narrow.default)
def _narrow(call: Call) -> View:
    x = call.x
    axis = call.get("dim") % len(x.shape)
    return narrow(call.builder, x, axis, call.get("start") % x.shape[axis], call.get("length"))


@lowers(aten.select.int)
def _select(call: Call) -> View:
    x = call.x
    axis = call.get("dim") % len(x.shape)
    part = narrow(call.builder, x, axis, call.get("index") % x.shape[axis], 1)
    return reshape(call.builder, part, call.shape)


@lowers(
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.unbind.int,
    aten.tensor_split.sections,
    aten.tensor_split.indices,
    aten.unbind_copy.int,
)
def _split(call: Call) -> tuple[View, ...]:
    x = call.x
    axis = call.get("dim") % len(x.shape)
    unbound = call.target in (aten.unbind.int, aten.unbind_copy.int)
    parts, start = [], 0
    for number, shape in enumerate(call.shapes):
        size = 1 if unbound else shape[axis]
        if number in call.items:
            part = narrow(call.builder, x, axis, start, size)
            parts.append(reshape(call.builder, part, shape))
        else:
            parts.append(x)  # nobody asks for it
        start += size
    return tuple(parts)


@lowers(operator.getitem)
def _getitem(call: Call) -> View:
    items: Any = call.first()
    item: View = items[call.node.args[1]]
    return item


@lowers(aten.cat.default)
def _cat(call: Call) -> View:
    operands = [item for item in call.get("tensors") if 0 not in item.shape]
    return concat(call.builder, operands, call.get("dim") % len(call.shape), call.shape)


@lowers(aten.stack.default)
def _stack(call: Call) -> View:
    axis = call.get("dim") % len(call.shape)
    operands = []
    for item in call.get("tensors"):
        shape = (*item.shape[:axis], 1, *item.shape[axis:])
        operands.append(
            item.reshape(shape)
            if isinstance(item, np.ndarray)
            else reshape(call.builder, item, shape)
        )
    return concat(call.builder, operands, axis, call.shape)


@lowers(aten.expand.default)
def _expand(call: Call) -> View:
    return expand(call.builder, call.x, call.shape)


@lowers(aten.repeat.default, aten.tile.default)
def _repeat(call: Call) -> View:
    """Each axis n becomes (repeats, 1) x n, expanded and joined."""
    x, shape = call.x, call.shape
    lifted = (1,) * (len(shape) - len(x.shape)) + x.shape
    apart = [size for n in lifted for size in (1, n)]
    whole = [s for n, total in zip(lifted, shape, strict=True) for s in (total // n, n)]
    wide = expand(call.builder, reshape(call.builder, x, apart), tuple(whole))
    return reshape(call.builder, wide, shape)


@lowers(aten.repeat_interleave.self_int)
def _repeat_interleave(call: Call) -> View:
    x, axis = call.x, call.get("dim")
    if axis is None:
        x, axis = reshape(call.builder, x, [x.size]), 0
    axis %= len(x.shape)
    count = call.get("repeats")
    apart = (*x.shape[: axis + 1], 1, *x.shape[axis + 1 :])
    whole = (*x.shape[: axis + 1], count, *x.shape[axis + 1 :])
    wide = expand(call.builder, reshape(call.builder, x, apart), whole)
    return reshape(call.builder, wide, call.shape)


@lowers(aten.roll.default)
def _roll(call: Call) -> View:
    x, builder = call.x, call.builder
    shifts, axes = call.get("shifts"), call.get("dims")
    if not axes:
        x, axes = reshape(builder, x, [x.size]), [0]
    for shift, axis in zip(shifts, axes, strict=True):
        axis %= len(x.shape)
        size = x.shape[axis]
        shift %= size
        if shift:
            parts = [
                narrow(builder, x, axis, size - shift, shift),
                narrow(builder, x, axis, 0, size - shift),
            ]
            x = concat(builder, parts, axis, x.shape)
    return reshape(builder, x, call.shape)


@lowers(aten.flip.default)
def _flip(call: Call) -> View:
    x = call.x
    for axis in call.get("dims"):
        axis %= len(x.shape)
        x = gather(call.builder, x, axis, range(x.shape[axis] - 1, -1, -1))
    return x


@lowers(aten.gather.default)
def _gather(call: Call) -> View:
    index, x = call.get("index"), call.x
    if isinstance(index, np.ndarray):
        return affine(call)
    if not x.shape:
        return x
    axis = call.get("dim") % len(x.shape)
    for other, size in enumerate(index.shape):
        if other != axis and size != x.shape[other]:
            x = narrow(call.builder, x, other, 0, size)
    return _at(call, x, axis, index)


def _at(call: Call, x: View, axis: int, index: View) -> View:
    """The elements of ``x`` at a computed ``index`` along ``axis``.

    The sum of every element times whether the index is its place; one term of it is not 0.

    Args:
        index: of the rank of ``x``, with the other axes of its sizes or 1.
    """
    builder, size, rank = call.builder, x.shape[axis], len(x.shape)
    count = math.prod(call.shape) * size
    if count > _LARGEST or size > _PLACES:
        raise call.refuse(
            f"its index is computed from the image, which takes {count} comparisons with places",
            f"{_LARGEST} can be, of at most {_PLACES} places. Store the index, or cut the tensor.",
        )
    last = (*(i for i in range(rank) if i != axis), axis)
    back = (*range(axis), rank - 1, *range(axis, rank - 1))
    mine, wanted = x.permute(last), index.permute(last)
    shape = (*mine.shape[:-1], wanted.shape[-1], size)
    places = np.arange(size, dtype=np.float64)
    here = equal(
        builder,
        reshape(builder, wanted, (*wanted.shape, 1)),
        places.reshape([1] * rank + [size]),
        (*wanted.shape, size),
    )
    terms = binary(builder, "mul", here, reshape(builder, mine, (*mine.shape[:-1], 1, size)), shape)
    return reduce(builder, "sum", terms, [rank], shape[:-1]).permute(back)


_LARGEST = 1 << 20
_PLACES = 2048  # that float16 can count


@lowers(aten.index_select.default)
def _index_select(call: Call) -> View:
    x, index = call.x, call.get("index")
    if not x.shape:
        return reshape(call.builder, x, call.shape)
    axis = call.get("dim") % len(x.shape)
    if isinstance(index, View):
        shape = [index.size if i == axis else 1 for i in range(len(x.shape))]
        return _at(call, x, axis, reshape(call.builder, index, shape))
    return gather(call.builder, x, axis, [int(i) % x.shape[axis] for i in index.reshape(-1)])


@lowers(aten.embedding.default)
def _embedding(call: Call) -> View:
    """Rows of a stored table at computed places: whether an index is each of them, times these."""
    table, index = call.get("weight"), call.get("indices")
    if not isinstance(table, np.ndarray) or not isinstance(index, View):
        return affine(call)
    rows = table.shape[0]
    if index.size * rows > _LARGEST or rows > _PLACES:
        raise call.refuse(
            f"its index is computed from the image, which takes {index.size * rows} comparisons",
            f"{_LARGEST} can be, of at most {_PLACES} rows. Look the rows up in the app.",
        )
    places = np.arange(rows, dtype=np.float64).reshape(1, rows)
    flat = reshape(call.builder, index, (index.size, 1))
    here = equal(call.builder, flat, places, (index.size, rows))
    taken = linear(call.builder, here, 1, np.ascontiguousarray(table.T), None)
    return reshape(call.builder, taken, call.shape)


@lowers(aten.scatter.src, aten.scatter.value)
def _scatter(call: Call) -> View:
    """A number or a slice in one computed place along an axis, the others as they are."""
    x, index, value = call.first(), call.get("index"), call.get(call.names[3])
    axis = call.get("dim") % max(len(call.shape), 1)
    ones = tuple(1 if i == axis else size for i, size in enumerate(call.shape))
    one_slice = not isinstance(value, View | np.ndarray) or value.shape == ones
    if not isinstance(index, View) or index.shape != ones or not one_slice:
        return affine(call)
    builder, shape = call.builder, call.shape
    sizes = [size if i == axis else 1 for i, size in enumerate(shape)]
    places = np.arange(shape[axis], dtype=np.float64).reshape(sizes)
    here = equal(builder, index, places, shape)
    new = binary(builder, "mul", here, value, shape)
    if isinstance(x, np.ndarray) and not x.any():
        return new
    left = binary(builder, "mul", negated(builder, here), x, shape)
    return binary(builder, "add", left, new, shape)


@lowers(aten.index.Tensor, aten._unsafe_index.Tensor)
def _index(call: Call) -> View:
    """One index of any rank, or several stored ones together."""
    x = call.x
    given = [(axis, item) for axis, item in enumerate(call.get("indices")) if item is not None]
    if len(given) == 1 and isinstance(given[0][1], View) and not _is_truth(call, given[0][0]):
        axis, places = given[0]
        flat = reshape(
            call.builder, places, [places.size if i == axis else 1 for i in range(len(x.shape))]
        )
        below = above(call.builder, 0.0, flat, flat.shape)  # counted from behind
        behind = binary(call.builder, "mul", below, float(x.shape[axis]), flat.shape)
        wanted = binary(call.builder, "add", flat, behind, flat.shape)
        return reshape(call.builder, _at(call, x, axis, wanted), call.shape)
    if len(given) != 1 or not isinstance(given[0][1], np.ndarray):
        return affine(call)
    axis, index = given[0]
    if index.dtype == np.bool_:
        if index.ndim != 1:
            return affine(call)
        index = np.flatnonzero(index)
    flat = gather(call.builder, x, axis, [int(i) % x.shape[axis] for i in index.reshape(-1)])
    return reshape(call.builder, flat, call.shape)


def _is_truth(call: Call, axis: int) -> bool:
    """Whether the index along ``axis`` is a mask."""
    index: Any = call.node.args[1][axis]  # type: ignore[index]
    truth: bool = index.meta["val"].dtype == torch.bool
    return truth


@lowers(aten.pad.default, aten.constant_pad_nd.default)
def _pad(call: Call) -> View:
    named = call.target is aten.pad.default
    mode = call.get("mode") if named else "constant"
    if mode not in ("constant", "reflect", "replicate"):
        raise call.refuse(f"its mode is {mode}", "constant, reflect and replicate can be.")
    if mode != "constant" and min(call.get("pad")) < 0:
        return affine(call)
    return _pad_last(call, mode, call.get("value") or 0.0)


@lowers(
    aten.reflection_pad1d.default,
    aten.reflection_pad2d.default,
    aten.reflection_pad3d.default,
)
def _reflection_pad(call: Call) -> View:
    return _pad_last(call, "reflect", 0.0, name="padding")


@lowers(
    aten.replication_pad1d.default,
    aten.replication_pad2d.default,
    aten.replication_pad3d.default,
)
def _replication_pad(call: Call) -> View:
    return _pad_last(call, "replicate", 0.0, name="padding")


def _pad_last(call: Call, mode: str, value: float, name: str = "pad") -> View:
    numbers, rank = call.get(name), len(call.x.shape)
    pairs = {rank - 1 - i: (numbers[2 * i], numbers[2 * i + 1]) for i in range(len(numbers) // 2)}
    x, preferred = call.x, preferred_layout(call)
    if preferred is not None and preferred.factors == tuple(sorted(preferred.factors)):
        x = call.builder.contiguous(x)  # before it grows
    return pad(call.builder, x, pairs, mode, value)


@lowers(aten.pixel_shuffle.default, aten.pixel_unshuffle.default)
def _pixel_shuffle(call: Call) -> View:
    """As a rearrangement; `Builder.place` writes it as one layer where it is needed as it is."""
    x = call.x
    lead, (channels, height, width) = x.shape[:-3], x.shape[-3:]
    first = len(lead)
    axes = range(first)
    if call.target is aten.pixel_shuffle.default:
        f = call.get("upscale_factor")
        apart = reshape(call.builder, x, (*lead, channels // f**2, f, f, height, width))
        turn = (0, 3, 1, 4, 2)
    else:
        f = call.get("downscale_factor")
        apart = reshape(call.builder, x, (*lead, channels, height // f, f, width // f, f))
        turn = (0, 2, 4, 1, 3)
    turned = apart.permute([*axes, *[first + axis for axis in turn]])
    return reshape(call.builder, turned, call.shape)

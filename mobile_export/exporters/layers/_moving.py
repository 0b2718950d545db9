"""Lowerings of what moves, cuts, joins, repeats and gathers elements."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from . import ir
from ._arrange import Arranged, agree, isolate, repeat, store
from ._builder import Builder
from ._registry import Call, Operand, lowers
from ._view import Atom, View

__all__ = ["concat", "expand", "gather", "narrow", "pad", "reshape"]

aten = torch.ops.aten

_MAX_PIECES = 8
"""A gather of at most this many runs is written as slices, else as a product with a 0-1 matrix."""


def reshape(builder: Builder, view: View, shape: Sequence[int]) -> View:
    """``view`` in another shape; moved first where an axis would hold a part that lies apart."""
    direct = view.reshape(shape)
    if direct is None:
        direct = builder.contiguous(view).reshape(shape)
    assert direct is not None  # anything can be made of what is contiguous
    return direct


def narrow(builder: Builder, view: View, axis: int, start: int, size: int, step: int = 1) -> View:
    """``size`` elements along ``axis`` from ``start``, every ``step``-th."""
    if size == view.shape[axis]:
        return view
    held = isolate(builder, view, [axis])
    stop = start + (size - 1) * step + 1
    value = builder.add(
        ir.Slice,
        [held.value],
        held.sized(size),
        axis=held.axis,
        start=start,
        stop=stop,
        step=step,
    )
    return held.resized(value, [axis], [size])


def concat(builder: Builder, operands: Sequence[Operand], axis: int, shape: ir.Shape) -> View:
    """One after the other along ``axis``."""
    views = [operand for operand in operands if isinstance(operand, View)]
    cut = _cut_but(builder, views, axis, shape)
    order = _order_of_concat(builder, cut, axis, shape)
    runs, place = _axes_of_concat(builder, cut, order, axis)
    rest = iter(cut)
    parts = []
    for operand in operands:
        size = operand.shape[axis]
        if isinstance(operand, View):
            view = next(rest)
            mine = [view.of_axes([axis]) if i == place else run for i, run in enumerate(runs)]
            parts.append(builder.put(view, mine))
        else:
            mine = [(Atom(axis, 0, size),) if i == place else run for i, run in enumerate(runs)]
            parts.append(builder.constant(store(operand, operand.shape, mine)))
    sizes = [math.prod(atom.size for atom in run) for run in runs]
    sizes[place] = shape[axis]
    value = builder.add(ir.Concat, parts, sizes, axis=place)
    whole = Atom(axis, 0, shape[axis])
    atoms = [[whole] if i == place else run for i, run in enumerate(runs)]
    return View.moved(value, shape, itertools.chain(*atoms))


def _cut_but(builder: Builder, views: list[View], axis: int, shape: ir.Shape) -> list[View]:
    """`agree` on all axes but ``axis``."""
    others = [View(v.value, _unit(v.shape, axis), v.without([axis])) for v in views]
    cut = agree(builder, others)
    result = []
    for view, other in zip(views, cut, strict=True):
        if other.value is not view.value:  # it was written anew
            view = builder.contiguous(view)
        sizes = {a: [x.size for x in other.of_axes([a])] for a in {x.axis for x in other.atoms}}
        result.append(view.refined(sizes))
    return result


def _unit(shape: ir.Shape, axis: int) -> ir.Shape:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _order_of_concat(
    builder: Builder, views: Sequence[View], axis: int, shape: ir.Shape
) -> tuple[Atom | None, ...]:
    """Memory order of the result, in which None stands for the axis: what moves least."""
    first = views[0].without([axis])
    best: tuple[Atom | None, ...] = ()
    least = math.inf
    candidates: list[tuple[Atom | None, ...]] = []
    for view in views:
        for variant in (view, *builder.variants(view)):
            mine = [i for i, atom in enumerate(variant.atoms) if atom.axis == axis]
            kept = list(variant.without([axis]))
            if mine:
                candidates.append((*kept[: mine[0]], None, *kept[mine[0] :]))
    plain = sorted(first)
    place = sum(atom.axis < axis for atom in plain)
    candidates.append((*plain[:place], None, *plain[place:]))
    for order in dict.fromkeys(candidates):
        cost = 0.0
        for view in views:
            mine_atoms = view.of_axes([axis])
            cost += builder.cost(
                view, [a for item in order for a in (mine_atoms if item is None else (item,))]
            )
        if cost < least:
            best, least = order, cost
    return best


def _axes_of_concat(
    builder: Builder, views: Sequence[View], order: tuple[Atom | None, ...], axis: int
) -> tuple[list[tuple[Atom, ...]], int]:
    """The atoms on each axis of the result, and which axis is the one that grows."""
    for view in views:
        mine = view.of_axes([axis])
        wanted = tuple(a for item in order for a in (mine if item is None else (item,)))
        for variant in (view, *builder.variants(view)):
            dims = variant.dims()
            if variant.atoms == wanted and dims is not None and mine and mine in dims:
                return dims, dims.index(mine)
    place = order.index(None)
    before = tuple(atom for atom in order[:place] if atom is not None)
    after = tuple(atom for atom in order[place:] if atom is not None)
    grows: tuple[Atom, ...] = ()
    runs = [*([before] if before else []), grows, *([after] if after else [])]
    return runs, len(runs) - 1 - bool(after)


def expand(builder: Builder, operand: View, shape: ir.Shape) -> View:
    """Repeated along unit axes, with new axes in front."""
    extra = len(shape) - len(operand.shape)
    lifted = operand.reshape((1,) * extra + operand.shape)
    assert lifted is not None  # only unit axes are new
    return repeat(builder, lifted, shape)


def pad(
    builder: Builder, view: View, pairs: dict[int, tuple[int, int]], mode: str, value: float = 0.0
) -> View:
    """``view`` padded by (before, after) on some axes; negative numbers cut."""
    for axis, (before, after) in pairs.items():
        if before < 0 or after < 0:
            low, high = max(-before, 0), max(-after, 0)
            view = narrow(builder, view, axis, low, view.shape[axis] - low - high)
    todo = {a: (max(p[0], 0), max(p[1], 0)) for a, p in pairs.items() if max(p) > 0}
    dims = view.dims()
    whole = {axis: view.of_axes([axis]) for axis in todo}
    if dims is not None and all(run and run in dims for run in whole.values()):
        places = {dims.index(run): axis for axis, run in whole.items()}
        padding = [todo.get(places.get(i, -1), (0, 0)) for i in range(len(dims))]
        held = Arranged(view.value, view.shape, tuple(dims), ())
        return _padded(builder, held, padding, places, mode, value)
    for axis, pair in todo.items():
        held = isolate(builder, view, [axis])
        padding = [pair if i == held.axis else (0, 0) for i in range(len(held.runs))]
        view = _padded(builder, held, padding, {held.axis: axis}, mode, value)
    return view


def _padded(
    builder: Builder,
    held: Arranged,
    padding: Sequence[tuple[int, int]],
    axes: dict[int, int],
    mode: str,
    number: float,
) -> View:
    """``axes``: of the value to those of the tensor, each whole."""
    sizes = [n + sum(pair) for n, pair in zip(held.value.shape, padding, strict=True)]
    value = builder.add(
        ir.Pad, [held.value], sizes, padding=tuple(padding), mode=mode, value=float(number)
    )
    shape = list(held.shape)
    runs = [list(run) for run in held.runs]
    for place, axis in axes.items():
        shape[axis] = sizes[place]
        runs[place] = [Atom(axis, 0, sizes[place])]
    return View.moved(value, shape, itertools.chain(*runs))


def gather(builder: Builder, view: View, axis: int, index: Sequence[int]) -> View:
    """The elements ``index`` along ``axis``: slices where they are few, else a 0-1 matrix."""
    runs: list[tuple[int, int, int]] = []  # start, size, step
    position = 0
    while position < len(index):
        step = index[position + 1] - index[position] if position + 1 < len(index) else 1
        end = position + 1
        if step > 0:
            while end < len(index) and index[end] - index[end - 1] == step:
                end += 1
        if end - position == 2 and step != 1:  # two single ones, not a run
            end, step = position + 1, 1
        runs.append((index[position], end - position, max(step, 1)))
        position = end
    if len(runs) > _MAX_PIECES:
        from ._linear import linear

        choice = np.zeros((len(index), view.shape[axis]))
        choice[np.arange(len(index)), list(index)] = 1.0
        return linear(builder, view, axis, choice, None)
    parts = [narrow(builder, view, axis, start, size, step) for start, size, step in runs]
    shape = list(view.shape)
    shape[axis] = len(index)
    return parts[0] if len(parts) == 1 else concat(builder, parts, axis, tuple(shape))


# ATen ---------------------------------------------------------------------------------------------


@lowers(
    aten.reshape.default,
    aten.view.default,
    aten._unsafe_view.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.squeeze.default,
    aten.unsqueeze.default,
    aten.flatten.using_ints,
)
def _reshape(call: Call) -> View:
    return reshape(call.builder, call.x, call.shape)


@lowers(aten.permute.default)
def _permute(call: Call) -> View:
    x = call.x
    return x.permute([axis % len(x.shape) for axis in call.get("dims")])


@lowers(aten.transpose.int)
def _transpose(call: Call) -> View:
    x = call.x
    order = list(range(len(x.shape)))
    a, b = (call.get(name) for name in ("dim0", "dim1"))
    order[a], order[b] = order[b], order[a]
    return x.permute(order)


@lowers(
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
    aten.dropout.default,
    aten._to_copy.default,
    aten.to.dtype,
)
def _same(call: Call) -> View:
    source, result = (node.meta["val"].dtype for node in (call.node.args[0], call.node))  # type: ignore[union-attr]
    if source != result and not (source.is_floating_point and result.is_floating_point):
        if result.is_floating_point or call.x.size == 0:
            return call.x  # an integer or a truth value is kept as a float
        raise call.refuse(f"it turns {source} into {result}", "Keep image data in float32.")
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
)
def _split(call: Call) -> tuple[View, ...]:
    x = call.x
    axis = call.get("dim") % len(x.shape)
    unbound = call.target is aten.unbind.int
    used = {user.args[1] for user in call.node.users}
    parts, start = [], 0
    for number, shape in enumerate(call.shapes):
        size = 1 if unbound else shape[axis]
        if number in used:
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
        raise call.refuse("it rolls the flattened tensor", "Give roll its dims.")
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
    return x


@lowers(aten.flip.default)
def _flip(call: Call) -> View:
    x = call.x
    for axis in call.get("dims"):
        axis %= len(x.shape)
        x = gather(call.builder, x, axis, range(x.shape[axis] - 1, -1, -1))
    return x


@lowers(aten.index_select.default)
def _index_select(call: Call) -> View:
    index = call.array("index", "a gather needs a stored index")
    assert index is not None
    x = call.x
    axis = call.get("dim") % len(x.shape)
    return gather(call.builder, x, axis, [int(i) % x.shape[axis] for i in index.reshape(-1)])


@lowers(aten.index.Tensor)
def _index(call: Call) -> View:
    """One stored index, of any rank."""
    x = call.x
    given = [(axis, item) for axis, item in enumerate(call.get("indices")) if item is not None]
    if len(given) != 1 or not isinstance(given[0][1], np.ndarray):
        raise call.refuse("only one stored index can be taken", "Use slices or masks.")
    axis, index = given[0]
    if index.dtype == np.bool_:
        index = np.flatnonzero(index)
    flat = gather(call.builder, x, axis, [int(i) % x.shape[axis] for i in index.reshape(-1)])
    return reshape(call.builder, flat, call.shape)


@lowers(aten.pad.default, aten.constant_pad_nd.default)
def _pad(call: Call) -> View:
    named = call.target is aten.pad.default
    mode = call.get("mode") if named else "constant"
    if mode not in ("constant", "reflect", "replicate"):
        raise call.refuse(f"its mode is {mode}", "constant, reflect and replicate can be.")
    return _pad_last(call, mode, call.get("value") or 0.0)


@lowers(aten.reflection_pad1d.default, aten.reflection_pad2d.default)
def _reflection_pad(call: Call) -> View:
    return _pad_last(call, "reflect", 0.0, name="padding")


@lowers(aten.replication_pad1d.default, aten.replication_pad2d.default)
def _replication_pad(call: Call) -> View:
    return _pad_last(call, "replicate", 0.0, name="padding")


def _pad_last(call: Call, mode: str, value: float, name: str = "pad") -> View:
    numbers, rank = call.get(name), len(call.x.shape)
    pairs = {rank - 1 - i: (numbers[2 * i], numbers[2 * i + 1]) for i in range(len(numbers) // 2)}
    return pad(call.builder, call.x, pairs, mode, value)


@lowers(aten.pixel_shuffle.default, aten.pixel_unshuffle.default)
def _pixel_shuffle(call: Call) -> View:
    """As movement; `Builder.place` writes it as one layer where it is needed as it is."""
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


@lowers(aten.channel_shuffle.default)
def _channel_shuffle(call: Call) -> View:
    x, groups = call.x, call.get("groups")
    batch, channels, *rest = x.shape
    apart = reshape(call.builder, x, (batch, groups, channels // groups, *rest))
    turned = apart.permute([0, 2, 1, *range(3, 3 + len(rest))])
    return reshape(call.builder, turned, call.shape)

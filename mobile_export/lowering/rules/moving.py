"""Moving, cutting, joining and repeating elements of views; `_moving_rules` are the ATen
ops that do it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

import torch

from .. import ir
from ..builder import Builder
from ..operands import Group, agree, isolate, repeat, store
from ..table import Operand
from ..view import Factor, View

__all__ = ["concat", "expand", "narrow", "pad", "reshape"]

aten = torch.ops.aten


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
    cut = agree(builder, views, but=[axis])
    order = _order_of_concat(builder, cut, axis, shape)
    groups, place = _axes_of_concat(builder, cut, order, axis)
    rest = iter(cut)
    parts = []
    for operand in operands:
        size = operand.shape[axis]
        if isinstance(operand, View):
            view = next(rest)
            mine = [view.of_axes([axis]) if i == place else group for i, group in enumerate(groups)]
            parts.append(builder.put(view, mine))
        else:
            mine = [
                (Factor(axis, 0, size),) if i == place else group for i, group in enumerate(groups)
            ]
            parts.append(builder.constant(store(operand, operand.shape, mine)))
    sizes = [math.prod(factor.size for factor in group) for group in groups]
    sizes[place] = shape[axis]
    value = builder.add(ir.Concat, parts, sizes, axis=place)
    whole = Factor(axis, 0, shape[axis])
    factors = [[whole] if i == place else group for i, group in enumerate(groups)]
    return View.of_factors(value, shape, itertools.chain(*factors)).joined()


def _order_of_concat(
    builder: Builder, views: Sequence[View], axis: int, shape: ir.Shape
) -> tuple[Factor | None, ...]:
    """Memory order of the result, in which None stands for the axis: what moves least."""
    first = views[0].without([axis])
    best: tuple[Factor | None, ...] = ()
    least = math.inf
    candidates: list[tuple[Factor | None, ...]] = []
    for view in views:
        for variant in (view, *builder.variants(view)):
            mine = [i for i, factor in enumerate(variant.factors) if factor.axis == axis]
            kept = list(variant.without([axis]))
            if mine:
                candidates.append((*kept[: mine[0]], None, *kept[mine[0] :]))
    plain = sorted(first)
    place = sum(factor.axis < axis for factor in plain)
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
    builder: Builder, views: Sequence[View], order: tuple[Factor | None, ...], axis: int
) -> tuple[list[tuple[Factor, ...]], int]:
    """The factors on each axis of the result, and which axis is the one that grows."""
    for view in views:
        mine = view.of_axes([axis])
        wanted = tuple(a for item in order for a in (mine if item is None else (item,)))
        for variant in (view, *builder.variants(view)):
            dims = variant.groups()
            if variant.factors == wanted and dims is not None and mine and mine in dims:
                return dims, dims.index(mine)
    place = order.index(None)
    before = tuple(factor for factor in order[:place] if factor is not None)
    after = tuple(factor for factor in order[place:] if factor is not None)
    grows: tuple[Factor, ...] = ()
    groups = [*([before] if before else []), grows, *([after] if after else [])]
    return groups, len(groups) - 1 - bool(after)


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
    groups = _padded_apart(view, todo, inside=mode == "constant")
    if groups is not None:
        places = {groups.index(view.of_axes([axis])): axis for axis in todo}
        return _padded(builder, view, groups, places, todo, mode, value)
    for axis in todo:
        held = isolate(builder, view, [axis])
        rows = (
            tuple(itertools.chain(*held.groups[: held.axis])),
            held.groups[held.axis],
            tuple(itertools.chain(*held.groups[held.axis + 1 :])),
        )
        view = _padded(builder, held.source, rows, {1: axis}, todo, mode, value)
    return view


def _padded_apart(view: View, axes: Collection[int], *, inside: bool) -> Sequence[Group] | None:
    """The memory of ``view`` as one to three axes, each of ``axes`` on one of its own.

    Args:
        inside: they may be anywhere; otherwise they are the last two of three (`ir.Pad`).

    Returns:
        None when that would take a move.
    """
    whole = [view.of_axes([axis]) for axis in axes]
    joined = [
        tuple(factors)
        for _, factors in itertools.groupby(
            view.factors, lambda a: a.axis if a.axis in axes else -1
        )
    ]
    for groups in (view.groups(), joined):
        if (
            groups is None
            or len(groups) > 3
            or not all(group and group in groups for group in whole)
        ):
            continue
        if inside:
            return groups
        if all(group in groups[-2:] for group in whole):
            return [()] * (3 - len(groups)) + groups
    return None


def _padded(
    builder: Builder,
    view: View,
    groups: Sequence[Group],
    places: dict[int, int],
    pairs: dict[int, tuple[int, int]],
    mode: str,
    number: float,
) -> View:
    """``view``, its factors on the axes of a value as ``groups`` says, with axes padded.

    Args:
        places: axes of the value -> of the tensor, which are whole and alone there.
        pairs: (before, after) by axis of the tensor.
    """
    value = builder.put(view, groups)
    padding = [pairs[places[i]] if i in places else (0, 0) for i in range(len(groups))]
    sizes = [n + sum(pair) for n, pair in zip(value.shape, padding, strict=True)]
    shape = list(view.shape)
    new = list(groups)
    for place, axis in places.items():
        shape[axis] = sizes[place]
        new[place] = (Factor(axis, 0, sizes[place]),)
    value = builder.add(
        ir.Pad, [value], sizes, padding=tuple(padding), mode=mode, value=float(number)
    )
    return View.of_factors(value, shape, itertools.chain(*new)).joined()

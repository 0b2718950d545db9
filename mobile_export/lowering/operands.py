"""Choosing the memory order in which a layer takes its operands: the one that moves least."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from . import ir
from .builder import Builder
from .table import Operand
from .view import Factor, View, common_factors

__all__ = ["Arranged", "Group", "agree", "broadcast", "isolate", "store"]

Group = tuple[Factor, ...]


@dataclass(frozen=True)
class Arranged:
    """A tensor as a value with known factors on each of its axes.

    Attributes:
        value: has the shape of ``groups``.
        shape: of the tensor.
        groups: the factors on each axis of the value.
        axes: the axes of the value that were asked for.
    """

    value: ir.Value
    shape: ir.Shape
    groups: tuple[Group, ...]
    axes: tuple[int, ...]

    @property
    def axis(self) -> int:
        """The one axis that was asked for."""
        (axis,) = self.axes
        return axis

    def sized(self, size: int) -> tuple[int, ...]:
        """Shape of the value with another size on the axis that was asked for."""
        shape = list(self.value.shape)
        shape[self.axis] = size
        return tuple(shape)

    @property
    def source(self) -> View:
        """The tensor itself, with the factors of ``groups`` as they are."""
        return View.of_factors(self.value, self.shape, itertools.chain(*self.groups))

    def view(self, value: ir.Value) -> View:
        """``value``, laid out alike, as a tensor of the same shape."""
        return View.of_factors(value, self.shape, itertools.chain(*self.groups)).joined()

    def resized(self, value: ir.Value, axes: Sequence[int], sizes: Sequence[int]) -> View:
        """``value``, laid out alike but on the axes that were asked for, which are ``axes`` of the
        tensor and have ``sizes`` now."""
        shape = list(self.shape)
        new: list[Factor] = []
        for axis, size in zip(axes, sizes, strict=True):
            shape[axis] = size
            new += [Factor(axis, 0, size)] if size != 1 else []
        factors: list[Factor] = []
        for place, group in enumerate(self.groups):
            if place == self.axes[0]:
                factors += new
            elif place not in self.axes:
                factors += group
        return View.of_factors(value, shape, factors).joined()


def isolate(
    builder: Builder,
    view: View,
    axes: Sequence[int],
    where: Literal["any", "first", "last"] = "any",
    *,
    single: bool = True,
) -> Arranged:
    """``view`` with ``axes`` together on an axis of the value of their own.

    Args:
        axes: of the tensor; they are laid out in this order.
        where: the first or last axis of the value, or wherever it costs least.
        single: they must be one axis of the value; otherwise neighbouring ones will do.
    """
    mine = view.of_axes(axes)
    best, least = _around(mine, view.without(axes), where), math.inf
    for variant in (view, *builder.variants(view)):
        for groups in _candidates(variant, mine, axes, where):
            cost = builder.cost(view, [*itertools.chain(*groups)])
            if cost < least:
                best, least = groups, cost
    groups = _as_it_lies(builder, view, best, mine, where, single=single) or _by_axis(
        [group for group in best if group == mine or group], mine, where
    )
    value = builder.put(view, groups)
    held = set(mine)
    found = tuple(i for i, group in enumerate(groups) if set(group) & held)
    if not found:  # axes of size 1
        empty = [i for i, group in enumerate(groups) if not group]
        found = (empty[-1 if where == "last" else 0],)
    return Arranged(value, view.shape, tuple(groups), found)


def _around(mine: Group, rest: Group, where: str) -> list[Group]:
    return [mine, rest] if where == "first" else [rest, mine]


def _candidates(
    view: View, mine: Group, axes: Sequence[int], where: Literal["any", "first", "last"]
) -> Iterable[list[Group]]:
    rest = view.without(axes)
    if where != "any" or not mine:
        yield _around(mine, rest, where)
        return
    place = min(view.factors.index(factor) for factor in mine)
    before = tuple(factor for factor in view.factors[:place] if factor in rest)
    yield [before, mine, rest[len(before) :]]
    yield [rest, mine]
    yield [mine, rest]


def _by_axis(groups: list[Group], mine: Group, where: str) -> list[Group]:
    """With the axes of the tensor that stay whole on axes of their own, as long as there are three,
    which is the rank of an image."""
    if where == "last":
        return groups  # rows
    apart = [
        part for group in groups for part in ([group] if group == mine else _neighbours(group))
    ]
    return apart if len(apart) <= 3 else groups


def _neighbours(group: Group) -> list[Group]:
    """Cut where the axis changes."""
    return [
        tuple(factors) for _, factors in itertools.groupby(group, key=lambda factor: factor.axis)
    ]


def _as_it_lies(
    builder: Builder, view: View, best: Sequence[Group], mine: Group, where: str, *, single: bool
) -> list[Group] | None:
    """The axes of an existing value in the order ``best``, if ``mine`` is an axis of it."""
    wanted = tuple(itertools.chain(*best))
    for variant in (view, *builder.variants(view)):
        dims = variant.groups()
        if variant.factors != wanted or dims is None:
            continue
        held = [i for i, group in enumerate(dims) if group and set(group) <= set(mine)]
        if sum((dims[i] for i in held), ()) != mine or not held:
            continue
        if where == "last" and (held[-1] != len(dims) - 1 or len(dims) > 2):
            continue
        if where == "first" and held[0] != 0:
            continue
        if len(held) == 1 or not single:
            return dims
    return None


# Several operands ---------------------------------------------------------------------------------


def agree(builder: Builder, views: Sequence[View], but: Collection[int] = ()) -> list[View]:
    """The tensors, of equal rank and equal or unit axes, cut into equal factors.

    Those whose factors do not fit the others' are written as ATen has them, the smallest first.

    Args:
        but: axes that may differ, and stay as they are.
    """
    views = list(views)
    sizes = [math.prod(n for axis, n in enumerate(view.shape) if axis not in but) for view in views]
    for index in sorted(range(len(views)), key=lambda i: sizes[i]):
        cut = common_factors(views, but)
        if cut is not None:
            return list(cut)
        views[index] = builder.contiguous(views[index])
    cut = common_factors(views, but)
    assert cut is not None  # each axis is one factor now
    return list(cut)


def broadcast(
    builder: Builder,
    operands: Sequence[Operand],
    shape: Sequence[int],
    write: Callable[[list[ir.Value | np.ndarray], list[int]], ir.Value],
) -> View:
    """Elementwise combination of tensors that broadcast to ``shape``.

    Args:
        write: appends the layer: gets values and arrays of equal rank with axes equal or 1, and the
            shape of the result.
    """
    rank = len(shape)
    aligned = [_aligned(operand, rank) for operand in operands]
    views = agree(builder, [operand for operand in aligned if isinstance(operand, View)])
    order = _cheapest_order(builder, views, shape)
    groups = _axes_for(builder, views, aligned, order)
    views, groups = _within_rank(builder, views, aligned, groups)
    rest = iter(views)
    parts: list[ir.Value | np.ndarray] = []
    for operand in aligned:
        if isinstance(operand, View):
            view = next(rest)
            parts.append(
                builder.put(view, [group if _has(view, group) else () for group in groups])
            )
        else:
            parts.append(store(operand, shape, groups))
    sizes = [math.prod(factor.size for factor in group) for group in groups] or [1]
    return View.of_factors(write(parts, sizes), shape, itertools.chain(*groups)).joined()


def _aligned(operand: Operand, rank: int) -> Operand:
    """With unit axes in front; a view keeps its factors."""
    if isinstance(operand, np.ndarray):
        return operand.reshape([1] * (rank - operand.ndim) + list(operand.shape))
    extra = rank - len(operand.shape)
    factors = tuple(replace(factor, axis=factor.axis + extra) for factor in operand.factors)
    return View.of_factors(operand.value, (1,) * extra + operand.shape, factors)


def _has(tensor: Operand, group: Sequence[Factor]) -> bool:
    """Whether a tensor is not broadcast along the axis of the first factor of ``group``."""
    return bool(group) and tensor.shape[group[0].axis] != 1


def _cheapest_order(builder: Builder, views: Sequence[View], shape: Sequence[int]) -> Group:
    """All factors of the result, in the memory order that moves the fewest elements."""
    every = {factor for view in views for factor in view.factors}
    covered = {factor.axis for factor in every}
    every |= {Factor(i, 0, n) for i, n in enumerate(shape) if n != 1 and i not in covered}
    best, least = tuple(sorted(every)), math.inf
    known = [variant for view in views for variant in (view, *builder.variants(view))]
    orders = [_completed(variant.factors, every) for variant in known]
    for order in dict.fromkeys([*orders, best]):
        cost = sum(
            builder.cost(view, [factor for factor in order if factor in view.factors])
            for view in views
        )
        if cost < least:
            best, least = order, cost
    return best


def _completed(memory: Group, every: set[Factor]) -> Group:
    """``memory`` with the factors that it lacks before the first of a later axis."""
    order = list(memory)
    for factor in sorted(every - set(memory)):
        later = [place for place, other in enumerate(order) if other > factor]
        order.insert(later[0] if later else len(order), factor)
    return tuple(order)


def _axes_for(
    builder: Builder, views: Sequence[View], operands: Sequence[Operand], order: Group
) -> list[Group]:
    """The factors on each axis of the result: those of an existing value where that can be."""
    for view in views:
        for variant in (view, *builder.variants(view)):
            dims = variant.groups()
            if variant.factors == order and dims is not None and _uniform(operands, dims):
                return dims
    groups: list[Group] = []
    for factor in order:
        if groups and all(_has(t, groups[-1]) == _has(t, [factor]) for t in operands):
            groups[-1] = (*groups[-1], factor)
        else:
            groups.append((factor,))
    return groups


def _uniform(operands: Sequence[Operand], dims: Sequence[Group]) -> bool:
    """Whether no operand is broadcast along a part of an axis only."""
    return all(
        len({_has(operand, [factor]) for factor in group}) < 2
        for operand in operands
        for group in dims
    )


def _within_rank(
    builder: Builder, views: list[View], operands: list[Operand], groups: list[Group]
) -> tuple[list[View], list[Group]]:
    """Join neighbours until there are four axes, repeating what is broadcast along one of them."""
    while len(groups) > ir.LayerGraph.MAX_RANK:
        prices = []
        for left, right in itertools.pairwise(range(len(groups))):
            missing = [(t, group) for t in operands for group in (groups[left], groups[right])]
            grown = sum(
                math.prod(t.shape) * math.prod(a.size for a in group)
                for t, group in missing
                if not _has(t, group) and (_has(t, groups[left]) or _has(t, groups[right]))
            )
            prices.append((grown, left))
        _, left = min(prices)
        pair = groups[left] + groups[left + 1]
        for index, tensor in enumerate(operands):
            present = [_has(tensor, group) for group in (groups[left], groups[left + 1])]
            if present[0] == present[1]:
                continue
            axes = _repeated_together(tensor, pair, groups)
            sizes = {
                a: math.prod(x.size for group in groups for x in group if x.axis == a) for a in axes
            }
            shape = [sizes.get(axis, size) for axis, size in enumerate(tensor.shape)]
            if isinstance(tensor, np.ndarray):
                operands[index] = np.broadcast_to(tensor, shape)
            else:
                place = [i for i, t in enumerate(operands) if isinstance(t, View)].index(index)
                views[place] = repeat(builder, views[place], shape)
                operands[index] = views[place]
        views = agree(builder, views)
        groups = [*groups[:left], pair, *groups[left + 2 :]]
    return views, groups


def _repeated_together(tensor: Operand, pair: Group, groups: Sequence[Group]) -> set[int]:
    """The axes of ``pair`` that ``tensor`` lacks, and all that share a group with one of them.

    A group is repeated as a whole, and an axis may have factors in several groups.
    """
    axes = {factor.axis for factor in pair if not _has(tensor, [factor])}
    found: set[int] = set()
    while found != axes:
        found = axes
        lacking = [group for group in groups if not _has(tensor, group)]
        touched = [group for group in lacking if found & {factor.axis for factor in group}]
        axes = found.union(*({factor.axis for factor in group} for group in touched))
    return axes


def repeat(builder: Builder, view: View, shape: Sequence[int]) -> View:
    """``view`` repeated along its unit axes to ``shape``, of the same rank."""
    for axis, (old, new) in enumerate(zip(view.shape, shape, strict=True)):
        if old == new:
            continue
        # The axis goes where ATen has it: before the first factor of a later one.
        places = [i for i, factor in enumerate(view.factors) if factor.axis > axis]
        place = places[0] if places else len(view.factors)
        before, after = view.factors[:place], view.factors[place:]
        value = builder.put(view, [before, (), after])
        sizes = (value.shape[0], new, value.shape[2])
        value = builder.add(ir.Tile, [value], sizes, repeats=(1, new, 1))
        grown = list(view.shape)
        grown[axis] = new
        view = View.of_factors(value, grown, [*before, Factor(axis, 0, new), *after]).joined()
    return view


def store(array: np.ndarray, shape: Sequence[int], groups: Sequence[Group]) -> np.ndarray:
    """``array``, which broadcasts to ``shape``, with the factors of ``groups`` on its axes."""
    factors = sorted(factor for group in groups for factor in group)
    present = [
        factor if array.shape[factor.axis] != 1 else replace(factor, size=1) for factor in factors
    ]
    cut = array.reshape([factor.size for factor in present])
    order = [factors.index(factor) for group in groups for factor in group]
    sizes = [math.prod(present[factors.index(factor)].size for factor in group) for group in groups]
    return cut.transpose(order).reshape(sizes or [1])

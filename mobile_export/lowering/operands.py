"""Choosing the memory order in which a layer takes its operands: the one that moves least."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from . import ir
from .builder import Builder
from .table import Operand
from .view import Atom, View, common_atoms

__all__ = ["Arranged", "Run", "agree", "broadcast", "isolate", "store"]

Run = tuple[Atom, ...]


@dataclass(frozen=True)
class Arranged:
    """A tensor as a value with known atoms on each of its axes.

    Attributes:
        value: has the shape of ``runs``.
        shape: of the tensor.
        runs: the atoms on each axis of the value.
        axes: the axes of the value that were asked for.
    """

    value: ir.Value
    shape: ir.Shape
    runs: tuple[Run, ...]
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
        """The tensor itself, with the atoms of ``runs`` as they are."""
        return View(self.value, self.shape, tuple(itertools.chain(*self.runs)))

    def view(self, value: ir.Value) -> View:
        """``value``, laid out alike, as a tensor of the same shape."""
        return View.moved(value, self.shape, itertools.chain(*self.runs))

    def resized(self, value: ir.Value, axes: Sequence[int], sizes: Sequence[int]) -> View:
        """``value``, laid out alike but on the axes that were asked for, which are ``axes`` of the
        tensor and have ``sizes`` now."""
        shape = list(self.shape)
        new: list[Atom] = []
        for axis, size in zip(axes, sizes, strict=True):
            shape[axis] = size
            new += [Atom(axis, 0, size)] if size != 1 else []
        atoms: list[Atom] = []
        for place, run in enumerate(self.runs):
            if place == self.axes[0]:
                atoms += new
            elif place not in self.axes:
                atoms += run
        return View.moved(value, shape, atoms)


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
        for runs in _candidates(variant, mine, axes, where):
            cost = builder.cost(view, [*itertools.chain(*runs)])
            if cost < least:
                best, least = runs, cost
    runs = _as_it_lies(builder, view, best, mine, where, single=single) or _by_axis(
        [run for run in best if run == mine or run], mine, where
    )
    value = builder.put(view, runs)
    held = set(mine)
    found = tuple(i for i, run in enumerate(runs) if set(run) & held)
    if not found:  # axes of size 1
        empty = [i for i, run in enumerate(runs) if not run]
        found = (empty[-1 if where == "last" else 0],)
    return Arranged(value, view.shape, tuple(runs), found)


def _around(mine: Run, rest: Run, where: str) -> list[Run]:
    return [mine, rest] if where == "first" else [rest, mine]


def _candidates(
    view: View, mine: Run, axes: Sequence[int], where: Literal["any", "first", "last"]
) -> Iterable[list[Run]]:
    rest = view.without(axes)
    if where != "any" or not mine:
        yield _around(mine, rest, where)
        return
    place = min(view.atoms.index(atom) for atom in mine)
    before = tuple(atom for atom in view.atoms[:place] if atom in rest)
    yield [before, mine, rest[len(before) :]]
    yield [rest, mine]
    yield [mine, rest]


def _by_axis(runs: list[Run], mine: Run, where: str) -> list[Run]:
    """With the axes of the tensor that stay whole on axes of their own, as long as there are three,
    which is the rank of an image."""
    if where == "last":
        return runs  # rows
    apart = [part for run in runs for part in ([run] if run == mine else _neighbours(run))]
    return apart if len(apart) <= 3 else runs


def _neighbours(run: Run) -> list[Run]:
    """Cut where the axis changes."""
    return [tuple(atoms) for _, atoms in itertools.groupby(run, key=lambda atom: atom.axis)]


def _as_it_lies(
    builder: Builder, view: View, best: Sequence[Run], mine: Run, where: str, *, single: bool
) -> list[Run] | None:
    """The axes of an existing value in the order ``best``, if ``mine`` is an axis of it."""
    wanted = tuple(itertools.chain(*best))
    for variant in (view, *builder.variants(view)):
        dims = variant.dims()
        if variant.atoms != wanted or dims is None:
            continue
        held = [i for i, run in enumerate(dims) if run and set(run) <= set(mine)]
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


def agree(builder: Builder, views: Sequence[View]) -> list[View]:
    """The tensors, of equal rank and equal or unit axes, cut into equal atoms.

    Those whose atoms do not fit the others' are written as ATen has them, the smallest first.
    """
    views = list(views)
    for index in sorted(range(len(views)), key=lambda i: views[i].size):
        cut = common_atoms(views)
        if cut is not None:
            return list(cut)
        views[index] = builder.contiguous(views[index])
    cut = common_atoms(views)
    assert cut is not None  # each axis is one atom now
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
    runs = _axes_for(builder, views, aligned, order)
    views, runs = _within_rank(builder, views, aligned, runs)
    rest = iter(views)
    parts: list[ir.Value | np.ndarray] = []
    for operand in aligned:
        if isinstance(operand, View):
            view = next(rest)
            parts.append(builder.put(view, [run if _has(view, run) else () for run in runs]))
        else:
            parts.append(store(operand, shape, runs))
    sizes = [math.prod(atom.size for atom in run) for run in runs] or [1]
    return View.moved(write(parts, sizes), shape, itertools.chain(*runs))


def _aligned(operand: Operand, rank: int) -> Operand:
    """With unit axes in front; a view keeps its atoms."""
    if isinstance(operand, np.ndarray):
        return operand.reshape([1] * (rank - operand.ndim) + list(operand.shape))
    extra = rank - len(operand.shape)
    atoms = tuple(replace(atom, axis=atom.axis + extra) for atom in operand.atoms)
    return View(operand.value, (1,) * extra + operand.shape, atoms)


def _has(tensor: Operand, run: Sequence[Atom]) -> bool:
    """Whether a tensor is not broadcast along the axis of the first atom of ``run``."""
    return bool(run) and tensor.shape[run[0].axis] != 1


def _cheapest_order(builder: Builder, views: Sequence[View], shape: Sequence[int]) -> Run:
    """All atoms of the result, in the memory order that moves the fewest elements."""
    every = {atom for view in views for atom in view.atoms}
    covered = {atom.axis for atom in every}
    every |= {Atom(i, 0, n) for i, n in enumerate(shape) if n != 1 and i not in covered}
    best, least = tuple(sorted(every)), math.inf
    known = [variant for view in views for variant in (view, *builder.variants(view))]
    orders = [_completed(variant.atoms, every) for variant in known]
    for order in dict.fromkeys([*orders, best]):
        cost = sum(
            builder.cost(view, [atom for atom in order if atom in view.atoms]) for view in views
        )
        if cost < least:
            best, least = order, cost
    return best


def _completed(memory: Run, every: set[Atom]) -> Run:
    """``memory`` with the atoms that it lacks before the first of a later axis."""
    order = list(memory)
    for atom in sorted(every - set(memory)):
        later = [place for place, other in enumerate(order) if other > atom]
        order.insert(later[0] if later else len(order), atom)
    return tuple(order)


def _axes_for(
    builder: Builder, views: Sequence[View], operands: Sequence[Operand], order: Run
) -> list[Run]:
    """The atoms on each axis of the result: those of an existing value where that can be."""
    for view in views:
        for variant in (view, *builder.variants(view)):
            dims = variant.dims()
            if variant.atoms == order and dims is not None and _uniform(operands, dims):
                return dims
    runs: list[Run] = []
    for atom in order:
        if runs and all(_has(t, runs[-1]) == _has(t, [atom]) for t in operands):
            runs[-1] = (*runs[-1], atom)
        else:
            runs.append((atom,))
    return runs


def _uniform(operands: Sequence[Operand], dims: Sequence[Run]) -> bool:
    """Whether no operand is broadcast along a part of an axis only."""
    return all(
        len({_has(operand, [atom]) for atom in run}) < 2 for operand in operands for run in dims
    )


def _within_rank(
    builder: Builder, views: list[View], operands: list[Operand], runs: list[Run]
) -> tuple[list[View], list[Run]]:
    """Join neighbours until there are four axes, repeating what is broadcast along one of them."""
    while len(runs) > ir.LayerGraph.MAX_RANK:
        prices = []
        for left, right in itertools.pairwise(range(len(runs))):
            missing = [(t, run) for t in operands for run in (runs[left], runs[right])]
            grown = sum(
                math.prod(t.shape) * math.prod(a.size for a in run)
                for t, run in missing
                if not _has(t, run) and (_has(t, runs[left]) or _has(t, runs[right]))
            )
            prices.append((grown, left))
        _, left = min(prices)
        pair = runs[left] + runs[left + 1]
        for index, tensor in enumerate(operands):
            present = [_has(tensor, run) for run in (runs[left], runs[left + 1])]
            if present[0] == present[1]:
                continue
            axes = _repeated_together(tensor, pair, runs)
            sizes = {a: math.prod(x.size for run in runs for x in run if x.axis == a) for a in axes}
            shape = [sizes.get(axis, size) for axis, size in enumerate(tensor.shape)]
            if isinstance(tensor, np.ndarray):
                operands[index] = np.broadcast_to(tensor, shape)
            else:
                place = [i for i, t in enumerate(operands) if isinstance(t, View)].index(index)
                views[place] = repeat(builder, views[place], shape)
                operands[index] = views[place]
        views = agree(builder, views)
        runs = [*runs[:left], pair, *runs[left + 2 :]]
    return views, runs


def _repeated_together(tensor: Operand, pair: Run, runs: Sequence[Run]) -> set[int]:
    """The axes of ``pair`` that ``tensor`` lacks, and all that share a run with one of them.

    A run is repeated as a whole, and an axis may have atoms in several runs.
    """
    axes = {atom.axis for atom in pair if not _has(tensor, [atom])}
    found: set[int] = set()
    while found != axes:
        found = axes
        lacking = [run for run in runs if not _has(tensor, run)]
        touched = [run for run in lacking if found & {atom.axis for atom in run}]
        axes = found.union(*({atom.axis for atom in run} for run in touched))
    return axes


def repeat(builder: Builder, view: View, shape: Sequence[int]) -> View:
    """``view`` repeated along its unit axes to ``shape``, of the same rank."""
    for axis, (old, new) in enumerate(zip(view.shape, shape, strict=True)):
        if old == new:
            continue
        # The axis goes where ATen has it: before the first atom of a later one.
        places = [i for i, atom in enumerate(view.atoms) if atom.axis > axis]
        place = places[0] if places else len(view.atoms)
        before, after = view.atoms[:place], view.atoms[place:]
        value = builder.put(view, [before, (), after])
        sizes = (value.shape[0], new, value.shape[2])
        value = builder.add(ir.Tile, [value], sizes, repeats=(1, new, 1))
        grown = list(view.shape)
        grown[axis] = new
        view = View.moved(value, grown, [*before, Atom(axis, 0, new), *after])
    return view


def store(array: np.ndarray, shape: Sequence[int], runs: Sequence[Run]) -> np.ndarray:
    """``array``, which broadcasts to ``shape``, with the atoms of ``runs`` on its axes."""
    atoms = sorted(atom for run in runs for atom in run)
    present = [atom if array.shape[atom.axis] != 1 else replace(atom, size=1) for atom in atoms]
    cut = array.reshape([atom.size for atom in present])
    order = [atoms.index(atom) for run in runs for atom in run]
    sizes = [math.prod(present[atoms.index(atom)].size for atom in run) for run in runs]
    return cut.transpose(order).reshape(sizes or [1])

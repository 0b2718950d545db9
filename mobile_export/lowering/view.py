"""View: an ATen tensor as a rearrangement of a value that exists.

An ATen tensor of any rank is kept as a value of the layer graph plus the reshapes and permutes that
lead from there to the tensor, none of which is executed until a layer needs the elements in some
order. The rearrangement is a list of *atoms*: the value, read in memory order, has axes of these
sizes, and each of them is a part of one axis of the tensor. Axes of size 1, the batch among them,
have no atom. So

* reshapes and permutes cost nothing, chains of them compose, and pairs cancel;
* an elementwise layer works on the value itself, in whatever order that is;
* a tensor of rank above 4 never has to exist: only placements (`_builder.Builder.place`) are
  written, as permutes and reshapes of rank 4 or less.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..graph.movement import Movement, refine, split
from .base import Shape, Value

__all__ = ["Atom", "View", "atoms_of", "common_atoms"]


@dataclass(frozen=True, order=True)
class Atom:
    """A part of ``axis`` of the tensor; ``index`` counts the parts from the most significant."""

    axis: int
    index: int
    size: int


@dataclass(frozen=True)
class View:
    """The tensor of ``shape`` whose elements are those of ``value``.

    Attributes:
        shape: as ATen has it, any rank.
        atoms: in the memory order of ``value``.
    """

    value: Value
    shape: Shape
    atoms: tuple[Atom, ...]

    @classmethod
    def of(cls, value: Value, shape: Sequence[int]) -> View:
        """``value`` reshaped to ``shape``."""
        return cls(value, tuple(shape), atoms_of(shape))

    @classmethod
    def moved(cls, value: Value, shape: Sequence[int], atoms: Iterable[Atom]) -> View:
        """With atoms in memory order, neighbours of one axis joined."""
        return cls(value, tuple(shape), _joined(atoms))

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def of_axes(self, axes: Iterable[int]) -> tuple[Atom, ...]:
        """The atoms of ``axes``, axis after axis, the most significant first."""
        return tuple(a for axis in axes for a in sorted(self.atoms) if a.axis == axis)

    def without(self, axes: Iterable[int]) -> tuple[Atom, ...]:
        """The atoms of all other axes, in memory order."""
        return tuple(atom for atom in self.atoms if atom.axis not in set(axes))

    def reshape(self, shape: Sequence[int]) -> View | None:
        """None when an axis of ``shape`` would hold a part of an atom that moves alone."""
        sizes, order = _simplified(self.atoms)
        fine = refine([sizes[i] for i in order], shape)
        if fine is None:
            return None
        pieces = split([sizes[i] for i in order], fine)  # of each atom, in the tensor's order
        owner = {piece: axis for axis, run in enumerate(split(shape, fine)) for piece in run}
        memory = [piece for i in range(len(sizes)) for piece in pieces[order.index(i)]]
        atoms = [Atom(owner[piece], piece, fine[piece]) for piece in memory]
        return View.moved(self.value, shape, atoms)

    def permute(self, order: Sequence[int]) -> View:
        """Axis i of the result is axis ``order[i]``."""
        place = {axis: new for new, axis in enumerate(order)}
        atoms = tuple(replace(atom, axis=place[atom.axis]) for atom in self.atoms)
        return View(self.value, tuple(self.shape[axis] for axis in order), atoms)

    def movement(self, wanted: Sequence[Atom], shape: Sequence[int]) -> Movement:
        """From the value to an array of ``shape`` with the atoms in the order ``wanted``."""
        order = tuple(self.atoms.index(atom) for atom in wanted)
        sizes = tuple(atom.size for atom in self.atoms)
        return Movement(self.value.shape, sizes, order, tuple(shape)).simplified()

    def dims(self) -> list[tuple[Atom, ...]] | None:
        """The atoms that each axis of the value holds; None when an axis holds part of one."""
        runs: list[tuple[Atom, ...]] = []
        start = 0
        for size in self.value.shape:
            end = start
            while math.prod(atom.size for atom in self.atoms[start:end]) < size:
                end += 1
            if math.prod(atom.size for atom in self.atoms[start:end]) != size:
                return None
            runs.append(self.atoms[start:end])
            start = end
        return runs

    def refined(self, sizes: dict[int, list[int]]) -> View:
        """With the atoms of each axis in ``sizes`` cut to these sizes, which refine them."""
        cut: dict[Atom, list[Atom]] = {}
        for axis, fine in sizes.items():
            mine = self.of_axes([axis])
            for atom, run in zip(mine, split([a.size for a in mine], fine), strict=True):
                cut[atom] = [Atom(axis, piece, fine[piece]) for piece in run]
        atoms = tuple(piece for atom in self.atoms for piece in cut.get(atom, [atom]))
        return View(self.value, self.shape, atoms)


def atoms_of(shape: Sequence[int]) -> tuple[Atom, ...]:
    """One atom per axis, but for axes of size 1."""
    return tuple(Atom(axis, 0, size) for axis, size in enumerate(shape) if size != 1)


def common_atoms(views: Sequence[View]) -> tuple[View, ...] | None:
    """The views, of equal rank and equal or unit axes, with equal atoms on every axis that two of
    them have; None when they cut an axis at places that do not fit together."""
    sizes: dict[int, list[int]] = {}
    for view in views:
        for axis in {atom.axis for atom in view.atoms}:
            mine = [atom.size for atom in view.of_axes([axis])]
            fine = refine(sizes.get(axis, [view.shape[axis]]), mine)
            if fine is None:
                return None
            sizes[axis] = fine
    return tuple(
        view.refined({axis: fine for axis, fine in sizes.items() if view.shape[axis] != 1})
        for view in views
    )


def _joined(atoms: Iterable[Atom]) -> tuple[Atom, ...]:
    """Neighbours in memory that are neighbours in their axis too joined, indices from 0."""
    given = list(atoms)
    ranks = {atom: rank for rank, atom in enumerate(sorted(given))}
    runs: list[list[Atom]] = []
    for atom in given:
        last = runs[-1][-1] if runs else None
        if last is not None and last.axis == atom.axis and ranks[atom] == ranks[last] + 1:
            runs[-1].append(atom)
        else:
            runs.append([atom])
    heads = sorted(run[0] for run in runs)
    count: dict[int, itertools.count[int]] = {}
    index = {head: next(count.setdefault(head.axis, itertools.count())) for head in heads}
    return tuple(
        Atom(run[0].axis, index[run[0]], math.prod(atom.size for atom in run)) for run in runs
    )


def _simplified(atoms: Sequence[Atom]) -> tuple[list[int], list[int]]:
    """Sizes in memory order and the tensor's order of them, whatever stays together joined."""
    order = tuple(atoms.index(atom) for atom in sorted(atoms))
    simple = Movement((), tuple(atom.size for atom in atoms), order, ()).simplified()
    return list(simple.atoms), list(simple.order)

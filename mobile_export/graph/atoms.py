"""Atoms: the pieces of axes that a movement keeps whole, and the axes that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .movement import Movement, refine, split

__all__ = ["Atoms", "atoms_of"]


@dataclass(frozen=True)
class Atoms:
    """A movement with its atoms cut along axes; atoms of size 1 there are none.

    Attributes:
        sizes: in the order in which the atoms lie in the source.
        order: the same atoms, by index, in the order in which they lie in the result.
        sources: for each atom the part of the source that it belongs to; empty when not asked for.
        targets: for each atom the axis of the result that it belongs to.
    """

    sizes: tuple[int, ...]
    order: tuple[int, ...]
    sources: tuple[int, ...]
    targets: tuple[int, ...]


def atoms_of(movement: Movement, parts: Sequence[int] = ()) -> Atoms | None:
    """``movement`` cut along the axes of its result, and along ``parts`` of its source.

    Args:
        parts: sizes that the elements of the source divide into, its axes or finer.

    Returns:
        None when the boundaries cross: 6 = 2 · 3 = 3 · 2.
    """
    sizes, order = list(movement.atoms), list(movement.order)
    if parts:
        fine = refine(sizes, parts)
        if fine is None:
            return None
        pieces = split(sizes, fine)
        sizes, order = fine, [piece for index in order for piece in pieces[index]]
    moved = [sizes[index] for index in order]
    fine = refine(moved, movement.after)
    if fine is None:
        return None
    pieces = split(moved, fine)
    position = {index: place for place, index in enumerate(order)}
    laid_out = [piece for index in range(len(sizes)) for piece in pieces[position[index]]]
    rank_of = {piece: rank for rank, piece in enumerate(laid_out)}
    targets = _owners(movement.after, fine)
    sizes = [fine[piece] for piece in laid_out]
    return Atoms(
        tuple(sizes),
        tuple(rank_of[piece] for piece in range(len(fine))),
        tuple(_owners(parts, sizes)) if parts else (),
        tuple(targets[piece] for piece in laid_out),
    )


def _owners(sizes: Sequence[int], fine: Sequence[int]) -> list[int]:
    """For each of ``fine`` the index of the size that it is a piece of."""
    pieces = split(sizes, fine)
    owner = {piece: index for index, own in enumerate(pieces) for piece in own}
    return [owner[piece] for piece in range(len(fine))]

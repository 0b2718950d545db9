"""Movement: what a chain of reshapes and permutes does, as one map.

Every chain of reshapes and permutes that only splits, reorders and joins axes is

    split every axis into atoms, permute the atoms, join them to the new axes,

and so is the composition of two such maps, after both are split along common atoms. `Movement` is
that map; `emit` writes it as few ``permute`` of rank 4 or less (what phone GPUs take), with
reshapes between.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from .editor import Graph, shape_of
from .ops import ELEMENTWISE, is_call, source_of

__all__ = [
    "MOVES",
    "RESHAPE_PRICE",
    "Movement",
    "Tail",
    "emit",
    "first_steps",
    "identity",
    "permutation",
    "price",
    "refine",
    "split",
    "step_of",
    "step_price",
    "steps_of",
    "tail_of",
    "trace_back",
]

aten = torch.ops.aten
MOVES = (aten.reshape.default, aten.permute.default)
MAX_RANK = 4
RESHAPE_PRICE = 1
_MAX_ATOMS = 6


@dataclass(frozen=True)
class Movement:
    """``x.reshape(atoms).permute(order).reshape(after)`` with x of shape ``before``."""

    before: tuple[int, ...]
    atoms: tuple[int, ...]
    order: tuple[int, ...]
    after: tuple[int, ...]

    def then(self, second: Movement) -> Movement | None:
        """First self, then ``second``; None when their axes have no common refinement."""
        middle = [self.atoms[index] for index in self.order]
        fine = refine(middle, second.atoms)
        if fine is None:
            return None
        pieces_of_first = split(middle, fine)  # per permuted atom of self: indices into fine
        order_of_fine = [
            piece for index in second.order for piece in split(second.atoms, fine)[index]
        ]
        # Atoms of the composition, in the order in which they lie in the input.
        position = {index: place for place, index in enumerate(self.order)}
        laid_out = [
            piece for index in range(len(self.atoms)) for piece in pieces_of_first[position[index]]
        ]
        rank_of = {piece: rank for rank, piece in enumerate(laid_out)}
        return Movement(
            self.before,
            tuple(fine[piece] for piece in laid_out),
            tuple(rank_of[piece] for piece in order_of_fine),
            second.after,
        ).simplified()

    def simplified(self) -> Movement:
        """Without atoms of size 1, and with atoms that stay neighbours joined."""
        kept = [i for i in self.order if self.atoms[i] != 1]
        runs: list[list[int]] = []
        for index in kept:
            if runs and _adjacent(runs[-1][-1], index, self.atoms):
                runs[-1].append(index)
            else:
                runs.append([index])
        starts = sorted(run[0] for run in runs)
        sizes = {run[0]: math.prod(self.atoms[i] for i in run) for run in runs}
        return Movement(
            self.before,
            tuple(sizes[start] for start in starts),
            tuple(starts.index(run[0]) for run in runs),
            self.after,
        )

    @property
    def inverse(self) -> Movement:
        """The way back."""
        atoms = tuple(self.atoms[index] for index in self.order)
        order = tuple(self.order.index(index) for index in range(len(self.order)))
        return Movement(self.after, atoms, order, self.before)

    @property
    def cost(self) -> int:
        """0 when no element moves, 1 when runs of them do, 2 when single ones do."""
        simple = self.simplified()
        if len(simple.order) < 2:
            return 0
        return 1 if simple.order[-1] == len(simple.order) - 1 else 2


def identity(shape: Sequence[int]) -> Movement:
    """The map that does nothing."""
    whole = tuple(shape)
    return Movement(whole, whole, tuple(range(len(whole))), whole).simplified()


def permutation(shape: Sequence[int], order: Sequence[int]) -> Movement:
    """One permute."""
    after = tuple(shape[axis] for axis in order)
    return Movement(tuple(shape), tuple(shape), tuple(order), after).simplified()


def _adjacent(first: int, second: int, atoms: tuple[int, ...]) -> bool:
    """Whether ``second`` follows ``first`` in memory, atoms of size 1 aside."""
    return first < second and all(atoms[i] == 1 for i in range(first + 1, second))


def refine(first: Sequence[int], second: Sequence[int]) -> list[int] | None:
    """Sizes of the coarsest split that refines both; None when boundaries cross."""
    cuts = sorted({*_cuts(first), *_cuts(second)})
    fine = [1]
    for low, high in itertools.pairwise(cuts):
        if high % low:
            return None
        fine.append(high // low)
    return fine[::-1][:-1] or []


def _cuts(sizes: Sequence[int]) -> list[int]:
    """Products of the last sizes: 1, last, last two, …"""
    cuts = [1]
    for size in reversed(sizes):
        cuts.append(cuts[-1] * size)
    return cuts


def split(sizes: Sequence[int], fine: Sequence[int]) -> list[list[int]]:
    """For each of ``sizes`` the indices of its pieces in ``fine``, which refines them."""
    pieces: list[list[int]] = []
    index = 0
    for size in sizes:
        run: list[int] = []
        product = 1
        while product < size:
            run.append(index)
            product *= fine[index]
            index += 1
        pieces.append(run)
    return pieces


def trace_back(node: Node) -> tuple[Node, Movement]:
    """The first node of the chain of movements that ends in ``node``, and the map from there."""
    chain = [node]
    while is_call(chain[-1], *MOVES):
        chain.append(source_of(chain[-1]))
    root, movement = chain[0], identity(shape_of(node))
    for current in chain[:-1]:
        longer = step_of(current).then(movement)
        if longer is None:
            return current, movement
        root, movement = source_of(current), longer
    return root, movement


def step_of(node: Node) -> Movement:
    """What one reshape or permute does."""
    whole = shape_of(source_of(node))
    if is_call(node, aten.permute.default):
        order: list[int] = node.args[1]  # type: ignore[assignment]
        return permutation(whole, order)
    return Movement(whole, whole, tuple(range(len(whole))), shape_of(node)).simplified()


@dataclass(frozen=True)
class Tail:
    """What follows a node, as long as each is the only user of the one before.

    Attributes:
        elementwise: calls between the node and the first movement.
        end: the last movement; the last of ``elementwise``, or the node, when there is none.
        movement: what the movements do together.
    """

    elementwise: tuple[Node, ...]
    end: Node
    movement: Movement


def tail_of(graph: Graph, node: Node) -> Tail:
    """Elementwise calls and movements after ``node``."""
    elementwise: list[Node] = []
    while (user := graph.only_user(node)) is not None and is_call(user, *ELEMENTWISE):
        node = user
        elementwise.append(node)
    end = node
    while (user := graph.only_user(end)) is not None and is_call(user, *MOVES):
        end = user
    while end is not node:
        root, there = trace_back(end)
        if root is node:
            return Tail(tuple(elementwise), end, there)
        end = source_of(end)
    return Tail(tuple(elementwise), node, identity(shape_of(node)))


def first_steps(movement: Movement) -> list[Movement]:
    """Every map that one permute towards ``movement`` can do and that keeps the last atom last."""
    simple = movement.simplified()
    count = len(simple.order)
    if not 1 < count <= _MAX_ATOMS:
        return []
    found = []
    for groups, turn in _moves(count):
        if turn[-1] == len(turn) - 1:
            order = tuple(i for axis in turn for i in groups[axis])
            found.append(Movement(simple.before, simple.atoms, order, simple.before))
    return found


# Writing ----------------------------------------------------------------------------------------


Steps = list[tuple[str, list[int]]]
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def steps_of(movement: Movement) -> Steps:
    """The reshapes and permutes that do it: ("reshape", shape) and ("permute", order).

    One permute of the axes as they are, where that is all; channels of an image are brought to the
    end or to the front by a permute of their own, which converters know and often cancel.
    """
    whole = _one_permute(movement)
    if whole is not None:
        return [("permute", list(whole))]
    if movement.cost == 2 and len(movement.after) == 4:
        nearly = movement.then(permutation(movement.after, _TO_LAST))
        if nearly is not None and nearly.cost < 2:
            return [*steps_of(nearly), ("permute", list(_TO_FIRST))]
    if movement.cost == 2 and len(movement.before) == 4:
        moved = permutation(movement.before, _TO_LAST)
        rest = moved.inverse.then(movement)
        if rest is not None and rest.cost < 2:
            return [("permute", list(_TO_LAST)), *steps_of(rest)]
    return _general_steps(movement)


@functools.cache
def _one_permute(movement: Movement) -> tuple[int, ...] | None:
    before, after = movement.before, movement.after
    if sorted(before) != sorted(after) or len(before) > MAX_RANK or not movement.cost:
        return None
    simple = movement.simplified()
    for order in itertools.permutations(range(len(before))):
        if permutation(before, order) == simple and tuple(before[i] for i in order) == after:
            return order
    return None


def _general_steps(movement: Movement) -> Steps:
    simple = movement.simplified()
    atoms, order = list(simple.atoms), simple.order
    if len(atoms) > _MAX_ATOMS:
        fetched = _fetch_first(simple)
        rest = fetched.inverse.then(movement)
        assert rest is not None  # they have the same atoms
        return [*_general_steps(fetched), *_general_steps(rest)]
    steps: Steps = []
    shape = list(movement.before)

    def reshape(to: list[int]) -> None:
        nonlocal shape
        if shape != to:
            steps.append(("reshape", to))
            shape = to

    current = tuple(range(len(order)))
    for groups, turn in _plan(order):
        sizes = [math.prod(atoms[current[i]] for i in group) for group in groups]
        reshape(sizes)
        steps.append(("permute", list(turn)))
        shape = [sizes[axis] for axis in turn]
        current = tuple(current[i] for axis in turn for i in groups[axis])
    reshape(list(movement.after))
    return steps


def _fetch_first(movement: Movement) -> Movement:
    """The part of a movement of many atoms that brings the first atom that is out of place, and
    all that stay behind it, to its place: one permute of at most four groups."""
    order = movement.order
    first = next(place for place, atom in enumerate(order) if atom != place)
    end = first + 1
    while end < len(order) and order[end] == order[end - 1] + 1:
        end += 1
    fetched = order[first:end]
    others = [atom for atom in range(first, len(order)) if atom not in fetched]
    turn = (*range(first), *fetched, *others)
    after = tuple(movement.atoms[atom] for atom in turn)
    flat = (math.prod(after),)
    return Movement(movement.before, movement.atoms, turn, flat).simplified()


Groups = tuple[tuple[int, ...], ...]


@functools.cache
def _plan(order: tuple[int, ...]) -> tuple[tuple[Groups, tuple[int, ...]], ...]:
    """Permutes of at most `MAX_RANK` groups of neighbours cheapest."""
    count = len(order)
    if order == tuple(range(count)):
        return ()
    start = tuple(range(count))
    best: dict[tuple[int, ...], float] = {start: 0}
    came: dict[tuple[int, ...], tuple[tuple[int, ...], Groups, tuple[int, ...]]] = {}
    queue: list[tuple[float, tuple[int, ...]]] = [(0, start)]
    moves = _moves(count)
    while queue:
        cost, state = heapq.heappop(queue)
        if state == order:
            break
        if cost > best[state]:
            continue
        for groups, turn in moves:
            after = tuple(state[i] for axis in turn for i in groups[axis])
            total = cost + step_price(turn)
            if total < best.get(after, math.inf):
                best[after] = total
                came[after] = (state, groups, turn)
                heapq.heappush(queue, (total, after))
    plan = []
    state = order
    while state != start:
        state, groups, turn = came[state]
        plan.append((groups, turn))
    return tuple(reversed(plan))


@functools.cache
def _moves(count: int) -> tuple[tuple[Groups, tuple[int, ...]], ...]:
    """Every permute of 2 to `MAX_RANK` groups of ``count`` neighbours with no fixed joint."""
    moves = []
    for parts in range(2, min(MAX_RANK, count) + 1):
        for cuts in itertools.combinations(range(1, count), parts - 1):
            bounds = (0, *cuts, count)
            groups = tuple(tuple(range(a, b)) for a, b in itertools.pairwise(bounds))
            for turn in itertools.permutations(range(parts)):
                if all(b != a + 1 for a, b in itertools.pairwise(turn)):
                    moves.append((groups, turn))
    return tuple(moves)


def emit(graph: Graph, source: Node, movement: Movement, like: Node) -> Node:
    """Calls that do ``movement`` on ``source``, before ``like``."""
    node = source
    for kind, value in steps_of(movement):
        target = aten.reshape.default if kind == "reshape" else aten.permute.default
        node = graph.call(target, node, value, like=like)
    return node


@functools.cache
def price(movement: Movement) -> int:
    """Of all steps of it together, per element."""
    return sum(
        RESHAPE_PRICE if kind == "reshape" else step_price(tuple(value))
        for kind, value in steps_of(movement)
    )


@functools.cache
def step_price(order: tuple[int, ...]) -> int:
    """Of one permute, in tenths of one that moves runs of elements.

    Matrices that are transposed one by one have fast kernels everywhere; what scatters single
    elements has none (onnxruntime 1.31, 23520 floats: 9, 9 and 95 us).
    """
    if order[-1] == len(order) - 1:
        return 10
    runs = 1 + sum(b != a + 1 for a, b in itertools.pairwise(order))
    return 12 if runs == 2 or (runs == 3 and order[0] == 0) else 40

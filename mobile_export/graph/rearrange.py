"""Rearrangement: what a chain of reshapes and permutes does, as one map.

Every chain of reshapes and permutes that only splits, reorders and joins axes is

    split every axis into factors, permute the factors, join them to the new axes,

and so is the composition of two such maps, once both are cut into common factors. For example, the
windows of EMO's attention: an image of 120 channels and 14x14 pixels becomes four images of 7x7,
each of which holds every second row and column.

    >>> image, cut = (1, 120, 14, 14), (1, 120, 7, 2, 7, 2)
    >>> apart = Rearrangement.reshape(image, cut)
    >>> windows_first = Rearrangement.permute(cut, (0, 3, 5, 1, 2, 4))
    >>> windows_first.after
    (1, 2, 2, 120, 7, 7)
    >>> together = Rearrangement.reshape(windows_first.after, (4, 120, 7, 7))
    >>> windows = apart.then(windows_first).then(together)
    >>> windows.before, windows.after
    ((1, 120, 14, 14), (4, 120, 7, 7))

As one map it has five factors. ``factors`` has them as they lie in the image, ``order`` as they lie
in the windows: first factor 2, whether a row is even or odd, then factor 4, the same for columns,
then channels, rows and columns. The axis of windows holds two of them.

    >>> windows.factors
    (120, 7, 2, 7, 2)
    >>> windows.order
    (2, 4, 0, 1, 3)
    >>> [windows.factors_of(axis) for axis in range(4)]
    [(2, 4), (0,), (1,), (3,)]

Channels and rows stay neighbours, so they may be one factor where nobody asks for the axes.

    >>> windows.simplified().factors, windows.simplified().order
    ((840, 2, 7, 2), (1, 3, 0, 2))

Phones take tensors of rank four. Two permutes are cheaper than one that moves single elements.

    >>> for step in windows.steps():
    ...     print(*step)
    reshape [840, 2, 7, 2]
    permute [0, 2, 1, 3]
    reshape [5880, 4]
    permute [1, 0]
    reshape [4, 120, 7, 7]
    >>> windows.cost(GRAPH_PRICES)
    25

What the inverse does to the windows gives the image back; both together move nothing.

    >>> windows.inverse.before, windows.inverse.after
    ((4, 120, 7, 7), (1, 120, 14, 14))
    >>> windows.disorder, windows.then(windows.inverse).disorder
    (2, 0)
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

__all__ = [
    "GRAPH_PRICES",
    "LAYER_PRICES",
    "MAX_RANK",
    "Factor",
    "Prices",
    "Rearrangement",
    "Step",
    "common_cut",
    "compose",
    "first_steps",
    "parts_of",
]

MAX_RANK = 4
"""The rank that phones' GPUs, ncnn and TNN take."""

_MOST_FACTORS = 6
"""Of more, the cheapest order of permutes is not searched for."""

Shape = tuple[int, ...]
Step = tuple[str, list[int]]
"""("reshape", shape) or ("permute", order)."""


@dataclass(frozen=True, order=True)
class Factor:
    """A factor by the axis of the result that it is a part of.

    ``index`` counts the factors of ``axis`` from the most significant. Sorted, factors stand in the
    order in which they lie in the result.
    """

    axis: int
    index: int
    size: int


@dataclass(frozen=True)
class Prices:
    """What one pass over the data costs, per element.

    Attributes:
        reshape: nothing moves in memory, but an op is run.
        rows: a permute that keeps the last axis last, and so moves whole rows.
        matrix: a permute that transposes matrices, one or each of several.
        scattered: any other permute.
    """

    reshape: float
    rows: float
    matrix: float
    scattered: float

    def of_permute(self, order: Sequence[int]) -> float:
        """Of one permute."""
        if order[-1] == len(order) - 1:
            return self.rows
        runs = 1 + sum(b != a + 1 for a, b in itertools.pairwise(order))
        return self.matrix if runs == 2 or (runs == 3 and order[0] == 0) else self.scattered


GRAPH_PRICES = Prices(reshape=1, rows=10, matrix=12, scattered=40)
"""Of the runtimes that take ATen graphs, in tenths of a permute of rows.

Matrices that are transposed one by one have fast kernels everywhere; what scatters single elements
has none (onnxruntime 1.31, 23520 floats: 9, 9 and 95 us).
"""

LAYER_PRICES = Prices(reshape=0.1, rows=1.0, matrix=1.4, scattered=1.4)
"""Of ncnn and TNN, in permutes of rows."""


@dataclass(frozen=True)
class Rearrangement:
    """``x.reshape(factors).permute(order).reshape(after)`` with x of shape ``before``.

    Nothing here joins or renumbers factors unless it is asked to (`simplified`), because a caller
    may hold their numbers.
    """

    before: Shape
    factors: Shape
    order: Shape
    after: Shape

    @classmethod
    def identity(cls, shape: Sequence[int]) -> Rearrangement:
        """The map that does nothing to ``shape``."""
        return cls.reshape(shape, shape)

    @classmethod
    def reshape(cls, before: Sequence[int], after: Sequence[int]) -> Rearrangement:
        """One reshape; every axis of ``before`` is a factor."""
        whole = tuple(before)
        return cls(whole, whole, tuple(range(len(whole))), tuple(after))

    @classmethod
    def permute(cls, before: Sequence[int], order: Sequence[int]) -> Rearrangement:
        """One permute: axis i of the result is axis ``order[i]``; every axis is a factor."""
        whole = tuple(before)
        return cls(whole, whole, tuple(order), tuple(whole[axis] for axis in order))

    @classmethod
    def of_factors(
        cls, before: Sequence[int], factors: Iterable[Factor], after: Sequence[int]
    ) -> Rearrangement:
        """The map to ``after`` of which ``factors`` lie in this order in ``before``."""
        given = list(factors)
        position = {factor: place for place, factor in enumerate(given)}
        order = tuple(position[factor] for factor in sorted(given))
        return cls(tuple(before), tuple(factor.size for factor in given), order, tuple(after))

    # Reading ------------------------------------------------------------------------------------

    @property
    def disorder(self) -> int:
        """0 when no element moves in memory, 1 when rows of them do, 2 when single ones do."""
        simple = self.simplified()
        if len(simple.order) < 2:
            return 0
        return 1 if simple.order[-1] == len(simple.order) - 1 else 2

    @property
    def targets(self) -> Shape:
        """For each factor the axis of the result that it is a part of; see `cut`.

        Raises:
            ValueError: a factor is a part of two axes.
        """
        moved = [self.factors[index] for index in self.order]
        owners = dict(zip(self.order, _owners(self.after, moved), strict=True))
        return tuple(owners[index] for index in range(len(self.factors)))

    def sources(self, sizes: Sequence[int]) -> Shape:
        """For each factor which of ``sizes``, axes of the source or finer, it is a part of.

        Raises:
            ValueError: a factor is a part of two of them.
        """
        return tuple(_owners(sizes, self.factors))

    def factors_of(self, axis: int) -> Shape:
        """The numbers of the factors of an axis of the result, the most significant first.

        Raises:
            ValueError: a factor is a part of two axes.
        """
        targets = self.targets
        return tuple(index for index in self.order if targets[index] == axis)

    def named(self) -> tuple[Factor, ...]:
        """The factors by the axes of the result, in the order in which they lie in the source.

        Raises:
            ValueError: a factor is a part of two axes.
        """
        counts = [itertools.count() for _ in self.after]
        targets = self.targets
        index = {factor: next(counts[targets[factor]]) for factor in self.order}
        return tuple(
            Factor(targets[factor], index[factor], size) for factor, size in enumerate(self.factors)
        )

    # New ones -----------------------------------------------------------------------------------

    def then(self, second: Rearrangement) -> Rearrangement | None:
        """First self, then ``second``, cut into the factors of both; those of size 1 are gone.

        Returns:
            None when the cuts cross: 6 = 2 · 3 = 3 · 2.
        """
        middle = [self.factors[index] for index in self.order]
        fine = common_cut(middle, second.factors)
        if fine is None:
            return None
        of_first, of_second = parts_of(middle, fine), parts_of(second.factors, fine)
        position = {index: place for place, index in enumerate(self.order)}
        in_source = [part for i in range(len(self.factors)) for part in of_first[position[i]]]
        in_result = [part for index in second.order for part in of_second[index]]
        number = {part: place for place, part in enumerate(in_source)}
        return Rearrangement(
            self.before,
            tuple(fine[part] for part in in_source),
            tuple(number[part] for part in in_result),
            second.after,
        )

    @property
    def inverse(self) -> Rearrangement:
        """The way back; its factors are the same ones in the order of the result."""
        factors = tuple(self.factors[index] for index in self.order)
        order = tuple(self.order.index(index) for index in range(len(self.order)))
        return Rearrangement(self.after, factors, order, self.before)

    def simplified(self) -> Rearrangement:
        """The same map without factors of size 1, and with those that stay neighbours joined."""
        kept = [i for i in self.order if self.factors[i] != 1]
        runs: list[list[int]] = []
        for index in kept:
            if runs and _is_next(runs[-1][-1], index, self.factors):
                runs[-1].append(index)
            else:
                runs.append([index])
        starts = sorted(run[0] for run in runs)
        sizes = {run[0]: math.prod(self.factors[i] for i in run) for run in runs}
        return Rearrangement(
            self.before,
            tuple(sizes[start] for start in starts),
            tuple(starts.index(run[0]) for run in runs),
            self.after,
        )

    def cut(self, sizes: Sequence[int] = ()) -> Rearrangement | None:
        """The same map with every factor inside one axis of the result; those of size 1 are gone.

        Args:
            sizes: into which the elements of the source divide, its axes or finer. When given,
                every factor is inside one of them, too.

        Returns:
            None when the cuts cross: 6 = 2 · 3 = 3 · 2.
        """
        whole = Rearrangement.identity(self.after)
        if not sizes:
            return self.then(whole)
        source = Rearrangement.reshape(sizes, self.before)
        fine = source.then(self)
        fine = fine and fine.then(whole)
        return fine and replace(fine, before=self.before)

    # Writing ------------------------------------------------------------------------------------

    def steps(self, max_rank: int = MAX_RANK) -> list[Step]:
        """The reshapes and permutes, of rank ``max_rank`` at most, that do it.

        One permute of the axes as they are, where that is all. Channels of an image are brought to
        the end or to the front by a permute of their own, which converters know and often cancel.
        Otherwise the cheapest permutes of neighbouring factors.
        """
        whole = _one_permute(self, max_rank)
        if whole is not None:
            return [("permute", list(whole))]
        if self.disorder == 2 and len(self.after) == 4:
            nearly = compose(self, Rearrangement.permute(self.after, _TO_LAST))
            if nearly is not None and nearly.disorder < 2:
                return [*nearly.steps(max_rank), ("permute", list(_TO_FIRST))]
        if self.disorder == 2 and len(self.before) == 4:
            rest = compose(Rearrangement.permute(self.before, _TO_LAST).inverse, self)
            if rest is not None and rest.disorder < 2:
                return [("permute", list(_TO_LAST)), *rest.steps(max_rank)]
        return _general_steps(self, max_rank)

    def cost(self, prices: Prices) -> float:
        """What its `steps` cost, per element."""
        return _cost(self, prices)


def compose(first: Rearrangement, *others: Rearrangement) -> Rearrangement | None:
    """One after the other, each simplified, and what they make after each, too.

    Reshapes that undo each other so leave no cuts behind, which could cross those of later ones.

    Returns:
        None when the cuts of two of them cross.
    """
    whole: Rearrangement | None = first.simplified()
    for other in others:
        whole = whole and whole.then(other.simplified())
        whole = whole and whole.simplified()
    return whole


def first_steps(rearrangement: Rearrangement) -> list[Rearrangement]:
    """Every map that one permute on the way can do and that keeps the last factor last."""
    simple = rearrangement.simplified()
    count = len(simple.order)
    if not 1 < count <= _MOST_FACTORS:
        return []
    found = []
    for groups, turn in _permutes(count, MAX_RANK):
        if turn[-1] == len(turn) - 1:
            order = tuple(i for axis in turn for i in groups[axis])
            found.append(Rearrangement(simple.before, simple.factors, order, simple.before))
    return found


# Cutting ----------------------------------------------------------------------------------------


def common_cut(first: Sequence[int], second: Sequence[int]) -> list[int] | None:
    """Sizes of the coarsest cut that refines both; None when boundaries cross."""
    cuts = sorted({*_boundaries(first), *_boundaries(second)})
    fine = [1]
    for low, high in itertools.pairwise(cuts):
        if high % low:
            return None
        fine.append(high // low)
    return fine[::-1][:-1] or []


def parts_of(sizes: Sequence[int], fine: Sequence[int]) -> list[list[int]]:
    """For each of ``sizes`` the indices of its parts in ``fine``, which refines them.

    Raises:
        ValueError: it does not.
    """
    parts: list[list[int]] = []
    index = 0
    for size in sizes:
        run: list[int] = []
        product = 1
        while product < size and index < len(fine):
            run.append(index)
            product *= fine[index]
            index += 1
        if product != size:
            raise ValueError(f"{tuple(fine)} is no refinement of {tuple(sizes)}")
        parts.append(run)
    return parts


def _boundaries(sizes: Sequence[int]) -> list[int]:
    """Products of the last sizes: 1, last, last two, …"""
    cuts = [1]
    for size in reversed(sizes):
        cuts.append(cuts[-1] * size)
    return cuts


def _owners(sizes: Sequence[int], fine: Sequence[int]) -> list[int]:
    """For each of ``fine`` the index of the size that it is a part of.

    A part of size 1 belongs to the same as the part before it, or to the first.
    """
    kept = [index for index, size in enumerate(fine) if size != 1]
    found = [0] * len(fine)
    for owner, parts in enumerate(parts_of(sizes, [fine[index] for index in kept])):
        for part in parts:
            found[kept[part]] = owner
    for index in range(1, len(fine)):
        if fine[index] == 1:
            found[index] = found[index - 1]
    return found


def _is_next(first: int, second: int, factors: Sequence[int]) -> bool:
    """Whether ``second`` follows ``first`` in memory, factors of size 1 aside."""
    return first < second and all(factors[i] == 1 for i in range(first + 1, second))


# Steps ------------------------------------------------------------------------------------------

_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_Groups = tuple[tuple[int, ...], ...]
_Permute = tuple[_Groups, tuple[int, ...]]
"""Groups of neighbouring factors, and the permute of these groups."""


@functools.cache
def _cost(rearrangement: Rearrangement, prices: Prices) -> float:
    return sum(
        prices.reshape if kind == "reshape" else prices.of_permute(numbers)
        for kind, numbers in rearrangement.steps()
    )


@functools.cache
def _one_permute(whole: Rearrangement, max_rank: int) -> Shape | None:
    """The order of the one permute of the axes that it is, or None."""
    before, after = whole.before, whole.after
    if sorted(before) != sorted(after) or len(before) > max_rank or not whole.disorder:
        return None
    simple = whole.simplified()
    for order in itertools.permutations(range(len(before))):
        permute = Rearrangement.permute(before, order)
        if permute.after == after and permute.simplified() == simple:
            return order
    return None


def _general_steps(whole: Rearrangement, max_rank: int) -> list[Step]:
    simple = whole.simplified()
    factors, order = list(simple.factors), simple.order
    if len(factors) > _MOST_FACTORS:
        fetched = _fetch_first(simple)
        rest = compose(fetched.inverse, whole)
        assert rest is not None  # they have the same factors
        return [*_general_steps(fetched, max_rank), *_general_steps(rest, max_rank)]
    steps: list[Step] = []
    shape = list(whole.before)

    def reshape(to: list[int]) -> None:
        nonlocal shape
        if shape != to:
            steps.append(("reshape", to))
            shape = to

    current = tuple(range(len(order)))
    for groups, turn in _plan(order, max_rank):
        sizes = [math.prod(factors[current[i]] for i in group) for group in groups]
        reshape(sizes)
        steps.append(("permute", list(turn)))
        shape = [sizes[axis] for axis in turn]
        current = tuple(current[i] for axis in turn for i in groups[axis])
    reshape(list(whole.after))
    return steps


def _fetch_first(whole: Rearrangement) -> Rearrangement:
    """The part of a map of many factors that brings the first factor that is out of place, and all
    that stay behind it, to its place: one permute of at most four groups."""
    order = whole.order
    first = next(place for place, factor in enumerate(order) if factor != place)
    end = first + 1
    while end < len(order) and order[end] == order[end - 1] + 1:
        end += 1
    fetched = order[first:end]
    others = [factor for factor in range(first, len(order)) if factor not in fetched]
    turn = (*range(first), *fetched, *others)
    flat = (math.prod(whole.factors),)
    return Rearrangement(whole.before, whole.factors, turn, flat).simplified()


@functools.cache
def _plan(order: Shape, max_rank: int) -> tuple[_Permute, ...]:
    """The permutes of at most ``max_rank`` groups of neighbours that cost least (Dijkstra)."""
    count = len(order)
    start = tuple(range(count))
    if order == start:
        return ()
    best: dict[Shape, float] = {start: 0}
    came: dict[Shape, tuple[Shape, _Permute]] = {}
    queue: list[tuple[float, Shape]] = [(0, start)]
    permutes = _permutes(count, max_rank)
    while queue:
        cost, state = heapq.heappop(queue)
        if state == order:
            break
        if cost > best[state]:
            continue
        for groups, turn in permutes:
            after = tuple(state[i] for axis in turn for i in groups[axis])
            total = cost + GRAPH_PRICES.of_permute(turn)
            if total < best.get(after, math.inf):
                best[after] = total
                came[after] = (state, (groups, turn))
                heapq.heappush(queue, (total, after))
    plan = []
    state = order
    while state != start:
        state, permute = came[state]
        plan.append(permute)
    return tuple(reversed(plan))


@functools.cache
def _permutes(count: int, max_rank: int) -> tuple[_Permute, ...]:
    """Every permute of 2 to ``max_rank`` groups of ``count`` neighbours that joins no two."""
    found = []
    for parts in range(2, min(max_rank, count) + 1):
        for cuts in itertools.combinations(range(1, count), parts - 1):
            bounds = (0, *cuts, count)
            groups = tuple(tuple(range(a, b)) for a, b in itertools.pairwise(bounds))
            for turn in itertools.permutations(range(parts)):
                if all(b != a + 1 for a, b in itertools.pairwise(turn)):
                    found.append((groups, turn))
    return tuple(found)

"""Rearrangements against PyTorch's reshape and permute: random chains, by hypothesis."""

from __future__ import annotations

import doctest
import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile_export.graph import rearrange
from mobile_export.graph.rearrange import (
    GRAPH_PRICES,
    MAX_RANK,
    Factor,
    Prices,
    Rearrangement,
    common_cut,
    compose,
    parts_of,
)

Chain = tuple[tuple[int, ...], list[tuple[str, list[int]]]]


@st.composite
def chains(draw: st.DrawFn, most: int = 6) -> Chain:
    """A shape, and permutes and reshapes that split or join axes."""
    shape = draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4))
    now, steps = list(shape), []
    for _ in range(draw(st.integers(0, most))):
        kind = draw(st.sampled_from(["permute", "split", "join"]))
        axis = draw(st.integers(0, len(now) - 1))
        if kind == "permute":
            order = draw(st.permutations(range(len(now))))
            steps.append(("permute", list(order)))
            now = [now[i] for i in order]
            continue
        if kind == "split":
            part = draw(st.sampled_from([d for d in range(1, 7) if now[axis] % d == 0]))
            now = [*now[:axis], part, now[axis] // part, *now[axis + 1 :]]
        elif axis + 1 < len(now):
            now = [*now[:axis], now[axis] * now[axis + 1], *now[axis + 2 :]]
        steps.append(("reshape", list(now)))
    return tuple(shape), steps


def run(steps: Sequence[tuple[str, list[int]]], x: torch.Tensor) -> torch.Tensor:
    for kind, value in steps:
        x = x.reshape(value) if kind == "reshape" else x.permute(value)
    return x


def numbered(shape: Sequence[int]) -> torch.Tensor:
    return torch.arange(math.prod(shape)).reshape(tuple(shape))


def applied(whole: Rearrangement, x: torch.Tensor) -> torch.Tensor:
    """What the docstring of `Rearrangement` says, word for word."""
    assert tuple(x.shape) == whole.before
    return x.reshape(whole.factors).permute(whole.order).reshape(whole.after)


def one_map(chain: Chain, *, simplify: bool = True) -> Rearrangement | None:
    """The chain as one map; None when cuts cross."""
    shape, steps = chain
    whole: Rearrangement | None = Rearrangement.identity(shape)
    for kind, value in steps:
        assert whole is not None
        make = Rearrangement.reshape if kind == "reshape" else Rearrangement.permute
        step = make(whole.after, value)
        whole = compose(whole, step) if simplify else whole.then(step)
        if whole is None:
            return None
    return whole


def test_worked_example() -> None:
    result = doctest.testmod(rearrange)
    assert result.attempted > 10
    assert result.failed == 0


@settings(max_examples=200, deadline=None)
@given(chains(), st.booleans())
def test_a_chain_is_one_map(chain: Chain, simplify: bool) -> None:
    shape, steps = chain
    whole = one_map(chain, simplify=simplify)
    if whole is None:
        assert crossing(chain, simplify=simplify)
        return
    x = numbered(shape)
    result = applied(whole, x)
    assert torch.equal(result, run(steps, x))
    in_order = torch.equal(result.flatten(), x.flatten())
    assert (whole.disorder == 0) == in_order or x.numel() == 1


def crossing(chain: Chain, *, simplify: bool) -> bool:
    """Whether some reshape cuts where an axis before it does not divide: 6 = 2 · 3 = 3 · 2."""
    shape, steps = chain
    whole = Rearrangement.identity(shape)
    for kind, value in steps:
        make = Rearrangement.reshape if kind == "reshape" else Rearrangement.permute
        step = make(whole.after, value)
        moved = [whole.factors[i] for i in whole.order]
        ends = set(itertools.accumulate(reversed([*moved]), int.__mul__, initial=1))
        ends |= set(itertools.accumulate(reversed(step.factors), int.__mul__, initial=1))
        if any(b % a for a, b in itertools.pairwise(sorted(ends))):
            return True
        longer = compose(whole, step) if simplify else whole.then(step)
        assert longer is not None
        whole = longer
    return False


@settings(max_examples=200, deadline=None)
@given(chains(), st.sampled_from([3, 4, 5]))
def test_steps_do_it_with_few_axes(chain: Chain, max_rank: int) -> None:
    whole = one_map(chain)
    if whole is None:
        return
    x = numbered(whole.before)
    steps = whole.steps(max_rank)
    assert torch.equal(run(steps, x), applied(whole, x))
    channels = 4 if 4 in (len(whole.before), len(whole.after)) else 0  # of an image, whole
    assert all(len(v) <= max(max_rank, channels) for kind, v in steps if kind == "permute")


@settings(max_examples=100, deadline=None)
@given(chains())
def test_the_inverse_is_the_way_back(chain: Chain) -> None:
    whole = one_map(chain)
    if whole is None:
        return
    x = numbered(whole.before)
    assert torch.equal(applied(whole.inverse, applied(whole, x)), x)
    assert whole.inverse.inverse == whole
    there_and_back = whole.then(whole.inverse)
    assert there_and_back is not None
    assert there_and_back.disorder == 0
    assert there_and_back.cost(GRAPH_PRICES) == 0


@settings(max_examples=100, deadline=None)
@given(chains())
def test_simplified_is_the_same_map_with_fewest_factors(chain: Chain) -> None:
    whole = one_map(chain, simplify=False)
    if whole is None:
        return
    simple = whole.simplified()
    x = numbered(whole.before)
    assert torch.equal(applied(simple, x), applied(whole, x))
    assert 1 not in simple.factors
    assert all(b != a + 1 for a, b in itertools.pairwise(simple.order))
    assert simple.simplified() == simple


@settings(max_examples=200, deadline=None)
@given(chains(), st.data())
def test_cut_factors_lie_inside_axes(chain: Chain, data: st.DataObject) -> None:
    whole = one_map(chain)
    if whole is None:
        return
    sizes = data.draw(st.sampled_from([(), whole.before]))
    cut = whole.cut(sizes)
    if cut is None:
        return
    x = numbered(whole.before)
    assert torch.equal(applied(cut, x), applied(whole, x))
    for axis, size in enumerate(cut.after):
        assert math.prod(cut.factors[i] for i in cut.factors_of(axis)) == size
    assert sorted(i for axis in range(len(cut.after)) for i in cut.factors_of(axis)) == [
        *range(len(cut.factors))
    ]
    if sizes:
        sources = cut.sources(sizes)
        assert list(sources) == sorted(sources)
        for part, size in enumerate(sizes):
            own = [f for f, source in zip(cut.factors, sources, strict=True) if source == part]
            assert math.prod(own) == size
    assert Rearrangement.of_factors(cut.before, cut.named(), cut.after) == cut


def test_factors_are_named_by_the_axes_of_the_result() -> None:
    """(12, 5) read as (3, 4, 5), the 4 in front: (4, 15) with an axis of two factors."""
    whole = Rearrangement((12, 5), (3, 4, 5), (1, 0, 2), (4, 15))
    assert whole.named() == (Factor(1, 0, 3), Factor(0, 0, 4), Factor(1, 1, 5))
    assert whole.factors_of(1) == (0, 2)


def test_factors_that_span_axes_have_no_name() -> None:
    whole = Rearrangement.identity((6, 4)).simplified()
    assert whole.factors == (24,)
    with pytest.raises(ValueError, match="no refinement"):
        whole.named()


def test_then_leaves_cuts_that_compose_takes_away() -> None:
    apart, back = Rearrangement.reshape((6,), (2, 3)), Rearrangement.reshape((2, 3), (6,))
    both = apart.then(back)
    assert both is not None
    assert both.factors == (2, 3)
    crossing = Rearrangement.reshape((3, 2), (6,)).inverse
    assert crossing.then(Rearrangement.identity((3, 2))) is not None
    assert both.then(Rearrangement((6,), (3, 2), (1, 0), (2, 3))) is None
    assert compose(apart, back, Rearrangement((6,), (3, 2), (1, 0), (2, 3))) is not None


@pytest.mark.parametrize(
    ("first", "second", "fine"),
    [
        ((6, 4), (2, 12), [2, 3, 4]),
        ((6,), (2, 3), [2, 3]),
        ((2, 3), (3, 2), None),
        ((1, 4, 1), (2, 2), [2, 2]),
        ((), (), []),
    ],
)
def test_common_cut(
    first: tuple[int, ...], second: tuple[int, ...], fine: list[int] | None
) -> None:
    assert common_cut(first, second) == fine


def test_parts_of() -> None:
    assert parts_of((6, 1, 4), (2, 3, 4)) == [[0, 1], [], [2]]
    with pytest.raises(ValueError, match="no refinement"):
        parts_of((6, 4), (4, 6))


@pytest.mark.parametrize(
    ("order", "price"),
    [
        ((1, 0, 2), 2),
        ((0, 2, 1, 3), 2),
        ((1, 0), 3),
        ((0, 2, 1), 3),
        ((1, 2, 0), 3),
        ((0, 2, 3, 1), 3),
        ((2, 1, 0), 4),
        ((0, 3, 2, 1), 4),
        ((0, 2, 1, 4, 3), 4),
    ],
)
def test_prices_of_permutes(order: tuple[int, ...], price: int) -> None:
    prices = Prices(reshape=1, rows=2, matrix=3, scattered=4)
    assert prices.of_permute(order) == price
    shape = tuple(range(2, 2 + len(order)))
    assert Rearrangement.permute(shape, order).disorder == (1 if price == 2 else 2)


def test_every_permutation_of_eight_factors_has_steps() -> None:
    x = numbered((2,) * 8)
    for order in itertools.islice(itertools.permutations(range(8)), 0, 40320, 997):
        whole = Rearrangement.permute((2,) * 8, order)
        steps = whole.steps()
        assert torch.equal(run(steps, x), x.permute(order))
        assert all(len(v) <= MAX_RANK for kind, v in steps if kind == "permute")

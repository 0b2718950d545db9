"""Chains of movement of any rank, and broadcasting, against PyTorch: random, by hypothesis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile_export.lowering import ir
from mobile_export.lowering.builder import Builder
from mobile_export.lowering.operands import broadcast
from mobile_export.lowering.reference import run_values
from mobile_export.lowering.rules.moving import concat, narrow, reshape
from mobile_export.lowering.view import Factor, View

MOVEMENT = (ir.Reshape, ir.Permute, ir.PixelShuffle, ir.PixelUnshuffle)


@dataclass
class Both:
    """A tensor, and the view of it that a builder makes."""

    builder: Builder
    view: View
    tensor: torch.Tensor

    @classmethod
    def start(cls, *shape: int) -> Both:
        tensor = torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape)
        value = ir.Value("image", tuple(n for n in shape if n != 1))
        return cls(Builder(), View.of(value, shape), tensor)

    def reshape(self, shape: tuple[int, ...]) -> Both:
        return Both(
            self.builder, reshape(self.builder, self.view, shape), self.tensor.reshape(shape)
        )

    def permute(self, order: tuple[int, ...]) -> Both:
        return Both(self.builder, self.view.permute(order), self.tensor.permute(order))


def values_of(start: Both, builder: Builder) -> dict[str, np.ndarray]:
    graph = ir.LayerGraph((start.view.value,), (), tuple(builder.layers))
    return dict(run_values(graph, start.tensor.numpy()))


def read(both: Both, values: dict[str, np.ndarray]) -> np.ndarray:
    """The tensor that a view stands for, moved by numpy."""
    order = sorted(both.view.factors)
    memory = values[both.view.value.name].reshape([factor.size for factor in both.view.factors])
    turned = memory.transpose([both.view.factors.index(factor) for factor in order])
    return turned.reshape(both.view.shape)


def factorisations(size: int, draw: st.DrawFn, most: int) -> tuple[int, ...]:
    """Random sizes with the product ``size``, units among them."""
    sizes, rest = [], size
    for prime in (2, 3, 5):
        while rest % prime == 0:
            sizes.append(prime)
            rest //= prime
    sizes += [1] * draw(st.integers(0, 1))
    sizes = list(draw(st.permutations(sizes)))
    while len(sizes) > most or (len(sizes) > 1 and draw(st.booleans())):
        at = draw(st.integers(0, len(sizes) - 2))
        sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
    return tuple(sizes)


@st.composite
def chains(draw: st.DrawFn) -> tuple[Both, Both]:
    """A start, and what a random chain of up to six reshapes and permutes of rank <= 7 makes."""
    start = both = Both.start(
        *draw(st.sampled_from([(1, 12, 4, 6), (1, 720), (1, 8, 90), (2, 3, 4, 30)]))
    )
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            both = both.reshape(factorisations(both.tensor.numel(), draw, 7))
        else:
            both = both.permute(tuple(draw(st.permutations(range(both.tensor.ndim)))))
    return start, both


@settings(max_examples=80, deadline=None)
@given(chains())
def test_any_chain_of_movement_needs_rank_four_only(pair: tuple[Both, Both]) -> None:
    start, both = pair
    axes = range(both.tensor.ndim)
    cut = max(len(axes) - 3, 1)
    groups = [list(axes[:cut]), *[[axis] for axis in axes[cut:]]]
    placed = both.builder.place(both.view, *groups)
    values = values_of(start, both.builder)
    np.testing.assert_array_equal(values[placed.name].reshape(-1), both.tensor.reshape(-1).numpy())
    for layer in both.builder.layers:
        assert isinstance(layer, MOVEMENT)
        assert len(layer.output.shape) <= 4


@settings(max_examples=50, deadline=None)
@given(chains(), st.data())
def test_slices_and_joins_of_moved_tensors(pair: tuple[Both, Both], data: st.DataObject) -> None:
    start, both = pair
    builder, shape = both.builder, tuple(both.tensor.shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    cut = data.draw(st.integers(0, shape[axis] - 1))
    first = narrow(builder, both.view, axis, cut, shape[axis] - cut)
    joined = concat(
        builder, [first, both.view], axis,
        tuple(2 * n - cut if i == axis else n for i, n in enumerate(shape)),
    )  # fmt: skip
    expected = torch.cat([both.tensor.narrow(axis, cut, shape[axis] - cut), both.tensor], axis)
    got = read(Both(builder, joined, expected), values_of(start, builder))
    np.testing.assert_array_equal(got, expected.numpy())


@settings(max_examples=80, deadline=None)
@given(chains(), st.data())
def test_broadcasting_of_moved_tensors(pair: tuple[Both, Both], data: st.DataObject) -> None:
    start, both = pair
    rank = both.tensor.ndim
    check_broadcasting(
        start, both, data.draw(st.lists(st.booleans(), min_size=rank, max_size=rank))
    )


@pytest.mark.parametrize(
    ("shape", "keep"),
    [
        ((4, 6, 12, 1), [False, True] + [False] * 2),
        ((4, 6, 4, 3, 1), [False] * 2 + [True, False, False]),
    ],
)
def test_what_is_repeated_shares_runs_with_other_axes(
    shape: tuple[int, ...], keep: list[bool]
) -> None:
    """Found by the test above: axes cut into factors that lie apart, in runs with other axes."""
    start = Both.start(1, 12, 4, 6)
    last = (3, 0) if len(shape) == 5 else (2, 2)
    places = [(0, 0), (2, 1), (1, 1), (2, 0), (1, 0), last]
    factors = [Factor(*place, size) for place, size in zip(places, (4, 2, 2, 2, 3, 3), strict=True)]
    memory = start.tensor.reshape([factor.size for factor in factors])
    tensor = memory.permute([factors.index(factor) for factor in sorted(factors)]).reshape(shape)
    view = View.of_factors(start.view.value, shape, factors)
    check_broadcasting(start, Both(start.builder, view, tensor), keep)


def check_broadcasting(start: Both, both: Both, keep: Sequence[bool]) -> None:
    """The tensor plus parts of itself along axes not to ``keep``, and plus an array."""
    builder, shape = both.builder, tuple(both.tensor.shape)
    part, tensor = both.view, both.tensor
    for axis, whole in enumerate(keep):
        if not whole:
            part = narrow(builder, part, axis, shape[axis] - 1, 1)
            tensor = tensor.narrow(axis, shape[axis] - 1, 1)
    stored = np.arange(math.prod(tensor.shape), dtype=np.float64).reshape(tuple(tensor.shape))

    def add(parts: list[ir.Value | np.ndarray], sizes: list[int]) -> ir.Value:
        inputs = [p if isinstance(p, ir.Value) else builder.constant(p) for p in parts]
        return builder.add(ir.Binary, inputs, sizes, op="add")

    total = broadcast(builder, [both.view, part], shape, add)
    total = broadcast(builder, [stored, total], shape, add)
    expected = both.tensor + tensor + torch.from_numpy(stored)
    got = read(Both(builder, total, expected), values_of(start, builder))
    np.testing.assert_array_equal(got, expected.numpy())
    assert all(len(layer.output.shape) <= 4 for layer in builder.layers)


def test_there_and_back_moves_nothing() -> None:
    both = Both.start(1, 6, 4, 4)
    moved = both.reshape((1, 6, 2, 2, 2, 2)).permute((0, 2, 4, 1, 3, 5)).reshape((4, 6, 4))
    back = moved.reshape((1, 2, 2, 6, 2, 2)).permute((0, 3, 1, 4, 2, 5)).reshape((1, 6, 4, 4))
    assert back.builder.place(back.view, [0, 1], [2], [3]) == both.view.value
    assert not back.builder.layers


def test_window_partition_is_two_permutes() -> None:
    """(C, H, W) to windows of tokens; the way that a hand-written export takes."""
    both = Both.start(1, 6, 8, 8)
    moved = both.reshape((1, 6, 2, 4, 2, 4)).permute((0, 2, 4, 3, 5, 1)).reshape((4, 16, 6))
    moved.builder.place(moved.view, [0], [1], [2])
    turns = [layer for layer in moved.builder.layers if isinstance(layer, ir.Permute)]
    assert len(turns) == 2


def test_every_permutation_of_eight_factors_can_be_written() -> None:
    for order in itertools.islice(itertools.permutations(range(8)), 0, 40320, 997):
        both = Both.start(1, 256).reshape((2,) * 8).permute(order)
        placed = both.builder.place(both.view, range(8))
        start = Both.start(1, 256)
        values = values_of(start, both.builder)
        np.testing.assert_array_equal(values[placed.name], both.tensor.reshape(-1).numpy())

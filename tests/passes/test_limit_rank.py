"""Movements above rank 5 are written with rank 5 at most; others stay."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mobile_export.passes import PassResult
from mobile_export.passes.limit_rank import limit_rank
from tests.passes.graphs import apply, ops, reasons


class Net(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.factor = nn.Parameter(torch.rand(2, 1, 2, 1, 3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "windows":
            y = x.reshape(1, 8, 2, 2, 2, 3).permute(0, 3, 5, 1, 2, 4).reshape(6, 8, 2, 2)
            return y.exp() + y.flatten(2).softmax(-1).reshape(6, 8, 2, 2)
        if self.kind == "six that count":
            return x.reshape(2, 4, 2, 2, 3, 2).permute(5, 2, 0, 3, 1, 4).reshape(4, 48).exp()
        if self.kind == "q, k and v of windows":
            windows = x.reshape(1, 2, 4, 3, 2, 4).permute(3, 0, 4, 1, 2, 5)
            q, k, v = windows.unbind(0)
            return q.flatten(1, 3).exp() - (k * v).flatten(1, 3)
        if self.kind == "relative positions":
            windows = x.reshape(1, 2, 2, 2, 4, 6)
            rows, columns = windows.mean(4).sigmoid(), windows[..., 0].exp()
            y = windows + rows[:, :, :, :, None] - columns[..., None]
            return torch.where(y > 0.5, y, y * 2.0).reshape(8, 24).clamp(min=-1.0)
        if self.kind == "convex upsampling":
            mask = x.reshape(1, 1, 4, 2, 2, 3, 4).softmax(2)
            moved = x.flatten(1)[:, :96].reshape(1, 2, 4, 1, 1, 3, 4)
            y = (mask * moved).sum(2)
            return y.permute(0, 1, 4, 2, 5, 3).reshape(1, 2, 6, 8).exp()
        if self.kind == "statistics":
            y = x.reshape(2, 2, 2, 2, 3, 4)
            middle = y.mean((1, 2), keepdim=True) + y.amax(3, keepdim=True)
            return (y - middle).log_softmax(-1).reshape(8, 24) + y.sum((0, 2, 3, 5)).sum()
        if self.kind == "every other axis":
            return (x.reshape(2, 4, 2, 2, 3, 2) * self.factor).reshape(8, 24)
        return x.reshape(8, 2, 2, 2, 3).permute(2, 4, 0, 1, 3).reshape(6, 8, 2, 2).exp()


def _ranks(result: PassResult) -> list[int]:
    return [
        node.meta["val"].dim()
        for node in result.program.exported.graph.nodes
        if isinstance(node.meta.get("val"), torch.Tensor)
    ]


def test_windows_are_one_permute() -> None:
    result = apply(limit_rank, Net("windows"), (1, 8, 4, 6))
    assert max(_ranks(result)) <= 5
    assert ops(result.program)["permute"] == 1


@pytest.mark.parametrize(
    ("kind", "shape"), [("convex upsampling", (1, 4, 4, 12)), ("statistics", (1, 8, 4, 6))]
)
def test_softmaxes_and_reductions_join_axes(kind: str, shape: tuple[int, ...]) -> None:
    """`apply` compares with the program before in float64."""
    result = apply(limit_rank, Net(kind), shape)
    assert max(_ranks(result)) <= 5
    assert not result.refusals


def test_six_axes_that_count_are_moved_in_steps() -> None:
    result = apply(limit_rank, Net("six that count"), (1, 8, 4, 6))
    assert max(_ranks(result)) <= 5


def test_rank_five_stays() -> None:
    assert apply(limit_rank, Net("five"), (1, 8, 4, 6)).changes == ()


def test_what_is_taken_apart_has_five_axes_at_most() -> None:
    result = apply(limit_rank, Net("q, k and v of windows"), (1, 8, 4, 6))
    assert max(_ranks(result)) <= 5
    assert ops(result.program)["unbind"] == 1
    unbind = next(
        node for node in result.program.exported.graph.nodes if "unbind" in str(node.target)
    )
    assert unbind.args[0].meta["val"].shape == (1, 3, 64)


class Windowed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        windows = x.reshape(1, 3, 2, 2, 2, 3).permute(0, 2, 4, 3, 5, 1)
        return self.linear(windows).reshape(4, 2, 12).permute(1, 0, 2).exp()


def test_a_linear_layer_of_six_axes_is_one_of_rows() -> None:
    result = apply(limit_rank, Windowed(), (1, 3, 4, 6))
    assert max(_ranks(result)) <= 5


class Moved(nn.Module):
    """Six axes in another order, as an image again."""

    def __init__(self, shape: list[int], order: list[int]) -> None:
        super().__init__()
        self.shape, self.order = shape, order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(self.shape).permute(self.order).reshape(2, -1).exp()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=6, max_size=7), st.data())
def test_any_order_of_any_axes(shape: list[int], data: st.DataObject) -> None:
    shape = [*shape, 2]
    order = data.draw(st.permutations(range(len(shape))))
    result = apply(limit_rank, Moved(shape, list(order)), (1, math.prod(shape)))
    assert max(_ranks(result)) <= 5


def test_pointwise_calls_join_axes_that_are_repeated_alike() -> None:
    """MViT's relative positions at 6 axes, which coremltools refuses ("rank <= 5")."""
    result = apply(limit_rank, Net("relative positions"), (1, 8, 4, 6))
    ranks = [
        node.meta["val"].dim()
        for node in result.program.exported.graph.nodes
        if node.op == "call_function" and torch.Tag.pointwise in node.target.tags
    ]
    assert max(ranks) <= 5


def test_a_pointwise_call_that_needs_six_axes_is_refused() -> None:
    result = apply(limit_rank, Net("every other axis"), (1, 8, 4, 6))
    assert "needs 6 axes" in reasons(result)

"""fold_constants and remove_noops."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobile_export.passes.fold_constants import fold_constants
from mobile_export.passes.remove_noops import remove_noops
from tests.passes.graphs import apply, ops, reasons

IMAGE = (1, 4, 6, 6)


class Net(nn.Module):
    def __init__(self, function: Callable[[Net, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, 3, 3))
        self.biases = nn.Parameter(torch.randn(9, 4))
        self.register_buffer("index", torch.randint(0, 9, (6, 6)))
        self.register_buffer("hidden", torch.randn(4, 1, 1), persistent=False)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def _interpolated(m: Net, x: torch.Tensor) -> torch.Tensor:
    return x + F.interpolate(m.table[None], size=(6, 6), mode="bicubic")


def _positions(m: Net, x: torch.Tensor) -> torch.Tensor:
    return x * torch.arange(6).float().div(6).sin()[None, :]


CONSTANT: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "gathered biases": lambda m, x: x + m.biases[m.index].permute(2, 0, 1),
    "interpolated embedding": _interpolated,
    "positions": _positions,
    "two steps": lambda m, x: x * (m.hidden * 2).exp(),
    "no elements": lambda m, x: x + x[:, :0].narrow(2, 1, 0).exp().sum(),
    "a list": lambda m, x: x + torch.cat([m.hidden, m.hidden]).chunk(2)[1],
}


@pytest.mark.parametrize("name", CONSTANT)
def test_constants_are_computed_at_export(name: str) -> None:
    found = ops(apply(fold_constants, Net(CONSTANT[name]), IMAGE).program)
    assert sum(found.values()) == 1


def test_parts_without_elements_are_not_joined() -> None:
    program = apply(
        fold_constants, Net(lambda m, x: torch.cat([x.exp(), x[..., :0]], -1)), IMAGE
    ).program
    assert ops(remove_noops(program).program) == {"exp": 1}


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda m, x: x[:, 1:][:, :-1].exp(), {"slice": 1, "exp": 1}),
        (lambda m, x: x[:, 1:, 2:].exp(), {"slice": 2, "exp": 1}),
        (lambda m, x: torch.cat([x.exp(), x], 1)[:, :4], {"exp": 1}),
        (lambda m, x: torch.cat([x.exp(), x], 1)[:, 1:3], {"exp": 1, "slice": 1}),
        (lambda m, x: torch.cat([x, x.exp()], 1)[:, -3:], {"exp": 1, "slice": 1}),
        (lambda m, x: torch.cat([x, x.exp()], 1)[:, 3:5], {"exp": 1, "slice": 1, "cat": 1}),
        (lambda m, x: torch.cat([x, x.exp()], 1)[:, :, 3:5], {"exp": 1, "slice": 1, "cat": 1}),
        (lambda m, x: torch.cat([x, x.exp()], 1)[:, ::2], {"exp": 1, "slice": 1, "cat": 1}),
    ],
)
def test_slices(
    function: Callable[[Net, torch.Tensor], torch.Tensor], left: dict[str, int]
) -> None:
    """Of slices, and of one piece of what was joined."""
    assert ops(apply(remove_noops, Net(function), IMAGE).program) == left


def test_large_results_are_not_stored() -> None:
    result = apply(fold_constants, Net(lambda m, x: x.sum() * m.hidden.expand(4, 200, 200)), IMAGE)
    assert "would store 160000 elements" in reasons(result)


def test_random_calls_are_not_stored() -> None:
    from mobile_export.passes.normalize_ops import normalize_ops
    from tests.passes.graphs import program_of

    program = normalize_ops(program_of(Net(lambda m, x: x + torch.rand(6)), IMAGE)).program
    assert fold_constants(program).changes == ()


NOOPS: dict[str, tuple[Callable[[Net, torch.Tensor], torch.Tensor], dict[str, int]]] = {
    "double transpose": (lambda m, x: x.exp().transpose(1, 2).transpose(2, 1), {"exp": 1}),
    "reshape chain": (
        lambda m, x: x.reshape(4, 36).reshape(2, 72).reshape(x.shape).exp(),
        {"exp": 1},
    ),
    "zero padding": (lambda m, x: F.pad(x.exp(), (0, 0, 0, 0)), {"exp": 1}),
    "whole slice": (lambda m, x: x.exp()[:, :, 0:6], {"exp": 1}),
    "expand to itself": (lambda m, x: x.exp().expand(1, 4, 6, 6), {"exp": 1}),
    "expand inside a product": (
        lambda m, x: x.exp() * x.mean((2, 3), keepdim=True).expand(1, 4, 6, 6),
        {"exp": 1, "mean": 1, "mul": 1},
    ),
    "pool of one": (lambda m, x: F.max_pool2d(x.exp(), 1), {"exp": 1}),
    "mean of one": (lambda m, x: x.exp().mean(0, keepdim=True), {"exp": 1}),
    "a split into one": (
        lambda m, x: x.exp().chunk(1, 1)[0] + x.split(4, 1)[0],
        {"exp": 1, "add": 1},
    ),
    "relu twice": (lambda m, x: x.relu().relu(), {"relu": 1}),
    "the same twice": (lambda m, x: x.exp() * x.exp(), {"exp": 1, "mul": 1}),
    "attention at one place": (
        lambda m, x: torch.softmax(x[:, :, :1, :1] @ x[:, :, :1, :1].exp(), -1) @ x[:, :, :1],
        {"slice": 1},
    ),
    "ones that repeat": (
        lambda m, x: torch.softmax(x[..., :1], -1) @ x[:, :, :1].exp(),
        {"slice": 1, "exp": 1, "expand": 1},
    ),
    "ones that sum several": (
        lambda m, x: torch.softmax(x[..., :1], -1).expand(1, 4, 6, 6) @ x,
        {"expand": 1, "matmul": 1},
    ),
    "moving a one": (lambda m, x: x.permute(1, 0, 2, 3).exp(), {"reshape": 1, "exp": 1}),
}


@pytest.mark.parametrize("name", NOOPS)
def test_noops_go(name: str) -> None:
    function, expected = NOOPS[name]
    assert ops(apply(remove_noops, Net(function), IMAGE).program) == expected


def _grown(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The expansion that gives the product its size; `hidden` alone would leave it smaller."""
    return x.mean((2, 3), keepdim=True).expand(1, 4, 6, 6) * m.hidden


KEPT: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "random": lambda m, x: torch.bernoulli(x * 0) + torch.bernoulli(x * 0),
    "a softmax of several": lambda m, x: x.softmax(-1) @ x[..., :1],
    "every second": lambda m, x: x[:, :, ::2].exp(),
    "strided pool of one": lambda m, x: F.avg_pool2d(x, 1, 2),
    "expand that counts": _grown,
    "real transpose": lambda m, x: x.permute(0, 2, 3, 1).exp(),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_counts_stays(name: str) -> None:
    result = apply(remove_noops, Net(KEPT[name]), IMAGE)
    assert all("same as" in change.what and "mul" in change.node for change in result.changes)

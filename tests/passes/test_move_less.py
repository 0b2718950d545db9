"""Attention moves less than before, with permutes of rank 4 at most."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mobile_export
from mobile_export.graph.program import Program
from mobile_export.graph.rearrange import MAX_RANK
from mobile_export.passes.move_less import move_less
from mobile_export.passes.normalize_ops import normalize_ops
from mobile_export.passes.remove_noops import remove_noops
from tests.passes.graphs import apply, ops, program_of

# The pass ---------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, function: Callable[[Net, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.point = nn.Conv2d(8, 12, 1)
        self.qk = nn.Conv2d(8, 16, 1)
        self.v = nn.Conv2d(8, 12, 1)
        self.qkv = nn.Linear(8, 24)
        self.local = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def _norm_then_point(m: Net, x: torch.Tensor) -> torch.Tensor:
    x = m.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return m.point(x).relu().flatten(2).transpose(1, 2)


def _window_attention(m: Net, x: torch.Tensor) -> torch.Tensor:
    """EMO's, in small: 2 heads, windows of 2x2 on an image of 4x6."""
    x = m.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    windows = x.reshape(1, 8, 2, 2, 2, 3).permute(0, 3, 5, 1, 2, 4).reshape(6, 8, 2, 2)
    q, k = m.qk(windows).reshape(6, 2, 2, 4, 4).unbind(1)
    weights = (q.transpose(-2, -1) @ k).softmax(-1)
    mixed = (windows.reshape(6, 2, 4, 4) @ weights.transpose(-2, -1)).reshape(6, 8, 2, 2)
    y = nn.functional.gelu(m.v(mixed)).reshape(1, 2, 3, 12, 2, 2).permute(0, 3, 4, 1, 5, 2)
    return m.local(y.reshape(1, 12, 4, 6))


def _token_attention(m: Net, x: torch.Tensor) -> torch.Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    q, k, v = m.qkv(tokens).reshape(1, 24, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
    return ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(1, 24, 8)


def _far_permute(m: Net, x: torch.Tensor) -> torch.Tensor:
    return x.reshape(2, 4, 2, 2, 3, 2).permute(5, 2, 0, 3, 1, 4).exp()


IMAGE = (1, 8, 4, 6)


def clean(program: Program) -> Program:
    return remove_noops(program).program


def permutes(program: Program) -> list[int]:
    """Ranks of the permutes of a program."""
    return [
        len(node.args[1])
        for node in program.exported.graph.nodes
        if node.op == "call_function" and str(node.target) == "aten.permute.default"
    ]


@pytest.mark.parametrize(
    ("function", "expected"),
    [(_norm_then_point, 1), (_window_attention, 8), (_token_attention, 5)],
    ids=["norm, then 1x1", "window attention", "token attention"],
)
def test_less_is_moved(
    function: Callable[[Net, torch.Tensor], torch.Tensor], expected: int
) -> None:
    result = apply(move_less, Net(function), IMAGE)
    ranks = permutes(result.program)
    assert len(ranks) <= expected
    assert all(rank <= MAX_RANK for rank in ranks)


def test_pieces_of_a_layer_are_layers() -> None:
    result = apply(move_less, Net(_window_attention), IMAGE)
    found = ops(result.program)
    assert (found["linear"], found["conv2d"]) == (2, 2)  # q and k, the value and the local one
    assert "unbind" not in found


def test_a_permute_of_six_axes_is_written_in_rank_4() -> None:
    result = apply(move_less, Net(_far_permute), IMAGE)
    assert all(rank <= MAX_RANK for rank in permutes(result.program))


class _Tokens(nn.Module):
    """A linear layer on tokens, an activation, and what ``function`` moves."""

    def __init__(
        self, inputs: int, outputs: int, function: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(nn.functional.gelu(self.linear(x))).cos()


@pytest.mark.parametrize(
    ("inputs", "outputs", "function", "layer", "moved"),
    [
        (4, 12, lambda y: y.transpose(1, 2).reshape(1, 12, 3, 8), "conv2d", 4),
        (12, 4, lambda y: y.transpose(1, 2).reshape(1, 4, 3, 8), "linear", 4),
        (4, 12, lambda y: y.reshape(2, 3, 4, 12).transpose(1, 2), "linear", 4),
        (4, 12, lambda y: y.reshape(24, 3, 4).transpose(0, 1), "linear", 12),
    ],
    ids=["to an image", "narrowing stays", "other order of tokens", "heads cut the channels"],
)
def test_the_narrow_side_of_a_layer_is_moved(
    inputs: int, outputs: int, function: Callable, layer: str, moved: int
) -> None:
    program = apply(move_less, _Tokens(inputs, outputs, function), (1, 24, inputs)).program
    assert ops(program)[layer] == 1
    (permute,) = (n for n in program.exported.graph.nodes if "permute" in str(n.target))
    assert permute.meta["val"].numel() == 24 * moved


@settings(max_examples=20, deadline=None)
@given(
    st.permutations(range(3)),
    st.sampled_from([(2, 3, 4), (24, 1, 1), (6, 2, 2)]),
    st.integers(1, 3),
    st.integers(1, 8),
)
def test_any_order_of_tokens(
    order: list[int], shape: tuple[int, int, int], inputs: int, outputs: int
) -> None:
    def function(y: torch.Tensor) -> torch.Tensor:
        return y.reshape(*shape, outputs).permute(*order, 3).reshape(1, 24, outputs)

    apply(move_less, _Tokens(inputs, outputs, function), (1, 24, inputs))


KEPT: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "images stay images": lambda m, x: m.local(m.point(x.relu())),
    "a piece of something else": lambda m, x: x.relu().chunk(2, 1)[0].exp(),
    "a strided 1x1": lambda m, x: nn.functional.conv2d(
        x.permute(0, 3, 1, 2).permute(0, 2, 3, 1), m.point.weight, stride=2
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_would_not_pay_stays(name: str) -> None:
    program = clean(normalize_ops(program_of(Net(KEPT[name]), IMAGE)).program)
    assert move_less(program).changes == ()


class _SharedWindows(nn.Module):
    """Windows of an image, of which one axis has a single window, read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        windows = x.reshape(1, 8, 7, 1, 7, 2).permute(0, 3, 5, 1, 2, 4).reshape(2, 8, 7, 7)
        return self.project(windows) + windows.flatten(2).softmax(-1).reshape(2, 8, 7, 7)


def test_no_rank_above_4_where_two_read_the_same_windows() -> None:
    program = mobile_export.prepare(_SharedWindows(), torch.zeros(1, 8, 7, 14))
    ranks = [
        node.meta["val"].dim()
        for node in program.exported.graph.nodes
        if isinstance(node.meta.get("val"), torch.Tensor)
    ]
    assert max(ranks) <= 4


def test_a_permute_that_two_read_is_left_between() -> None:
    """CCNet's columns and rows: the pass and its cleaning undid each other without end."""

    def along_both(_: Net, x: torch.Tensor) -> torch.Tensor:
        last = x.permute(0, 2, 3, 1)
        rows = (last @ last.transpose(2, 3)).softmax(-1)
        turned = last.transpose(1, 2)
        return rows @ last + ((turned @ turned.transpose(2, 3)) @ turned).transpose(1, 2)

    before = normalize_ops(program_of(Net(along_both), (1, 8, 4, 6))).program
    result = apply(move_less, Net(along_both), (1, 8, 4, 6))
    assert ops(result.program)["permute"] <= ops(before)["permute"]


def test_several_results_of_a_product_are_left() -> None:
    """The QR decomposition of one was taken for attention's rows."""
    program = program_of(
        Net(lambda m, x: torch.linalg.qr((x @ x.transpose(2, 3))[0])[1]), (1, 8, 4, 4)
    )
    assert move_less(normalize_ops(program).program).changes == ()

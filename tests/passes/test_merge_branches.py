"""Sums of linear branches collapse into one convolution, exactly, or stay and say why."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from mobile_export.graph.program import Program
from mobile_export.passes import EXACT, Change, PassResult
from mobile_export.passes.fold_norms import fold_norms
from mobile_export.passes.fold_scales import fold_scales
from mobile_export.passes.merge_branches import merge_branches
from mobile_export.passes.normalize_ops import normalize_ops
from tests.passes.graphs import apply, busy, error_of, ops, program_of, reasons

IMAGE = (1, 4, 8, 8)


class Sum(nn.Module):
    """Σ sign · branch(x)."""

    def __init__(self, *branches: nn.Module, signs: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.signs = signs or (1,) * len(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = self.branches[0](x) * self.signs[0] if self.signs[0] != 1 else self.branches[0](x)
        for sign, branch in zip(self.signs[1:], self.branches[1:], strict=True):
            total = total + branch(x) if sign > 0 else total - branch(x)
        return total


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.linspace(-1, 1, 4).reshape(1, 4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gamma


def conv(kernel: int, *, norm: bool = True, **options: int) -> nn.Module:
    layer = nn.Conv2d(4, 4, kernel, padding=options.pop("padding", kernel // 2), **options)
    return nn.Sequential(layer, nn.BatchNorm2d(4)) if norm else layer


MERGED: dict[str, nn.Module] = {
    "RepVGG": Sum(conv(3), conv(1), nn.BatchNorm2d(4)),
    "RepVGG, stride 2": Sum(conv(3, stride=2), conv(1, stride=2)),
    "identity": Sum(nn.Identity(), conv(3)),
    "difference": Sum(conv(3), conv(1), nn.Identity(), signs=(1, -1, -1)),
    "negated": Sum(conv(3), conv(1), signs=(-1, -1)),
    "depthwise": Sum(conv(7, groups=4), conv(3, groups=4), nn.Identity()),
    "groups 2 and 4": Sum(conv(3, groups=2), conv(3, groups=4)),
    "dense and depthwise": Sum(conv(5), conv(3, groups=4), conv(1)),
    "two scales": Sum(conv(3), conv(3), conv(3), conv(1)),
    "layer scale": Sum(nn.Identity(), nn.Sequential(conv(3, groups=4), Scale())),
    "pool": Sum(nn.AvgPool2d(3, 1, 1), conv(3)),
    "pool and identity": Sum(nn.AvgPool2d(3, 1, 1), nn.Identity(), signs=(1, -1)),
    "strided pool": Sum(nn.AvgPool2d(2, 2), conv(2, stride=2, padding=0)),
    "pool with norm": Sum(nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.BatchNorm2d(4)), conv(3)),
    "dilated": Sum(conv(3, dilation=2, padding=2), conv(1), nn.Identity()),
    "nested": Sum(Sum(conv(3), conv(1)), Sum(nn.Identity(), nn.BatchNorm2d(4))),
    "nested with a norm": Sum(
        nn.Identity(), nn.Sequential(Sum(conv(3), nn.BatchNorm2d(4)), nn.BatchNorm2d(4), Scale())
    ),
    "RepMixer": Sum(
        nn.Identity(),
        nn.Sequential(
            Sum(
                Sum(conv(3, groups=4), conv(1, groups=4), nn.BatchNorm2d(4)),
                nn.BatchNorm2d(4),
                signs=(1, -1),
            ),
            Scale(),
        ),
    ),
}


@pytest.mark.parametrize("name", MERGED)
def test_it_merges(name: str) -> None:
    module = busy(MERGED[name])
    result = apply(_all, module, IMAGE)
    assert ops(result.program) == {"conv2d": 1}


def _all(program: Program) -> PassResult:
    """With the passes that a merge works with, until none finds anything."""
    changes: tuple[Change, ...] = ()
    before = None
    while program is not before:
        before = program
        for function in (merge_branches, fold_norms, fold_scales):
            result = function(program)
            program, changes = result.program, changes + result.changes
    return PassResult(program, changes)


def test_linear_layers_merge() -> None:
    result = apply(merge_branches, Sum(nn.Linear(5, 5), nn.Identity(), nn.Linear(5, 5)), (1, 3, 5))
    assert ops(result.program) == {"linear": 1}


def test_1d_convolutions_merge() -> None:
    module = Sum(nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 4, 1), nn.Identity())
    assert ops(apply(merge_branches, module, (1, 4, 7)).program) == {"conv1d": 1}


def test_identity_and_scale_are_one_scale() -> None:
    result = apply(merge_branches, busy(Sum(nn.Identity(), Scale(), nn.BatchNorm2d(4))), IMAGE)
    assert ops(result.program)["add"] == 1
    assert ops(result.program)["mul"] == 1


def test_terms_that_are_no_branches_stay() -> None:
    module = Sum(conv(3), nn.ReLU(), conv(1), nn.Sequential(nn.ReLU(), conv(3)))
    found = ops(apply(_all, busy(module), IMAGE).program)
    assert found["conv2d"] == 2
    assert found["add"] == 2


KEPT: dict[str, tuple[nn.Module, str]] = {
    "more work": (
        Sum(conv(1, norm=False), conv(7, norm=False, groups=4)),
        "784 multiplications instead of 212",
    ),
    "padding that would differ from side to side": (
        Sum(
            conv(2, norm=False, padding=1, dilation=2), conv(1, norm=False, groups=4), signs=(1, 1)
        ),
        "",
    ),
    "pool that does not count its padding": (
        Sum(nn.AvgPool2d(3, 1, 1, count_include_pad=False), conv(3, norm=False)),
        "",
    ),
    "another op between": (Sum(nn.ReLU(), conv(3, norm=False)), ""),
}


@pytest.mark.parametrize("name", KEPT)
def test_it_refuses(name: str) -> None:
    module, reason = KEPT[name]
    result = apply(merge_branches, busy(module), IMAGE)
    assert result.changes == ()
    assert re.search(reason, reasons(result))


def _twice(m: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    y = m[0](x)
    return (y + m[1](x)) * y.relu()


class Function(nn.Module):
    def __init__(self, function: Callable[[nn.Sequential, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(3, norm=False), conv(1, norm=False))
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layers, x)


def test_a_branch_with_another_user_stays() -> None:
    result = apply(merge_branches, Function(_twice), IMAGE)
    assert ops(result.program)["conv2d"] == 2


# Random blocks ----------------------------------------------------------------------------------


@st.composite
def branches(draw: st.DrawFn) -> nn.Module:
    """A block of random branches with one output size, sometimes nested, sometimes not linear."""
    stride = draw(st.sampled_from([1, 1, 2]))
    channels = draw(st.sampled_from([2, 4, 6]))

    def branch(depth: int) -> nn.Module:
        kinds = ["conv", "conv", "norm", "identity", "pool", "relu", "sum"]
        kind = draw(st.sampled_from(kinds if stride == 1 else ["conv", "conv", "pool"]))
        if kind == "sum" and depth:
            return block(depth - 1)
        if kind == "norm":
            return nn.BatchNorm2d(channels)
        if kind == "identity":
            return nn.Identity()
        if kind == "relu":
            return nn.ReLU()
        kernel = draw(st.sampled_from([1, 3, 5]))
        if kind == "pool":
            counted = draw(st.booleans())
            return nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=counted)
        dilation = draw(st.sampled_from([1, 1, 2]))
        layer: nn.Module = nn.Conv2d(
            channels,
            channels,
            kernel,
            stride,
            (kernel // 2) * dilation,
            dilation,
            groups=draw(st.sampled_from([1, 2, channels])),
            bias=draw(st.booleans()),
        )
        return nn.Sequential(layer, nn.BatchNorm2d(channels)) if draw(st.booleans()) else layer

    def block(depth: int) -> nn.Module:
        count = draw(st.integers(2, 4))
        signs = tuple(draw(st.sampled_from([1, 1, -1])) for _ in range(count))
        inner = Sum(*[branch(depth) for _ in range(count)], signs=signs)
        return nn.Sequential(inner, nn.BatchNorm2d(channels)) if draw(st.booleans()) else inner

    module = block(1)
    module.channels = channels  # type: ignore[assignment]
    return module


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(branches(), st.integers(0, 1000), st.sampled_from([(7, 7), (8, 6), (5, 9)]))
def test_random_blocks_stay_the_same_function(
    module: nn.Module, seed: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(seed)
    module = busy(module, seed)
    program = normalize_ops(program_of(module, (1, module.channels, *size))).program  # type: ignore[arg-type]
    result = _all(program)
    assert error_of(result.program, module, seed) <= EXACT
    assert len(result.program.exported.graph.nodes) <= len(program.exported.graph.nodes)

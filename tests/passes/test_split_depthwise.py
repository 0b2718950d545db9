"""Depthwise convolutions of more taps than XNNPACK's kernels have are sums of smaller ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mobile_export.graph.capture import trace
from mobile_export.parity.reference import make_reference
from mobile_export.parity.samples import parity_samples
from mobile_export.passes import PassResult, run_passes, select_passes
from mobile_export.passes.split_depthwise import TAPS, split_depthwise
from tests.conftest import make_source
from tests.passes.graphs import apply, ops


def depthwise(
    kernel: tuple[int, int], padding: tuple[int, int], stride: int = 1, dilation: int = 1
) -> nn.Module:
    conv = nn.Conv2d(3, 3, kernel, stride, padding, dilation, groups=3)
    return nn.Sequential(conv, nn.ReLU())


def _taps(result: PassResult) -> list[int]:
    return [
        node.args[1].meta["val"][0, 0].numel()
        for node in result.program.exported.graph.nodes
        if node.op == "call_function" and "conv2d" in str(node.target)
    ]


@pytest.mark.parametrize(
    ("kernel", "pieces"),
    [((5, 5), 1), ((7, 7), 4), ((3, 9), 2), ((9, 9), 4), ((11, 11), 6), ((8, 8), 4), ((6, 5), 2)],
)
def test_large_kernels_are_sums_of_small_ones(kernel: tuple[int, int], pieces: int) -> None:
    padding = (kernel[0] // 2, kernel[1] // 2)
    result = apply(split_depthwise, depthwise(kernel, padding), (1, 3, 12, 13))
    taps = _taps(result)
    assert len(taps) == pieces
    assert sum(taps) == kernel[0] * kernel[1]
    assert max(taps) <= TAPS


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 11), st.integers(1, 11), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2)
)
def test_any_depthwise_convolution(
    rows: int, columns: int, stride: int, dilation: int, more: int
) -> None:
    padding = (rows // 2 * dilation + more, columns // 2 * dilation + more)
    net = depthwise((rows, columns), padding, stride, dilation)
    result = apply(split_depthwise, net, (1, 3, 23, 25))
    assert max(_taps(result)) <= TAPS


def test_a_piece_cannot_crop() -> None:
    result = apply(split_depthwise, depthwise((7, 7), (0, 0)), (1, 3, 12, 13))
    assert not result.changes
    assert "less than half its kernel" in result.refusals[0].reason


def test_what_needs_too_many_pieces_stays() -> None:
    result = apply(split_depthwise, depthwise((31, 31), (15, 15)), (1, 3, 33, 33))
    assert not result.changes
    assert "31x31 taps need more than" in result.refusals[0].reason


@pytest.mark.parametrize("net", [nn.Conv2d(4, 4, 7, groups=2), nn.Conv2d(4, 8, 7, groups=4)])
def test_other_convolutions_stay(net: nn.Module) -> None:
    result = apply(split_depthwise, net, (1, 4, 12, 12))
    assert (result.changes, result.refusals) == ((), ())


def test_it_runs_after_what_would_merge_the_pieces() -> None:
    source = make_source(depthwise((7, 7), (3, 3)))
    program = trace(source)
    reference = make_reference(source.module, parity_samples(source.input))
    passes = select_passes(extra=("split_depthwise",))
    rewritten, reports = run_passes(program, reference, passes)
    assert ops(rewritten)["conv2d"] == 4
    assert {report.name: len(report.changes) for report in reports}["merge_branches"] == 0

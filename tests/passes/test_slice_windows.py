"""``unfold`` and ``fold`` become slices, pads and sums."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mobile_export.passes.slice_windows import slice_windows
from tests.passes.graphs import apply, ops


class Call(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x).exp()


def rewritten(function: Callable[[torch.Tensor], torch.Tensor], *shape: int) -> dict[str, int]:
    """The ops after the pass, which `apply` has compared with ``function`` in float64."""
    left = ops(apply(slice_windows, Call(function), shape).program)
    assert not {"unfold", "im2col", "col2im"} & set(left)
    return left


@settings(max_examples=40, deadline=None)
@given(st.integers(-4, 3), st.integers(1, 6), st.integers(1, 4))
def test_tensor_unfold(axis: int, size: int, step: int) -> None:
    shape = (2, 3, 7, 6)
    assume(size <= shape[axis])
    rewritten(lambda x: x.unfold(axis, size, step), *shape)


def test_windows_of_a_halo() -> None:
    """Four windows of 14 rows are four slices, not fourteen."""
    left = rewritten(lambda x: x.unfold(2, 14, 8), 1, 3, 38, 5)
    assert left["slice"] == 4


_PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(_PAIRS, _PAIRS, st.tuples(st.integers(0, 2), st.integers(0, 2)), _PAIRS)
def test_im2col_and_col2im(
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    stride: tuple[int, int],
) -> None:
    size = (8, 7)
    counts = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(size, kernel, dilation, padding, stride, strict=True)
    ]
    assume(min(counts) >= 1)
    rewritten(lambda x: F.unfold(x, kernel, dilation, padding, stride), 2, 3, *size)
    columns = 3 * kernel[0] * kernel[1], counts[0] * counts[1]
    rewritten(lambda x: F.fold(x, size, kernel, dilation, padding, stride), 2, *columns)


def test_strides_that_leave_gaps_are_zeros() -> None:
    rewritten(lambda x: F.fold(x, (7, 7), 1, stride=3), 1, 2, 9)


@pytest.mark.parametrize("kind", ["coreml", "tflite"])
def test_the_formats_that_need_it_ask_for_it(kind: str) -> None:
    from mobile_export.exporters.table import get_format

    assert "slice_windows" in get_format(kind).passes.add

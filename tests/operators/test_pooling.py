"""Pools that a network undoes, against eager PyTorch in float64 and in every format.

Tests mobile_export/operators/pooling.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mobile_export.graph.capture import trace
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.operators import pooling
from tests.operators.test_core import core


class Segments(nn.Module):
    """SegNet's way (arXiv 1511.00561): other features at the places of the largest."""

    def __init__(self, kernel: int, stride: int | None = None, padding: int = 0) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 3, padding=1)
        self.middle = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(kernel, stride, padding, return_indices=True)
        self.unpool = nn.MaxUnpool2d(kernel, stride, padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()  # many windows of zeros alone: the first is the largest
        y, places = self.pool(x)
        filled: torch.Tensor = self.unpool(self.middle(y), places, output_size=x.shape[-2:])
        return self.last(filled)


def segments(*args: int) -> Segments:
    torch.manual_seed(0)
    return Segments(*args).eval()


@pytest.mark.parametrize(
    ("args", "size"),
    [((2,), (1, 3, 8, 6)), ((2,), (1, 3, 9, 7)), ((3,), (2, 3, 9, 8)), ((3, 2, 1), (1, 3, 9, 7))],
    ids=["even", "odd", "threes", "overlapping"],
)
def test_unpooling(benchmark: Any, args: tuple[int, ...], size: tuple[int, ...]) -> None:
    module = segments(*args)
    program = core(trace(benchmark.source_of("op", module, size)))
    assert not [n for n in program.exported.graph.nodes if "max_unpool2d" in str(n.target)]
    for image in benchmark._images(size):
        exact = run_float64(double_copy(module), image)
        [found] = run_float64(program.float64(), image)
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)


def test_unpooling_in_every_format(benchmark: Any) -> None:
    found = benchmark.judge("segments", segments(2), (1, 3, 14, 10), benchmark.NAMES, False)
    verdicts = {row: entry["verdict"] for row, entry in found.items()}
    assert verdicts == dict.fromkeys(benchmark.NAMES, "right"), found


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 3, 1, ceil_mode=True),  # 13 has one more window; that of 11 is dropped
        nn.MaxPool2d(2, 2, 1, ceil_mode=True),  # both are dropped
        nn.MaxPool2d((2, 3), (3, 2), 1, (1, 2), ceil_mode=True),
        nn.AvgPool2d((2, 3), (3, 2), 1, ceil_mode=True),
        nn.AvgPool2d(3, 3, 1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(3, 3, 1, ceil_mode=True),
        nn.Sequential(nn.Flatten(2), nn.AvgPool1d(2, 2, 1, ceil_mode=True)),
    ],
    ids=str,
)
def test_windows_in_the_padding_alone(benchmark: Any, pool: nn.Module) -> None:
    """torch.onnx wrote graphs of them whose shapes contradict each other."""
    module = nn.Sequential(nn.Conv2d(3, 3, 1), pool).eval()
    program = core(trace(benchmark.source_of("op", module, (1, 3, 13, 11))))
    pools = [n for n in program.exported.graph.nodes if n.target in pooling._CEILED]
    assert pools
    assert not any(map(pooling.drops_windows, pools))
    for image in benchmark._images((1, 3, 13, 11)):
        exact = run_float64(double_copy(module), image)
        [found] = run_float64(program.float64(), image)
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)

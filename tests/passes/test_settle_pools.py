"""Average pools that no reading of Core ML's rule computes otherwise, max pools without dilation.

Two readings are written down here, window by window in NumPy: PyTorch's, which divides by what lies
in the padded input, and Core ML's by coremltools 2844, which divides by the whole kernel. The
oracle of the whole is eager PyTorch in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx import Node

from mobile_export import api
from mobile_export.graph.ops import argument
from mobile_export.graph.program import Program
from mobile_export.passes.settle_pools import settle_pools
from tests.passes.graphs import apply, error_of, ops, program_of

POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
TARGETS = {f"avg_pool{n}d" for n in POOLS}


def pool(size: Sequence[int], **options: Any) -> tuple[nn.Module, tuple[int, ...]]:
    return POOLS[len(size)](**options), (1, 2, *size)


# (7, 9) with kernel 3, stride 2, padding 1 fits; (8, 9) does not in one axis; with stride 4 and
# kernel 2 the window that ceil adds on 5 + 2·1 starts behind the input and is dropped.
UNSETTLED = {
    "2772": pool((9, 11), kernel_size=2, stride=2, ceil_mode=True),
    "2844": pool((7, 7), kernel_size=2, stride=3, ceil_mode=True),
    "one axis": pool((8, 9), kernel_size=3, stride=2, padding=1, ceil_mode=True),
    "both axes": pool((8, 6), kernel_size=3, stride=2, padding=1, ceil_mode=True),
    "uneven": pool((7, 12), kernel_size=(4, 5), stride=(3, 2), padding=(2, 1), ceil_mode=True),
    "a dropped window": pool((8, 5), kernel_size=(3, 2), stride=(2, 4), padding=1, ceil_mode=True),
    "1d": pool((8,), kernel_size=3, stride=2, padding=1, ceil_mode=True),
    "1d without padding": pool((5,), kernel_size=2, ceil_mode=True),
    "3d": pool((4, 6, 5), kernel_size=3, stride=2, padding=1, ceil_mode=True),
    "3d without padding": pool((3, 5, 4), kernel_size=2, ceil_mode=True),
}
SETTLED = {
    "fits": pool((7, 9), kernel_size=3, stride=2, padding=1, ceil_mode=True),
    "floor": pool((8, 9), kernel_size=3, stride=2, padding=1),
    "padding does not count": pool(
        (8, 9), kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False
    ),
    "dropped": pool((5, 5), kernel_size=2, stride=4, padding=1, ceil_mode=True),
}
DIVIDED = {
    "plain": pool((6, 7), kernel_size=3, divisor_override=5),
    "padded": pool((6, 7), kernel_size=3, stride=2, padding=1, divisor_override=2),
    "ceil": pool((6, 8), kernel_size=3, stride=2, padding=1, ceil_mode=True, divisor_override=7),
    "padding does not count": pool(
        (6, 7), kernel_size=3, padding=1, count_include_pad=False, divisor_override=4
    ),
    "3d": pool((4, 5, 6), kernel_size=2, ceil_mode=True, divisor_override=3),
}


def by_hand(x: np.ndarray, node: Node, *, whole: bool) -> np.ndarray:
    """A pool call window by window; ``whole``: past the edge counts when padding does."""
    rank = x.ndim - 2
    kernel = argument(node, "kernel_size")
    stride = argument(node, "stride") or kernel
    padding, counts = argument(node, "padding"), argument(node, "count_include_pad")
    kernel, stride, padding = (
        list(v) * (rank if len(v) == 1 else 1) for v in (kernel, stride, padding)
    )
    result = np.zeros(tuple(node.meta["val"].shape))
    for at in itertools.product(*(range(n) for n in result.shape[2:])):
        real, padded = [], []
        for axis, index in enumerate(at):
            start = index * stride[axis] - padding[axis]
            end = start + kernel[axis]
            size = x.shape[2 + axis]
            real.append(slice(max(start, 0), min(end, size)))
            padded.append(min(end, size + padding[axis]) - start)
        inside = math.prod(s.stop - s.start for s in real)
        divisor = (math.prod(kernel) if whole else math.prod(padded)) if counts else inside
        total = x[(slice(None), slice(None), *real)].sum(tuple(range(2, x.ndim)))
        result[(slice(None), slice(None), *at)] = total / divisor
    return result


class _Reading(torch.fx.Interpreter):
    """A program in float64 whose average pools follow one reading."""

    def __init__(self, module: torch.fx.GraphModule, *, whole: bool) -> None:
        super().__init__(module)
        self.whole = whole

    def run_node(self, n: Node) -> Any:
        if n.op == "call_function" and str(n.target).split(".")[1] in TARGETS:
            assert argument(n, "count_include_pad") in (True, False)
            x = self.fetch_args_kwargs_from_env(n)[0][0]
            return torch.from_numpy(by_hand(x.numpy(), n, whole=self.whole))
        return super().run_node(n)


def read(program: Program, x: torch.Tensor, *, whole: bool) -> torch.Tensor:
    exported = program.exported
    values = {**exported.state_dict, **exported.constants}
    feed = [
        x if spec.target is None else values[spec.target].double()
        for spec in exported.graph_signature.input_specs
    ]
    module = torch.fx.GraphModule(torch.nn.Module(), exported.graph)
    result: torch.Tensor = _Reading(module, whole=whole).run(*feed)[0]
    return result


@pytest.mark.parametrize("name", [*UNSETTLED, *SETTLED])
def test_both_readings_of_what_is_written_are_the_model(name: str) -> None:
    module, shape = {**UNSETTLED, **SETTLED}[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = module(x)
    result = apply(settle_pools, module, shape)
    assert bool(result.changes) == (name in UNSETTLED)
    for whole in (False, True):
        got = read(result.program, x, whole=whole)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    before = program_of(module, shape)
    torch.testing.assert_close(read(before, x, whole=False), expected, rtol=1e-12, atol=1e-12)
    differs = (read(before, x, whole=True) - expected).abs().max() > 0.01
    assert bool(differs) == (name in UNSETTLED), "the pass changes what needs it, and only that"


def test_a_pool_without_padding_costs_nothing() -> None:
    module, shape = UNSETTLED["2772"]
    assert ops(apply(settle_pools, module, shape).program) == {"avg_pool2d": 1}


@pytest.mark.parametrize("name", DIVIDED)
def test_another_divisor_is_a_factor(name: str) -> None:
    module, shape = DIVIDED[name]
    result = apply(settle_pools, module, shape)
    (node,) = [n for n in result.program.exported.graph.nodes if "avg_pool" in str(n.target)]
    assert argument(node, "divisor_override") is None
    assert error_of(result.program, module) < 1e-12


@pytest.mark.parametrize("name", ["2772", "both axes", "1d", "3d", "divided"])
def test_core_ml_files_hold_no_unsettled_pool(name: str, tmp_path: Any) -> None:
    module, shape = {**UNSETTLED, "divided": DIVIDED["ceil"]}[name]
    net = _Lifted(module, shape)
    report = api.export(net.eval(), ["coreml"], tmp_path, precision="fp32", size=(8, 8))
    (artifact,) = report.artifacts
    assert artifact.parity.passed
    assert not [note for note in artifact.parity.notes if "not settled" in note]


LARGEST = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
DILATED: dict[str, tuple[Sequence[int], dict[str, Any]]] = {
    "plain": ((9, 11), {"kernel_size": 3, "stride": 2, "dilation": 2}),
    "padded": ((9, 11), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}),
    "one axis": ((8, 9), {"kernel_size": (3, 2), "stride": 1, "padding": 1, "dilation": (1, 3)}),
    "ceil": ((9, 8), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2,
                      "ceil_mode": True}),
    "wide": ((12, 13), {"kernel_size": 5, "stride": 1, "padding": 2, "dilation": 3}),
    "1d": ((12,), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 3}),
    "3d": ((4, 6, 5), {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", DILATED)
def test_a_dilated_max_pool_is_the_largest_of_slices(name: str) -> None:
    size, options = DILATED[name]
    module = LARGEST[len(size)](**options)
    result = apply(settle_pools, module, (1, 2, *size))
    assert not {f"max_pool{n}d" for n in LARGEST} & set(ops(result.program))
    assert error_of(result.program, module) == 0


def test_a_dilated_window_outside_of_the_image_stays() -> None:
    """Its largest is minus infinity, which no element is."""
    outside = program_of(nn.MaxPool2d(2, 1, 1, dilation=3), (1, 1, 2, 5))
    assert not settle_pools(outside).changes
    assert not apply(settle_pools, nn.MaxPool2d(3, 2, 1), (1, 1, 6, 6)).changes


@pytest.mark.parametrize("name", ["padded", "ceil", "1d", "3d"])
def test_core_ml_files_hold_dilated_max_pools(name: str, tmp_path: Any) -> None:
    size, options = DILATED[name]
    net = _Lifted(LARGEST[len(size)](**options), (1, 2, *size))
    report = api.export(net.eval(), ["coreml"], tmp_path, size=(8, 8))
    assert [each.parity.status for each in report.artifacts] == ["passed"]


class _Lifted(nn.Module):
    """An image brought to the pool's shape by a linear layer."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lift, self.pool, self.shape = nn.Linear(192, math.prod(shape)), module, shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.pool(self.lift(x.flatten(1)).reshape(self.shape))
        return result

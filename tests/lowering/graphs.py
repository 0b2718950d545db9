"""Lowering small modules, and holding the layer graph to what every lowering promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from mobile_export.graph.capture import flatten_outputs
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.graph.program import Program
from mobile_export.lowering import ir
from mobile_export.lowering.lower import lower
from mobile_export.lowering.reference import run_graph
from mobile_export.passes.fold_constants import fold_constants
from mobile_export.passes.normalize_ops import normalize_ops
from tests.passes.graphs import busy, program_of

EXACT = 1e-9
"""Largest float64 error, relative to the largest element of the eager result."""


class Calls(nn.Module):
    """A function as a module; ``parts`` are its submodules, ``arrays`` its buffers."""

    def __init__(self, function: Callable[..., object], *parts: nn.Module | torch.Tensor) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))
        arrays = [part for part in parts if isinstance(part, torch.Tensor)]
        for number, array in enumerate(arrays):
            self.register_buffer(f"array{number}", array)
        self.count = len(arrays)

    def forward(self, x: torch.Tensor) -> object:
        return self.function(
            x, *self.parts, *[getattr(self, f"array{i}") for i in range(self.count)]
        )


def prepared(module: nn.Module, shape: Sequence[int]) -> Program:
    """The captured program in one spelling, without the passes that optimise."""
    program = fold_constants(normalize_ops(program_of(module, shape)).program).program
    return program.in_float32()


def check(module: nn.Module, shape: Sequence[int], seed: int = 0) -> ir.LayerGraph:
    """Lower ``module``; the layer graph is well formed and equals the eager module in float64."""
    graph = lower(prepared(busy(module, seed), shape))
    assert_well_formed(graph)
    x = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)).double()
    exact = [a.numpy() for a in flatten_outputs(run_float64(double_copy(module), x))[1]]
    got = run_graph(graph, x.numpy())
    assert [a.shape for a in got] == [b.shape for b in exact]
    assert relative_error(got, exact) <= EXACT
    return graph


def relative_error(got: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
    """Largest error of all outputs, each relative to its largest element."""
    errors = [
        float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))
        for a, b in zip(got, exact, strict=True)
    ]
    return max(errors)


def assert_well_formed(graph: ir.LayerGraph) -> None:
    """What the docstring of `ir` promises and `reference` does not check."""
    known = set(graph.inputs)
    names = [value.name for value in graph.inputs] + [layer.name for layer in graph.layers]
    assert len(set(names)) == len(names)
    for layer in graph.layers:
        assert set(layer.inputs) <= known, f"{layer.name} is used before it is made"
        assert 1 <= len(layer.output.shape) <= 4
        assert all(isinstance(n, int) and n > 0 for n in layer.output.shape)
        if isinstance(layer, ir.Concat | ir.MatMul):
            assert len({len(value.shape) for value in layer.inputs}) == 1
        if isinstance(layer, ir.Pad):
            assert len(layer.padding) <= 3
            assert layer.mode == "constant" or (
                len(layer.padding) == 3 and not any(layer.padding[0])
            )
        known.add(layer.output)
    assert set(graph.outputs) <= known
    assert all(
        layer.output in graph.outputs or graph.users()[layer.output] for layer in graph.layers
    )


def kinds(graph: ir.LayerGraph) -> Counter[str]:
    """How often each kind of layer occurs."""
    return Counter(layer.kind for layer in graph.layers)

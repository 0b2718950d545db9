"""Nearest-neighbour resizing by a broken factor becomes two selections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mobile_export import api
from mobile_export.exporters.coreml.evaluator import load_program
from mobile_export.graph.specs import OutputSpec
from mobile_export.passes.index_nearest import index_nearest
from tests.conftest import load_file, write_file
from tests.passes.graphs import apply, ops


class Resize(nn.Module):
    def __init__(self, size: tuple[int, int] | None, factor: float | None = None) -> None:
        super().__init__()
        self.size, self.factor = size, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, self.size, self.factor, mode="nearest").exp()


@pytest.mark.parametrize(
    ("size", "left"),
    [
        ((7, 7), {"index_select": 2}),
        ((3, 7), {"index_select": 1}),
        ((6, 7), {"index_select": 1, "upsample_nearest2d": 1}),
        ((2, 3), {"index_select": 1}),
        ((6, 9), {"upsample_nearest2d": 1}),
        ((3, 3), {"upsample_nearest2d": 1}),
    ],
)
def test_broken_factors_are_selections(size: tuple[int, int], left: dict[str, int]) -> None:
    result = apply(index_nearest, Resize(size), (1, 2, 3, 3))
    assert ops(result.program) == {**left, "exp": 1}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))
def test_any_size(height: int, width: int, out_height: int, out_width: int) -> None:
    apply(index_nearest, Resize((out_height, out_width)), (1, 2, height, width))


@pytest.mark.parametrize("factor", [1.5, 2.3, 0.4])
def test_a_given_factor(factor: float) -> None:
    apply(index_nearest, Resize(None, factor), (1, 2, 7, 9))


def test_a_broken_factor_between_sizes_of_a_whole_one() -> None:
    """10 pixels by 3.05 are 30, but not each of them three times."""
    result = apply(index_nearest, Resize(None, 3.05), (1, 2, 10, 10))
    assert ops(result.program) == {"index_select": 2, "exp": 1}


def test_core_ml_gathers_what_its_resizing_leaves_open(tmp_path: Path) -> None:
    """4 -> 6 rows: by coremltools' factor 6.0001 / 4, row 3 is ⌊1.99997⌋; PyTorch has 2."""
    pytest.importorskip("coremltools")
    net = nn.Sequential(nn.Conv2d(3, 4, 1), Resize((6, 10)), nn.Conv2d(4, 2, 1)).eval()
    report = api.export(net, ["coreml"], tmp_path, size=(4, 5))
    (artifact,) = report.artifacts
    assert artifact.parity.passed
    assert not any("not settled" in note for note in artifact.parity.notes)
    kinds = load_program(artifact.path).op_counts()
    assert kinds["gather"] == 1
    assert kinds["upsample_nearest_neighbor"] == 1


def test_litert_then_agrees(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    from mobile_export.exporters.table import get_format
    from mobile_export.parity.samples import Sample

    target, module, x = get_format("tflite"), Resize((7, 7)), torch.randn(1, 2, 3, 3)
    assert "index_nearest" in target.passes.add
    program = apply(index_nearest, module, (1, 2, 3, 3)).program
    program = replace(program, outputs=(OutputSpec("logits", (1, 2, 7, 7)),))
    write_file(target.name, program, tmp_path / "m.tflite", precision="fp32")
    session = load_file(target.name, tmp_path / "m.tflite", program.outputs)
    (got,) = session.run(Sample("random", x))
    torch.testing.assert_close(torch.from_numpy(got), module(x))

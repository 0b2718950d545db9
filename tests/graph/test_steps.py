"""Calls whose result jumps are named where a file in float16 is off."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.graph.capture import trace
from mobile_export.graph.steps import steps_of
from tests.conftest import make_source, need


class Peaks(nn.Module):
    """The peaks of a heat map (CenterNet): a neighbour that float16 rounds to the same is one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.conv.weight.mul_(0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heat = self.conv(x).sigmoid()
        columns = torch.arange(x.shape[-1]) % 2 == 0  # of no image
        around = nn.functional.max_pool2d(heat, 3, 1, 1)
        return heat * (around == heat) * columns


def test_steps_of_what_is_computed_from_the_image() -> None:
    found = [str(node.target) for node in steps_of(trace(make_source(Peaks())))]
    assert found == ["aten.eq.Tensor"]


@pytest.mark.parametrize(("precision", "status"), [("fp16", "inconclusive"), ("fp32", "passed")])
def test_a_file_in_float16_names_the_steps(precision: str, status: str, tmp_path: Path) -> None:
    need("coreml")
    torch.manual_seed(0)
    report = mobile_export.export(
        Peaks().eval(), "coreml", tmp_path, name="net", size=32, precision=precision
    )
    (artifact,) = report.artifacts
    assert artifact.parity.status == status
    named = [note for note in artifact.parity.notes if "the other side of a step" in note]
    assert len(named) == (status != "passed")
    assert all("aten.eq.Tensor at eq" in note and "test_steps.py" in note for note in named)

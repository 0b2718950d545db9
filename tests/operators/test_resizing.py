"""Resizing by a factor that fits no size, in every format's file; the oracle is eager float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobile_export import api
from mobile_export.exporters.table import FORMATS


class Resizes(nn.Module):
    """7 x 9 pixels by 1.5 and other factors, in every mode."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (
            F.interpolate(x, scale_factor=1.5, mode="bilinear"),
            F.interpolate(x, scale_factor=1.5, mode="nearest"),
            F.interpolate(x, scale_factor=1.5, mode="nearest-exact"),
            F.interpolate(x.flatten(2), scale_factor=0.6, mode="linear"),
            F.interpolate(x.flatten(2), scale_factor=1.45, mode="nearest"),
        )


@pytest.mark.parametrize("target", [row.name for row in FORMATS])
def test_files_take_positions_by_the_factor(target: str, tmp_path: Path) -> None:
    """7 pixels by 1.5 are 10, read at the points of 1.5 and not at those of 10/7.

    torch.onnx stores a factor in float32, in which 29 / 1.45 is less than 20.
    """
    (row,) = (row for row in FORMATS if row.name == target)
    for library in row.libraries:
        pytest.importorskip(library.module)
    report = api.export(Resizes().eval(), [target], tmp_path, size=(7, 9))
    (artifact,) = report.artifacts
    assert artifact.parity.passed, artifact.parity
    assert not any("not settled" in note for note in artifact.parity.notes)

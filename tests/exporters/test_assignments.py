"""A model that fills tensors by lists, masks and steps, in every format, against float64 eager.

In the spirit of coremltools 1065, 1182 and 2188, which the converters refuse or get wrong.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.exporters.table import FORMATS
from mobile_export.graph.capture import flatten_outputs
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.parity.samples import Sample
from tests.conftest import load_file, need

SAMPLE = ("onnx", "coreml", "ncnn")


class Assigned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.conv(x)
        y = features.clone()
        y[:, [0, 3, 5]] = features[:, [5, 0, 3]] * 2
        y[:, :, 2:6, ::3] += 1
        y[..., -1] = y[..., 0]
        y[y < -0.5] = -0.5
        means = y.mean((2, 3))
        made = torch.zeros(x.shape[0], 4, dtype=x.dtype)
        made[:, 0] = means.sum(1)
        made[:, 1] = means.amax(1) - means.amin(1)
        made[:, 2:] = means[:, 2:4]
        return y, made


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(row.name, marks=() if row.name in SAMPLE else (pytest.mark.matrix,))
        for row in FORMATS
    ],
)
def test_assignments(name: str, tmp_path: Path) -> None:
    need(name)
    module = Assigned().eval()
    report = mobile_export.export(module, name, tmp_path, name="net", size=32)
    (artifact,) = report.artifacts
    assert artifact.parity.passed
    assert artifact.path is not None
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    exact = [t.numpy() for t in flatten_outputs(run_float64(double_copy(module), x))[1]]
    outputs = mobile_export.prepare(module, x).outputs
    got = load_file(name, artifact.path, outputs).run(Sample("s", x))
    allowed = 1e-5 if artifact.precision == "fp32" else 1e-2
    for found, wanted in zip(got, exact, strict=True):
        assert np.abs(found - wanted).max() <= allowed * np.abs(wanted).max()

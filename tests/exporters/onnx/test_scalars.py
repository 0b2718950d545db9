"""Numbers near 0 and 1 stay in ONNX files; torch.onnx's optimizer drops them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export

onnxruntime = pytest.importorskip("onnxruntime")


class Calls(nn.Module):
    """A function of an image that has places of zeros."""

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("small", torch.tensor(1e-8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x.relu(), self.small)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, small: 1 / (x + 1e-8),
        lambda x, small: 1 / (small + x),
        lambda x, small: 1 / (x - 3e-9),
        lambda x, small: (x + 1) * (1 + 9e-6),
        lambda x, small: (x + 1) / (1 - 9e-6),
    ],
)
def test_they_are_kept(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    module = Calls(function).eval()
    report = mobile_export.export(module, ("onnx",), tmp_path, name="m", size=8)
    (file,) = report.artifacts
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    (got,) = onnxruntime.InferenceSession(str(file.path)).run(None, {"image": x.numpy()})
    wanted = module.double()(x.double()).numpy()
    assert np.abs(got / wanted - 1).max() < 2e-6

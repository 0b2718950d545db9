"""What onnxruntime's own code for an operator is off, against NumPy in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.exporters.onnx.session import _STEPS


class _Unlikely(nn.Module):
    """Probabilities of about 1e-5, as a detector's before training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        nn.init.constant_(self.conv.bias, -11.5)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.conv(x))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> mobile_export.ExportReport:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("steps")
    return mobile_export.export(_Unlikely().eval(), "onnx", folder, name="m", size=16)


def test_sigmoid_is_off_by_a_number_and_no_share(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    x = np.linspace(-18, 18, 100_001).astype(np.float32)
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, x.shape) for n in "xy"]
    node = onnx.helper.make_node("Sigmoid", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    model.ir_version = 9
    (got,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    error = np.abs(got - exact)
    assert error.max() < _STEPS["sigmoid"] < 4 * error.max()
    small = x < -10
    assert (error / exact)[small].max() > 1e-3  # a share would be 1e-7


def test_small_probabilities_are_not_called_wrong(report: mobile_export.ExportReport) -> None:
    (file,) = report.artifacts
    assert file.parity.status in ("passed", "inconclusive")
    assert file.parity.max_rel > 1e-5
    assert any("own code for its last operator" in note for note in file.parity.notes)

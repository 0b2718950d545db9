"""LiteRT's private interfaces, on a file made with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import get_format
from mobile_export.graph.capture import trace
from mobile_export.pipeline import export_program
from mobile_export.quantization.options import QuantizationOptions
from mobile_export.system.litert_private import operations_of
from tests.conftest import make_source, need, write_file


class Attention(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 2) @ (x + 1).transpose(-2, -1)


def test_a_product_of_batches_is_one_operation(tmp_path: Path) -> None:
    need("tflite")
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    program = trace(make_source(Attention(), size=(8, 8)))
    file = tmp_path / "a.tflite"
    write_file("tflite", program, file)
    interpreter = interpreters.Interpreter(str(file))
    interpreter.allocate_tensors()
    names = [op["op_name"] for op in operations_of(interpreter)]
    assert names.count("BATCH_MATMUL") == 1
    assert "RESHAPE" not in names


def test_a_pad_between_roundings_has_channels_last(tmp_path: Path) -> None:
    """And a padding as SAME does it is the convolution's own; another one stays, of integers."""
    need("tflite")
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same, self.other = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.same(nn.functional.pad(x, (0, 1, 0, 1)))
            y: torch.Tensor = self.other(nn.functional.pad(x, (2, 1, 1, 0)))
            return y

    torch.manual_seed(0)
    source = make_source(Net().eval(), size=(16, 16))
    options = QuantizationOptions(calibration="synthetic", calibration_samples=3)
    config = ExportConfig(out_dir=tmp_path, precision="int8", quantization=options)
    (made,) = export_program(lambda: source, "net", [get_format("tflite")], config).artifacts
    assert made.parity.faithful, made.parity.notes
    interpreter = interpreters.Interpreter(str(made.path))
    interpreter.allocate_tensors()
    names = [op["op_name"] for op in operations_of(interpreter) if op["op_name"] != "DELEGATE"]
    assert names == ["QUANTIZE", "CONV_2D", "PAD", "CONV_2D", "DEQUANTIZE"]

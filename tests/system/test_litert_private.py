"""LiteRT's private interfaces, on a file made with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mobile_export.graph.capture import trace
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

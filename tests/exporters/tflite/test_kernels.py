"""TFLite files of integers: kernels that LiteRT has and its converter does not choose.

What a file computes is judged against the plan in float64, tensor by tensor, by the pipeline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import mobile_export
from mobile_export.pipeline import ArtifactReport
from mobile_export.quantization.options import QuantizationOptions
from mobile_export.system.litert_private import operations_of
from tests.conftest import need

SAMPLES = QuantizationOptions(calibration="synthetic", calibration_samples=3)


class Decoder(nn.Module):
    """What LiteRT's dialect has no 16 bits for, a transposed convolution, and a depthwise one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 8, 2, 2)
        self.depth, self.head = nn.Conv2d(24, 24, 3, 1, 1, groups=24), nn.Linear(24, 10)
        with torch.no_grad():
            self.head.bias.mul_(40)  # more steps of 16 bits than a float32 can count

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.hardswish(self.stem(x))
        x = torch.tanh(x) + 0.25 * functional.elu(x) + x.mean((2, 3), keepdim=True)
        wide = functional.interpolate(x, scale_factor=2, mode="bilinear")
        x = torch.cat([torch.relu(self.up(x)), wide, functional.gelu(wide)], 1)
        y: torch.Tensor = self.head(self.depth(x).mean((2, 3)))
        return y


class Shifted(nn.Module):
    """A tensor that a roll, a pool with zeros around it and a minimum read, in two layouts.

    An average pool has one scale for what it reads and gives (TFLite's 8-bit quantization
    specification); with another one LiteRT's converter rounds, and clips, before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.minimum(x, x.roll((1, -2), (1, 3))) + functional.avg_pool2d(x, 3, 1, 1)
        y: torch.Tensor = self.head(x)
        return y


class Repeated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.max_pool2d(self.stem(x).repeat(1, 2, 1, 3), 2)


class Choosing(nn.Module):
    """A dynamic ReLU (Chen et al., 2020, equation 1) and a maximum with stored values.

    TFLite's kernels of MAXIMUM and MINIMUM compare integers of one scale: two scales are made one
    by LiteRT's converter, in the operators before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.slopes = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 16)
        self.least = nn.Parameter(torch.randn(8, 1, 1) / 4)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        a, b = self.slopes(x.mean((2, 3))).unsqueeze(-1).unsqueeze(-1).chunk(2, 1)
        x = torch.maximum(x * (2.0 * a), x * (2.0 * b - 1.0))
        y: torch.Tensor = self.head(torch.minimum(torch.maximum(x, self.least), x * 0.9))
        return y


def _written(network: Callable[[], nn.Module], precision: str, folder: Path) -> ArtifactReport:
    need("tflite")
    torch.manual_seed(0)
    options = SAMPLES if precision.startswith("int") else None
    report = mobile_export.export(
        network().eval(),
        "tflite",
        out_dir=folder,
        size=16,
        precision=precision,
        quantization=options,
    )
    return report.artifacts[0]


def _operations(path: Path) -> list[tuple[str, list[str]]]:
    """Each operator of a file with the types of what it reads."""
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = interpreters.Interpreter(
        str(path),
        experimental_op_resolver_type=interpreters.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    types: dict[int, Any] = {
        each["index"]: np.dtype(each["dtype"]).name for each in interpreter.get_tensor_details()
    }
    return [
        (each["op_name"], [types[i] for i in each["inputs"] if i >= 0])
        for each in operations_of(interpreter)
    ]


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_layers_and_joins_read_integers(precision: str, tmp_path: Path) -> None:
    artifact = _written(Decoder, precision, tmp_path)
    assert artifact.parity.passed, artifact.parity.notes
    assert artifact.parity.faithful
    assert artifact.path is not None
    operations = _operations(artifact.path)
    read = dict(operations)
    bias = "int64" if precision == "int16" else "int32"
    for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        assert read[name] == [precision, "int8", bias]
    assert read["TRANSPOSE_CONV"] == ["int32", "int8", precision, bias]
    assert read["CONCATENATION"] == [precision] * 3
    assert Counter(name for name, _ in operations)["RELU"] == 0, "the rounding clamps"


@pytest.mark.parametrize("network", [Shifted, Repeated, Choosing])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_layouts(network: type[nn.Module], precision: str, tmp_path: Path) -> None:
    """litert-torch 0.10 has repeated rows in the place of channels, and lost a layout."""
    artifact = _written(network, precision, tmp_path)
    assert artifact.parity.passed, artifact.parity.notes

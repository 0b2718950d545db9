"""TFLite files with layers in float32 between integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import get_format
from mobile_export.pipeline import export_program
from mobile_export.quantization.options import QuantizationOptions
from mobile_export.quantization.plan import read_plan
from mobile_export.system.litert_private import operations_of
from tests.conftest import make_source, need

OPTIONS = QuantizationOptions(calibration="synthetic", calibration_samples=3)


class Net(nn.Module):
    """Padding, a depthwise layer, two that read the same, a linear one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.depth = nn.Conv2d(8, 8, 3, groups=8)
        self.one, self.other = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, bias=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.depth(torch.relu(self.stem(x))))
        x = torch.relu(self.one(x)) + torch.sigmoid(self.other(x))
        y: torch.Tensor = self.head(x.mean((2, 3)))
        return y


@pytest.mark.parametrize("left", ["depth", "stem depth one other head"])
def test_layers_that_are_left_compute_in_float32(left: str, tmp_path: Path) -> None:
    """Their weights are the model's, to the bit; everything else is integers."""
    need("tflite")
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    torch.manual_seed(0)
    source = make_source(Net().eval(), size=(32, 32))
    plan = tmp_path / "plan.json"
    config = ExportConfig(
        out_dir=tmp_path, precision="int8", quantization=replace(OPTIONS, plan=plan)
    )
    formats = [get_format("tflite")]
    export_program(lambda: source, "whole", formats, config)
    whole = read_plan(plan)
    kept = [
        each
        for each in whole.tensors
        if each.kind not in ("weight", "bias") or each.module not in left.split()
    ]
    plan.write_bytes(msgspec.structs.replace(whole, tensors=kept).to_json())
    (made,) = export_program(lambda: source, "mixed", formats, config).artifacts
    assert made.parity.faithful, made.parity.notes
    interpreter = interpreters.Interpreter(
        str(made.path),
        experimental_op_resolver_type=interpreters.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    found = []
    for operation in operations_of(interpreter):
        assert operation["op_name"] not in ("MINIMUM", "NEG", "MUL")
        if operation["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            weight = interpreter.get_tensor(int(operation["inputs"][1]))
            found += [np.sort(weight.reshape(-1))] if weight.dtype == np.float32 else []
    modules = dict(source.module.named_modules())
    expected = [np.sort(modules[n].weight.detach().numpy().reshape(-1)) for n in left.split()]
    assert sorted(map(bytes, found)) == sorted(map(bytes, expected))


class Clamps(nn.Module):
    """Clamps that nothing computes with the operator before them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.one, self.other = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.last = nn.Conv2d(16, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, other = self.one(x), self.other(x)
        if self.kind == "read twice":
            values = torch.cat([nn.functional.relu6(one), one * 0.5], 1)
        elif self.kind == "hard sigmoid":
            values = torch.cat([one * (nn.functional.relu6(one + 3) / 6), other], 1)
        elif self.kind == "relu6":
            values = nn.functional.relu6(torch.cat([one, other], 1) * torch.cat([one, one], 1))
            values = nn.functional.relu6(torch.cat([values[:, :8], other], 1))
        elif self.kind == "softmax":
            values = torch.cat([one.softmax(-1), other], 1)
        else:
            values = torch.cat([one, other], 1).clamp(-0.25, 0.5)
        result: torch.Tensor = self.last(values)
        return result


@pytest.mark.parametrize("kind", ["read twice", "hard sigmoid", "relu6", "other bounds", "softmax"])
def test_clamps_and_softmax_of_16_bits_are_computed_in_float32(kind: str, tmp_path: Path) -> None:
    """LiteRT's converter refuses clamps that stand alone between integers, and puts ReLU6 into the
    end of a mark; its softmax of 16 bits is two steps off."""
    need("tflite")
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    torch.manual_seed(0)
    source = make_source(Clamps(kind).eval(), size=(16, 16))
    config = ExportConfig(out_dir=tmp_path, precision="int16", quantization=OPTIONS)
    report = export_program(lambda: source, "clamps", [get_format("tflite")], config)
    (made,) = report.artifacts
    assert made.parity.status == "passed", made.parity.notes
    interpreter = interpreters.Interpreter(str(made.path))
    interpreter.allocate_tensors()
    types = {each["index"]: each["dtype"] for each in interpreter.get_tensor_details()}
    for operation in operations_of(interpreter):
        if operation["op_name"] in ("SOFTMAX", "RELU6"):
            assert types[int(operation["inputs"][0])] is np.float32

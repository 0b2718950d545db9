"""ONNX files of integers in the form that onnxruntime's kernels want."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.onnx.integers import as_planned, fold_pads
from mobile_export.exporters.table import get_format
from mobile_export.pipeline import export_program
from mobile_export.quantization.options import QuantizationOptions
from tests.conftest import load_source, make_source

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

OPTIONS = QuantizationOptions(calibration="synthetic", calibration_samples=3)


class Residual(nn.Module):
    """Padding on one side, ReLU6, and a tensor that is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2)
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu6(self.stem(nn.functional.pad(x, (0, 1, 0, 1))))
        for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
            x = x + second(nn.functional.relu6(first(x)))
        return x.mean((2, 3))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    source = make_source(Residual().eval(), size=(32, 32))
    folder = tmp_path_factory.mktemp("integers")
    config = ExportConfig(out_dir=folder, precision="int8", quantization=OPTIONS)
    (made,) = export_program(lambda: source, "net", [get_format("onnx")], config).artifacts
    assert made.parity.passed, made.parity.notes
    assert made.path is not None
    return made.path


def optimised(file: Path, folder: Path) -> Counter[str]:
    """What onnxruntime runs in the place of a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "run.onnx")
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(str(folder / "run.onnx")).graph.node)


def test_every_layer_and_sum_has_a_kernel_of_integers(file: Path, tmp_path: Path) -> None:
    """Of the tensors that are read twice as well; nothing stands between a layer and its scale."""
    written = Counter(node.op_type for node in onnx.load(str(file)).graph.node)
    assert not {"Pad", "Clip", "Relu"} & set(written)
    found = optimised(file, tmp_path)
    assert (found["QLinearConv"], found["QLinearAdd"]) == (5, 2)
    assert not {"Conv", "Add", "Pad", "Clip"} & set(found)


def test_activations_have_no_sign_and_weights_have_one(file: Path) -> None:
    model = onnx.load(str(file))
    types = {each.name: each.data_type for each in model.graph.initializer}
    rounding = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {types[node.input[2]] for node in rounding} == {TensorProto.UINT8}
    convolved = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    widening = [n for n in model.graph.node if n.output[0] in convolved]
    assert {types[node.input[0]] for node in widening} == {TensorProto.INT8}
    assert len({node.input[2] for node in widening}) == len(widening)  # as the switch wants


def test_the_switch_for_exact_products_changes_nothing_but_saturation(file: Path) -> None:
    """Four layers have equal zero points; onnxruntime 1.32 does not load a file that shares them.

    The reference is onnxruntime itself, without any optimiser: each rounding apart, in float32.
    """

    def outputs(optimise: bool) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.x64quantprecision", "1")
        if not optimise:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        image = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
        return session.run(None, {"image": image})[0]

    fused, apart = outputs(True), outputs(False)
    assert np.abs(fused - apart).max() <= 0.02 * np.abs(apart).max()


class Tokens(nn.Module):
    """Linear layers of three axes, as attention has them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 32)
        self.narrow, self.head = nn.Linear(32, 8), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        y: torch.Tensor = self.head((x + self.narrow(self.wide(x).relu())).mean(1))
        return y


@pytest.mark.parametrize("batch", [1, 2])
def test_floats_times_integer_weights_are_not_rounded(batch: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = load_source(Tokens().eval(), size=(32, 32), batch=batch)
    config = ExportConfig(out_dir=tmp_path, precision="int8-weights", quantization=OPTIONS)
    (made,) = export_program(lambda: source, "net", [get_format("onnx")], config).artifacts
    assert made.parity.passed, made.parity.notes
    assert made.path is not None
    kinds = optimised(made.path, tmp_path)
    assert kinds["MatMulNBits"] == 0
    assert kinds["MatMul"] + kinds["FusedMatMul"] == 2


def test_integers_of_a_file_are_those_of_the_plan() -> None:
    value, zero_point = as_planned(np.array([0, 128, 255], np.uint8), 3)
    assert (value.tolist(), value.dtype, zero_point) == ([-128, 0, 127], np.int8, -125)
    signed = as_planned(np.array([-1], np.int8), 5)
    assert (signed[0].tolist(), signed[1]) == ([-1], 5)


def padded(pads: list[int], **how: Any) -> Any:
    """A Pad and a Conv that pads by itself, too."""
    value, mode, several = how.get("value", 0.0), how.get("mode", "constant"), how.get("several")
    weight = np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32)
    stored = {"pads": np.array(pads), "value": np.array(value, np.float32), "weight": weight}
    nodes = [
        helper.make_node("Pad", ["x", "pads", "value"], ["wide"], mode=mode),
        helper.make_node("Conv", ["wide", "weight"], ["y"], pads=[1, 0, 0, 1], strides=[2, 1]),
    ]
    if several:
        nodes.append(helper.make_node("Relu", ["wide"], ["z"]))
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in ("y", "z")[: len(nodes) - 1]
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 9])
    graph = helper.make_graph(
        nodes, "pad", [image], outputs, [numpy_helper.from_array(v, k) for k, v in stored.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: Any) -> Any:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image = np.random.default_rng(1).standard_normal((1, 3, 8, 9)).astype(np.float32)
    return session.run(None, {"x": image})


def test_a_pad_becomes_one_of_the_convolution() -> None:
    model = padded([0, 0, 2, 1, 0, 0, 0, 3])
    before = run(model)
    assert fold_pads(model) == 1
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    np.testing.assert_allclose(run(model)[0], before[0], atol=1e-5)


@pytest.mark.parametrize(
    ("pads", "how"),
    [
        ([0, 0, 1, 1, 0, 0, 0, 0], {"value": 1.0}),
        ([0, 0, 1, 1, 0, 0, 0, 0], {"mode": "reflect"}),
        ([0, 0, 1, 1, 0, 0, 0, 0], {"several": True}),
        ([0, 0, -1, 1, 0, 0, 0, 0], {}),
        ([1, 0, 1, 1, 0, 0, 0, 0], {}),
    ],
)
def test_another_pad_stays(pads: list[int], how: dict[str, Any]) -> None:
    model = padded(pads, **how)
    content = model.SerializeToString()
    assert fold_pads(model) == 0
    assert model.SerializeToString() == content

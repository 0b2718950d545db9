"""Minimal graphs of `FAULTS`, run in the installed library; the oracle is PyTorch or NumPy.

Where the installed version is one that a row calls wrong, it must be wrong, and where the row calls
it mended, right: a row that is out of date fails here.
"""

from __future__ import annotations

import functools
import importlib.metadata
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.version import Version
from torch import nn
from torch.nn import functional as F

from mobile_export.exporters.runtime_faults import FAULTS, RuntimeFault, table

DOCS = Path(__file__).parents[2] / "docs" / "runtime-faults.md"


def onnx_run(
    opset: int,
    nodes: list[tuple[str, str, str, dict[str, Any]]],
    x: np.ndarray,
    **stored: np.ndarray,
) -> Any:
    """Result ``y`` of ONNX nodes (type, inputs, output, attributes) on ``x`` and what is stored."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper, float_type = onnx.helper, onnx.TensorProto.FLOAT
    stored["pads"] = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    graph = helper.make_graph(
        [helper.make_node(kind, i.split(), [o], **more) for kind, i, o, more in nodes],
        "graph",
        [helper.make_tensor_value_info("x", float_type, x.shape)],
        [helper.make_tensor_value_info("y", float_type, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def average_pool_ceil() -> float:
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    options = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    node = ("AveragePool", "x", "y", {**options, "ceil_mode": 1, "count_include_pad": 1})
    exact = F.avg_pool2d(torch.tensor(x), 3, 2, 1, ceil_mode=True).numpy()
    return float(np.abs(onnx_run(18, [node], x) - exact).max())


def average_pool_pads() -> float:
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 6, 1)
    options = {"kernel_shape": [5, 1], "pads": [2, 0, 2, 0], "count_include_pad": 1}
    exact = F.avg_pool2d(torch.tensor(x), (5, 1), 1, (2, 0)).numpy()
    return float(np.abs(onnx_run(20, [("AveragePool", "x", "y", options)], x) - exact).max())


def pad_max_pool() -> float:
    x = np.linspace(-2, -1, 36, dtype=np.float32).reshape(1, 1, 6, 6)
    pool = ("MaxPool", "padded", "y", {"kernel_shape": [3, 3], "strides": [2, 2]})
    exact = F.max_pool2d(F.pad(torch.tensor(x), (1, 1, 1, 1)), 3, 2).numpy()
    return float(np.abs(onnx_run(20, [("Pad", "x pads", "padded", {}), pool], x) - exact).max())


def matmul_of_integer_weights() -> float:
    random = np.random.default_rng(0)
    x = random.normal(0, 100, (1, 16, 64)).astype(np.float32)
    weights = random.integers(-127, 127, (64, 8), np.int8)
    scales = np.full(8, 0.125, np.float32)
    nodes = [
        ("DequantizeLinear", "weights scales", "w", {"axis": 1}),
        ("MatMul", "x w", "y", {}),
    ]
    got = onnx_run(20, nodes, x, weights=weights, scales=scales)
    exact = x.astype(np.float64) @ (weights * 0.125)
    return float(np.abs(got - exact).max() / np.abs(exact).max() * 100)  # in percent


class Resizes(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nearest = F.interpolate(x[..., :3, :3], size=(7, 7), mode="nearest")
        return nearest, F.interpolate(x, scale_factor=1.5, mode="bilinear")


class Sorted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sort(-x, dim=-1).values


ROWS = torch.arange(49.0).reshape(1, 1, 7, 7)


@functools.cache
def litert_errors(module: type[nn.Module]) -> list[float]:
    """Of each output of a module on `ROWS`, by litert-torch alone; infinite where nothing loads."""
    converter = pytest.importorskip("litert_torch")
    from ai_edge_litert.interpreter import Interpreter

    converted = converter.convert(module().eval(), (ROWS,))
    with tempfile.TemporaryDirectory() as folder:
        converted.export(f"{folder}/m.tflite")
        content = Path(folder, "m.tflite").read_bytes()
    try:
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        if "STABLEHLO" not in str(error):
            raise
        return [math.inf]
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], ROWS.numpy())
    interpreter.invoke()
    got = [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
    exact = module()(ROWS)
    exact = exact if isinstance(exact, tuple) else (exact,)
    return [float(np.abs(a - b.numpy()).max()) for a, b in zip(got, exact, strict=True)]


def litert_nearest() -> float:
    return litert_errors(Resizes)[0]


def litert_bilinear() -> float:
    return litert_errors(Resizes)[1]


def litert_sort() -> float:
    return litert_errors(Sorted)[0]


def coremltools_nearest() -> float:
    """Rows off, where the row of the source is what the stored factor says, rounded down."""
    tools = pytest.importorskip("coremltools")
    net = nn.Upsample((6, 6), mode="nearest").eval()
    traced = torch.jit.trace(net, torch.zeros(1, 1, 4, 4))
    program = tools.convert(
        traced, inputs=[tools.TensorType(shape=(1, 1, 4, 4))], convert_to="milinternal"
    )
    (call,) = program.functions["main"].find_ops(op_type="upsample_nearest_neighbor")
    picked = np.floor(np.arange(6) / float(call.scale_factor_height.val))
    rows = torch.arange(4.0).reshape(1, 1, 4, 1).expand(1, 1, 4, 4)
    return float(np.abs(picked - net(rows)[0, 0, :, 0].numpy()).max())


def openvino_views() -> float:
    pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    from tests.exporters.onnx import test_views as views

    model, image = views.attention_model(), views.sample_image()
    return views.error(views.openvino_results(model, image), views.expected(model, image))


def openvino_attention() -> float:
    """Infinite where the process dies."""
    pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    from tests.exporters.onnx import test_attention as attention

    results = attention.openvino_results(attention.attention_model(), attention.sample())
    return math.inf if results is None else attention.error(results)


def openvino_heads() -> float:
    pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    from tests.exporters.onnx import test_attention as attention

    results = attention.openvino_results(attention.heads_model(), attention.heads_sample())
    return math.inf if results is None else attention.error(results, attention.heads_expected())


GRAPHS: dict[str, Callable[[], float]] = {
    graph.__name__: graph
    for graph in (
        average_pool_ceil,
        average_pool_pads,
        pad_max_pool,
        matmul_of_integer_weights,
        litert_nearest,
        litert_bilinear,
        litert_sort,
        coremltools_nearest,
        openvino_views,
        openvino_attention,
        openvino_heads,
    )
}


def test_every_row_has_a_graph() -> None:
    assert {fault.name for fault in FAULTS} == set(GRAPHS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_installed_version_does_what_the_row_says(fault: RuntimeFault) -> None:
    error = GRAPHS[fault.name]()
    installed = Version(importlib.metadata.version(fault.library))
    first, last = map(Version, fault.seen)
    if fault.processors and error < 1e-5:
        pytest.skip(f"{fault.library} {installed}: {fault.processors}; here it is right")
    if first <= installed <= last:
        assert error > 0.1, f"{fault.library} {installed} is right: mend the row"
    elif fault.mended and installed >= Version(fault.mended):
        assert error < 1e-5, f"{fault.library} {installed} is wrong again: mend the row"
    else:
        pytest.skip(f"{fault.library} {installed} was not run when the row was written")


def test_the_docs_have_the_table() -> None:
    assert table() in DOCS.read_text(encoding="utf-8")

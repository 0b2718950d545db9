"""Attention of three axes with a residual: right in onnxruntime, and OpenVINO lives through it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mobile_export.exporters.onnx.attention import attend_in_four_axes

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

TOKENS, CHANNELS, KEYS = 16, 8, 6

STORED = {
    name: np.random.Generator(np.random.PCG64(seed)).standard_normal(shape).astype(np.float32)
    for seed, (name, shape) in enumerate(
        {"keys": (1, CHANNELS, KEYS), "values": (1, KEYS, CHANNELS), "mask": (TOKENS, KEYS)}.items()
    )
}

IN_A_CHILD = """
import sys
import numpy, openvino
file, image, result = sys.argv[1:]
compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
numpy.save(result, compiled([numpy.load(image)])[0])
"""


def attention_model() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Relu", ["x"], ["normal"]),
        helper.make_node("Sigmoid", ["normal"], ["queries"]),
        helper.make_node("MatMul", ["queries", "keys"], ["scores"]),
        helper.make_node("Add", ["scores", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["shares"], axis=2),
        helper.make_node("MatMul", ["shares", "values"], ["attended"], name="product"),
        helper.make_node("Add", ["normal", "attended"], ["residual"]),
        helper.make_node("Relu", ["residual"], ["positive"]),
        helper.make_node("Add", ["residual", "positive"], ["y"]),
    ]
    shape, values = [1, TOKENS, CHANNELS], TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", values, shape)],
        [helper.make_tensor_value_info("y", values, shape)],
        [numpy_helper.from_array(value, name) for name, value in STORED.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def sample() -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(7))
    return generator.standard_normal((1, TOKENS, CHANNELS)).astype(np.float32)


def expected() -> np.ndarray:
    """By NumPy in float64 (ONNX operators MatMul, Softmax, Add, Relu, Sigmoid)."""
    stored = {name: value.astype(np.float64) for name, value in STORED.items()}
    normal = np.maximum(sample().astype(np.float64), 0)
    scores = 1 / (1 + np.exp(-normal)) @ stored["keys"] + stored["mask"]
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    residual = normal + shares @ stored["values"]
    return residual + np.maximum(residual, 0)


def error(result: np.ndarray) -> float:
    return float(np.abs(result - expected()).max() / np.abs(expected()).max())


def openvino_results(model: onnx.ModelProto, folder: Path | None = None) -> np.ndarray | None:
    """Of a child process; None where it was killed by a signal."""
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        place = folder or Path(made)
        paths = [place / name for name in ("model.onnx", "x.npy", "y.npy")]
        paths[0].write_bytes(model.SerializeToString())
        np.save(paths[1], sample())
        command = [sys.executable, "-c", IN_A_CHILD, *map(str, paths)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode < 0:
            return None
        assert ended.returncode == 0, ended.stderr
        return np.load(paths[2])


def test_both_products_have_four_axes() -> None:
    model = attention_model()
    assert attend_in_four_axes(model) == 1
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in inferred.graph.value_info}
    assert [ranks[n] for n in ("scores", "masked", "shares", "attended_wide")] == [4] * 4
    assert [ranks[n] for n in ("normal", "queries", "attended", "residual")] == [3] * 4
    assert attend_in_four_axes(model) == 0


def two_readers(model: onnx.ModelProto) -> None:
    model.graph.output.append(
        helper.make_tensor_value_info("shares", TensorProto.FLOAT, [1, TOKENS, KEYS])
    )


def along_the_tokens(model: onnx.ModelProto) -> None:
    model.graph.node[4].attribute[0].i = 1


def no_sum(model: onnx.ModelProto) -> None:
    model.graph.node[6].op_type = "Mul"


@pytest.mark.parametrize("change", [two_readers, along_the_tokens, no_sum])
def test_what_is_no_such_attention_stays(change: Callable[[onnx.ModelProto], None]) -> None:
    model = attention_model()
    change(model)
    before = model.SerializeToString()
    assert attend_in_four_axes(model) == 0
    assert model.SerializeToString() == before


def test_onnxruntime_computes_the_same() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = attention_model()
    attend_in_four_axes(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert error(session.run(None, {"x": sample()})[0]) < 1e-6


def test_openvino_computes_it() -> None:
    pytest.importorskip("openvino")
    model = attention_model()
    attend_in_four_axes(model)
    result = openvino_results(model)
    assert result is not None
    assert error(result) < 1e-6

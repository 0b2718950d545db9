"""Attention of three axes with a residual: right in onnxruntime, and OpenVINO lives through it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from mobile_export.exporters.onnx.attention import attend_in_another_axis

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

TOKENS, CHANNELS, KEYS = 16, 8, 6
HEADS, PER_HEAD = 4, 8


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape).astype(np.float32)


STORED = {
    "keys": drawn(0, 1, CHANNELS, KEYS),
    "values": drawn(1, 1, KEYS, CHANNELS),
    "mask": drawn(2, TOKENS, KEYS),
}

IN_A_CHILD = """
import sys
import numpy, openvino
file, image, result = sys.argv[1:]
compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
numpy.save(result, compiled([numpy.load(image)])[0])
"""


def made(
    nodes: list[onnx.NodeProto],
    given: Sequence[int],
    returned: Sequence[int],
    stored: Mapping[str, np.ndarray],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, returned)],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


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
    return made(nodes, (1, TOKENS, CHANNELS), (1, TOKENS, CHANNELS), STORED)


def heads_model(tokens: int = HEADS) -> onnx.ModelProto:
    """Queries are transposed from tokens, heads to heads, tokens; the result is not."""
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("Reshape", ["positive", "split"], ["of_tokens"]),
        helper.make_node("Transpose", ["of_tokens"], ["queries"], perm=[0, 2, 1, 3]),
        helper.make_node("MatMul", ["queries", "keys"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "values"], ["y"], name="product"),
    ]
    stored = heads_stored() | {"split": np.array([1, tokens, HEADS, PER_HEAD])}
    given, returned = (1, tokens, HEADS * PER_HEAD), (1, HEADS, tokens, PER_HEAD)
    return made(nodes, given, returned, stored)


def heads_stored() -> dict[str, np.ndarray]:
    return {"keys": drawn(3, 1, HEADS, PER_HEAD, 7), "values": drawn(4, 1, HEADS, 7, PER_HEAD)}


def sample() -> np.ndarray:
    return drawn(7, 1, TOKENS, CHANNELS)


def heads_sample() -> np.ndarray:
    return drawn(8, 1, HEADS, HEADS * PER_HEAD)


def shares_of(scores: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(scores) / np.exp(scores).sum(-1, keepdims=True))


def expected() -> np.ndarray:
    """By NumPy in float64 (ONNX operators MatMul, Softmax, Add, Relu, Sigmoid)."""
    stored = {name: value.astype(np.float64) for name, value in STORED.items()}
    normal = np.maximum(sample().astype(np.float64), 0)
    scores = 1 / (1 + np.exp(-normal)) @ stored["keys"] + stored["mask"]
    residual = normal + shares_of(scores) @ stored["values"]
    return np.asarray(residual + np.maximum(residual, 0))


def heads_expected() -> np.ndarray:
    stored = {name: value.astype(np.float64) for name, value in heads_stored().items()}
    positive = np.maximum(heads_sample().astype(np.float64), 0)
    queries = positive.reshape(1, HEADS, HEADS, PER_HEAD).transpose(0, 2, 1, 3)
    return np.asarray(shares_of(queries @ stored["keys"]) @ stored["values"])


def error(result: np.ndarray, exact: np.ndarray | None = None) -> float:
    exact = expected() if exact is None else exact
    return float(np.abs(result - exact).max() / np.abs(exact).max())


def openvino_results(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray | None:
    """Of a child process; None where it was killed by a signal."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("model.onnx", "x.npy", "y.npy")]
        paths[0].write_bytes(model.SerializeToString())
        np.save(paths[1], image)
        command = [sys.executable, "-c", IN_A_CHILD, *map(str, paths)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode < 0:
            return None
        assert ended.returncode == 0, ended.stderr
        return np.asarray(np.load(paths[2]))


FORMS = [
    pytest.param(attention_model, sample, expected, id="residual"),
    pytest.param(heads_model, heads_sample, heads_expected, id="heads"),
]
Model = Callable[[], onnx.ModelProto]
Array = Callable[[], np.ndarray]


def test_both_products_have_four_axes() -> None:
    model = attention_model()
    assert attend_in_another_axis(model) == 1
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in inferred.graph.value_info}
    assert [ranks[n] for n in ("scores", "masked", "shares", "attended_wide")] == [4] * 4
    assert [ranks[n] for n in ("normal", "queries", "attended", "residual")] == [3] * 4
    assert attend_in_another_axis(model) == 0


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
    assert attend_in_another_axis(model) == 0
    assert model.SerializeToString() == before


@pytest.mark.parametrize(("form", "image", "exact"), FORMS)
def test_onnxruntime_computes_the_same(form: Model, image: Array, exact: Array) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = form()
    assert attend_in_another_axis(model) == 1
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert error(session.run(None, {"x": image()})[0], exact()) < 1e-6


@pytest.mark.parametrize(("form", "image", "exact"), FORMS)
def test_openvino_computes_it(form: Model, image: Array, exact: Array) -> None:
    pytest.importorskip("openvino")
    model = form()
    attend_in_another_axis(model)
    result = openvino_results(model, image())
    assert result is not None
    assert error(result, exact()) < 1e-6


def test_as_many_heads_as_tokens() -> None:
    model = heads_model()
    assert attend_in_another_axis(model) == 1
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in inferred.graph.value_info}
    assert [ranks[n] for n in ("scores", "shares", "y_wide")] == [5] * 3
    assert ranks["queries"] == 4
    assert attend_in_another_axis(model) == 0
    assert attend_in_another_axis(heads_model(HEADS + 1)) == 0

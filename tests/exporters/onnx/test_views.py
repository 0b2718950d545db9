"""Values that are reshaped and go through a convolution: right in onnxruntime and OpenVINO."""

from __future__ import annotations

import numpy as np
import pytest

from mobile_export.exporters.onnx.views import separate_views

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

CHANNELS, SIDE = 168, 7
TOKENS = SIDE * SIDE


def attention_model() -> onnx.ModelProto:
    """EMO's: normalised values are reshaped and, transposed, go through a convolution."""
    generator = np.random.Generator(np.random.PCG64(0))
    stored = {
        "scale": np.ones(CHANNELS, np.float32),
        "weight": generator.standard_normal((CHANNELS, CHANNELS, 1, 1)).astype(np.float32),
        "rows": np.array([TOKENS, CHANNELS]),
    }
    nodes = [
        helper.make_node("LayerNormalization", ["image", "scale"], ["norm"], axis=-1),
        helper.make_node("Transpose", ["norm"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["norm", "rows"], ["view"], allowzero=1),
        helper.make_node("Conv", ["channels_first", "weight"], ["convolved"], kernel_shape=[1, 1]),
    ]
    image, values = [1, SIDE, SIDE, CHANNELS], TensorProto.FLOAT
    outputs = {"view": [TOKENS, CHANNELS], "convolved": [1, CHANNELS, SIDE, SIDE]}
    graph = helper.make_graph(
        nodes,
        "views",
        [helper.make_tensor_value_info("image", values, image)],
        [helper.make_tensor_value_info(name, values, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def expected(model: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    """By NumPy in float64 (ONNX operators LayerNormalization, Reshape, Transpose, Conv)."""
    weight = numpy_helper.to_array(model.graph.initializer[1]).astype(np.float64)[:, :, 0, 0]
    x = image.astype(np.float64)
    centred = x - x.mean(-1, keepdims=True)
    norm = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return [norm.reshape(TOKENS, -1), np.einsum("nhwc,oc->nohw", norm, weight)]


def error(results: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    pairs = zip(results, wanted, strict=True)
    return float(max(np.abs(got - want).max() / np.abs(want).max() for got, want in pairs))


def sample_image() -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(1))
    return generator.standard_normal((1, SIDE, SIDE, CHANNELS)).astype(np.float32)


def openvino_results(model: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    openvino = pytest.importorskip("openvino")
    network = openvino.Core().read_model(model.SerializeToString())
    compiled = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled([image])
    return [results[index] for index in range(len(model.graph.output))]


def test_the_convolution_reads_what_is_shaped_back() -> None:
    model = attention_model()
    assert separate_views(model) == 1
    onnx.checker.check_model(model, full_check=True)
    made = {node.output[0]: node for node in model.graph.node}
    back = made[made["channels_first"].input[0]]
    assert back.op_type == "Reshape"
    assert list(made) == ["norm", "view", back.output[0], "channels_first", "convolved"]
    assert [made[name].input[0] for name in (back.output[0], "view")] == ["view", "norm"]


@pytest.mark.parametrize("gone", ["view", "convolved"])
def test_a_value_that_goes_one_way_stays(gone: str) -> None:
    model = attention_model()
    for items in (model.graph.node, model.graph.output):
        kept = [i for i in items if gone not in (getattr(i, "name", ""), *getattr(i, "output", ()))]
        del items[:]
        items.extend(kept)
    before = model.SerializeToString()
    assert separate_views(model) == 0
    assert model.SerializeToString() == before


def test_onnxruntime_computes_the_same() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, image = attention_model(), sample_image()
    separate_views(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert error(session.run(None, {"image": image}), expected(model, image)) < 1e-5


def test_openvino_computes_separate_views_right() -> None:
    model, image = attention_model(), sample_image()
    separate_views(model)
    assert error(openvino_results(model, image), expected(model, image)) < 1e-5

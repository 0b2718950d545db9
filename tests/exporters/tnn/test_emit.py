"""Layer graphs written as TNN files, read back by the evaluator, compared in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobile_export.errors import ExportError
from mobile_export.exporters.tnn.emit import RULES
from mobile_export.exporters.tnn.evaluator import TnnNetwork, load_network
from mobile_export.exporters.tnn.files import TnnLayer, TnnModel, Weight
from mobile_export.exporters.tnn.writer import emit_model
from mobile_export.lowering import ir
from mobile_export.lowering.lower import lower
from mobile_export.lowering.reference import run_graph
from tests.exporters.tnn.cases import CASES, graph_of, inputs_of
from tests.lowering.core_set import ENDS, compared
from tests.lowering.graphs import Calls, prepared

TWO_INPUTS = [name for name, (_, shapes, _, _) in CASES.items() if len(shapes) == 2]
X = ir.Value("image", (6, 9, 10))


def written(graph: ir.LayerGraph, folder: Path, *, half: bool = False) -> TnnNetwork:
    path = folder / "net.tnnproto"
    emit_model(graph).write(path, folder / "net.tnnmodel", half=half)
    return load_network(path)


def relative_error(
    graph: ir.LayerGraph, network: TnnNetwork, images: list[np.ndarray]
) -> dict[str, float]:
    """Largest difference to the float64 reference of each output, over its largest number."""
    feeds = [image.reshape(value.shape) for image, value in zip(images, graph.inputs, strict=True)]
    expected = run_graph(graph, *feeds)
    results = network.run({v.name: f[None] for v, f in zip(graph.inputs, feeds, strict=True)})
    errors = {}
    for name, reference in zip(graph.output_names, expected, strict=True):
        assert results[name].shape == reference.shape
        errors[name] = float(np.abs(results[name] - reference).max() / np.abs(reference).max())
    return errors


@pytest.mark.parametrize("name", CASES)
def test_written_and_read_back(name: str, tmp_path: Path) -> None:
    graph = graph_of(name)
    network = written(graph, tmp_path)
    assert relative_error(graph, network, inputs_of(name))["out"] < 1e-5


@pytest.mark.parametrize("constant", [0, 1])
@pytest.mark.parametrize("name", TWO_INPUTS)
def test_constant_operands(name: str, constant: int, tmp_path: Path) -> None:
    graph = graph_of(name, constant=constant)
    images = [array for index, array in enumerate(inputs_of(name)) if index != constant]
    assert relative_error(graph, written(graph, tmp_path), images)["out"] < 1e-5


def test_every_layer_has_a_rule_and_a_case() -> None:
    assert set(ir.LAYERS) - {ir.Constant, ir.Round} == set(RULES)  # no integers in TNN
    assert set(RULES) == {kind for kind, _, _, _ in CASES.values()}


@pytest.mark.parametrize("name", ["conv_3x3", "conv_transpose_4x4", "linear_vector", "linear_rows"])
def test_half_precision_rounds_weights_once(name: str, tmp_path: Path) -> None:
    graph = graph_of(name)
    network = written(graph, tmp_path, half=True)
    assert network.precision == "fp16"
    (layer,) = [layer for layer in graph.layers if hasattr(layer, "weight")]
    layer.weight[:] = layer.weight.astype(np.float16)
    assert relative_error(graph, network, inputs_of(name))["out"] < 1e-6


def test_rows_are_not_made_an_image_each() -> None:
    """TNN f0cb0812, net_optimizer_convert_matmul_to_conv.cc: on ARM, a MatMul and an Add whose
    array has one axis become reshape, permute, 1x1 convolution of {0, -1, K, 1}, permute and
    reshape, an image for every row; other numbers of axes stay what they are."""
    layers = {layer.type: layer for layer in emit_model(graph_of("linear_rows")).layers}
    assert layers["Add"].inputs == layers["MatMul"].outputs
    (bias,) = layers["Add"].fields
    assert isinstance(bias, Weight)
    assert bias.dims == (1, bias.value.size)


def activation(name: ir.NonlinearityName, source: ir.Value, target: str) -> ir.Activation:
    value = ir.Value(target, source.shape)
    return ir.Activation(inputs=(source,), output=value, function=ir.Nonlinearity(name))


def product(a: ir.Value, b: ir.Value, target: str) -> ir.Binary:
    return ir.Binary(inputs=(a, b), output=ir.Value(target, a.shape), op="mul")


def convolution(target: str) -> ir.Convolution:
    kind, _, shape, attributes = CASES["conv_3x3"]
    attributes = {**attributes, "weight": np.ones((6, 6, 3, 3)) / 20, "bias": None}
    assert kind is ir.Convolution
    return ir.Convolution(inputs=(X,), output=ir.Value(target, (6, *shape[1:])), **attributes)


def graph_with(*layers: ir.Layer, outputs: tuple[ir.Value, ...]) -> ir.LayerGraph:
    names = tuple(f"out{index}" for index in range(len(outputs)))
    shapes = tuple((1, *value.shape) for value in outputs)
    return ir.LayerGraph((X,), outputs, layers, names, shapes)


def silu() -> ir.LayerGraph:
    conv = convolution("conv")
    last = activation("silu", conv.output, "silu")
    return graph_with(conv, last, outputs=(last.output,))


def silu_in_two() -> ir.LayerGraph:
    conv = convolution("conv")
    gate = activation("sigmoid", conv.output, "gate")
    last = product(conv.output, gate.output, "silu")
    return graph_with(conv, gate, last, outputs=(last.output,))


@pytest.mark.parametrize("make", [silu, silu_in_two])
def test_silu_behind_a_convolution_is_left_alone(
    make: Callable[[], ir.LayerGraph], tmp_path: Path
) -> None:
    """TNN merges [Convolution, Swish] and [Convolution, Sigmoid, Mul(convolution, sigmoid)].

    On x86, after another device was used, the activation is lost that way (``model_check`` of a
    file that holds either fails); see ``net_optimizer_fuse_conv_post.cc``.
    """
    graph = make()
    network = written(graph, tmp_path)
    conv, gate, mul, _ = network.proto.layers
    assert [conv.type, gate.type, mul.type] == ["Convolution", "Sigmoid", "Mul"]
    assert mul.inputs == (gate.outputs[0], conv.outputs[0])
    assert relative_error(graph, network, [inputs_of("conv_3x3")[0]])["out0"] < 1e-5


def test_outputs_have_layers_of_their_own(tmp_path: Path) -> None:
    """TNN drops the output of a convolution that it merges with the activation behind it."""
    conv = convolution("conv")
    relu = activation("relu", conv.output, "relu")
    graph = graph_with(conv, relu, outputs=(conv.output, relu.output, X, relu.output))
    network = written(graph, tmp_path)
    makers = {name: layer.type for layer in network.proto.layers for name in layer.outputs}
    assert [makers[name] for name in network.outputs] == ["Reshape"] * 4
    errors = relative_error(graph, network, [inputs_of("conv_3x3")[0]])
    assert max(errors.values()) < 1e-5


def test_names(tmp_path: Path) -> None:
    """Quotes, commas, colons and blanks separate words in the text; names collide."""
    values = [ir.Value(name, X.shape) for name in ("out", "a,b", "a b", 'a"b', "out_1")]
    layers = [
        ir.Activation(inputs=(source,), output=target, function=ir.Nonlinearity("relu"))
        for source, target in zip([X, *values], values, strict=False)
    ]
    graph = ir.LayerGraph((X,), (values[-1],), tuple(layers), ("out",), ((1, *X.shape),))
    network = written(graph, tmp_path)
    assert network.outputs == ("out",)
    assert relative_error(graph, network, [inputs_of("conv_3x3")[0]])["out"] < 1e-6


def test_what_does_not_depend_on_the_image_is_computed(tmp_path: Path) -> None:
    """Mobile-Former's tokens: TNN's x86 device fails at a layer whose inputs are all constant."""
    stored = ir.Constant(inputs=(), output=ir.Value("tokens", X.shape), value=np.full(X.shape, 2.0))
    gate = activation("sigmoid", stored.output, "gate")
    last = product(X, gate.output, "last")
    graph = graph_with(stored, gate, last, outputs=(last.output,))
    network = written(graph, tmp_path)
    assert [layer.type for layer in network.proto.layers] == ["Mul", "Reshape"]
    assert relative_error(graph, network, [inputs_of("conv_3x3")[0]])["out0"] < 1e-6


def test_a_constant_output(tmp_path: Path) -> None:
    """TNN has to compute an output: the number is added to 0 times a pixel."""
    number = np.arange(12.0).reshape(3, 4)
    stored = ir.Constant(inputs=(), output=ir.Value("tokens", (3, 4)), value=number)
    graph = graph_with(stored, outputs=(stored.output,))
    image = np.random.default_rng(0).standard_normal(X.shape)
    assert relative_error(graph, written(graph, tmp_path), [image])["out0"] == 0


def test_comparisons_are_exact_at_infinities(tmp_path: Path) -> None:
    graph = lower(prepared(Calls(lambda x: compared(x[:, :1], x[:, 1:])), tuple(ENDS.shape)))
    graph = replace(graph, output_names=("out",))
    network = written(graph, tmp_path)
    (got,) = network.run({graph.inputs[0].name: ENDS.numpy()}).values()
    assert np.array_equal(got, compared(ENDS[:, :1], ENDS[:, 1:]).numpy())


@pytest.mark.parametrize("op", ["step", "round", "trunc"])
def test_functions_that_jump_are_exact(op: ir.UnaryOp, tmp_path: Path) -> None:
    """At halves, at 0, next to them, and far away."""
    edges = np.arange(-4.0, 4.5, 0.5)
    near = [np.nextafter(edges.astype(np.float32), np.float32(end)) for end in (-9, 9)]
    numbers = np.concatenate([edges, *near, [8388607.5, -8388607.5, 1e9, -1e9, 1e-20]])
    value = ir.Value("x", (numbers.size,))
    layer = ir.Unary(inputs=(value,), output=ir.Value("y", value.shape), op=op)
    graph = ir.LayerGraph((value,), (layer.output,), (layer,), ("out",), ((1, numbers.size),))
    network = written(graph, tmp_path)
    got = network.run({"x": numbers[None].astype(np.float32)})["out"]
    exact = {"step": lambda x: x > 0, "round": np.rint, "trunc": np.trunc}[op]
    assert np.array_equal(got[0], exact(numbers.astype(np.float32)).astype(np.float32))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_concatenation_of_more_blobs_than_a_line_names(axis: int, tmp_path: Path) -> None:
    """As of the steps of a recurrence that a module writes out; TNN cuts a line of 4096."""
    names = [f"a_name_of_one_step_of_many_{index}" for index in range(150)]
    scaled = tuple(
        ir.Binary(inputs=(X,), output=ir.Value(name, X.shape), op="mul", scalar=float(index))
        for index, name in enumerate(names)
    )
    shape = tuple(150 * n if i == axis else n for i, n in enumerate(X.shape))
    joined = ir.Concat(
        inputs=tuple(layer.output for layer in scaled), output=ir.Value("y", shape), axis=axis
    )
    graph = ir.LayerGraph((X,), (joined.output,), (*scaled, joined), ("out",), ((1, *shape),))
    network = written(graph, tmp_path)
    image = np.random.default_rng(0).standard_normal(X.shape).astype(np.float32)
    expected = np.concatenate([image * index for index in range(150)], axis)
    assert np.array_equal(network.run({"image": image[None]})["out"][0], expected)
    lines = (tmp_path / "net.tnnproto").read_text().splitlines()
    assert max(len(line) for line in lines[4:]) < 4095 < sum(map(len, names))


def test_a_line_longer_than_tnn_reads() -> None:
    names = tuple(f"a_rather_long_name_{index}" for index in range(250))
    model = TnnModel({"x": (1, 1)}, ("y",), (TnnLayer("Concat", "y", names, ("y",), (1,)),))
    with pytest.raises(ExportError, match="TNN reads 4095"):
        model.text()


def test_an_array_larger_than_tnn_counts() -> None:
    huge = Weight(np.broadcast_to(np.float32(0), (2**29,)))
    with pytest.raises(ExportError, match="31-bit"):
        huge.stored(half=False)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("binary_rpow_1.7", {"scalar": -1.0}, "powers of -1.0"),
        ("pool_avg_padded", {"padding": ((1, 0), (0, 1)), "kernel": (2, 2)}, "leave the padding"),
    ],
)
def test_refusals(name: str, change: dict[str, object], message: str) -> None:
    kind, shapes, out_shape, attributes = CASES[name]
    operands = tuple(ir.Value(f"x{index}", shape) for index, shape in enumerate(shapes))
    output = ir.Value("y", out_shape, node="some_op", module="blocks.3")
    layer = kind(inputs=operands, output=output, **{**attributes, **change})
    graph = ir.LayerGraph(operands, (output,), (layer,), ("out",), ((1, *out_shape),))
    with pytest.raises(ExportError, match=message) as caught:
        emit_model(graph)
    assert "some_op" in caught.value.message
    assert "blocks.3" in caught.value.message
    assert caught.value.hint

"""Files of integers: written, executed, and judged twice; damaged files are not faithful."""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

import mobile_export
from mobile_export.artifacts.names import plan_path
from mobile_export.errors import ArtifactError, UsageError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.coreml.options import CoreMLOptions
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.pipeline import ExportReport, export_program
from mobile_export.quantization.options import QuantizationOptions
from mobile_export.quantization.plan import read_plan
from tests.conftest import need, sampled
from tests.test_pipeline import make_source

from .nets import net, padded

OPTIONS = QuantizationOptions(calibration="synthetic", calibration_samples=3)
NAMES = [row.name for row in FORMATS if any(each.name == "int8" for each in row.precisions)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("integers")


@pytest.fixture(scope="module", params=NAMES)
def report(request: pytest.FixtureRequest, folder: Path) -> ExportReport:
    need(request.param)
    options = replace(OPTIONS, plan=folder / "plan.json")
    config = ExportConfig(out_dir=folder, precision="int8", quantization=options, force=True)
    source = make_source(net(), size=32)
    return export_program(lambda: source, "net", [get_format(request.param)], config)


def test_a_file_is_faithful_and_good(report: ExportReport, folder: Path) -> None:
    (artifact,) = report.artifacts
    assert artifact.parity.passed
    assert artifact.parity.precision == "int8"
    notes = " ".join(artifact.parity.notes)
    assert "not for shipping" in notes
    assert "faithful to the plan: yes" in notes
    assert "nobody can tell by synthetic images: logits: best class kept" in notes
    assert artifact.parity.useful is None
    assert artifact.parity.faithful
    plan = read_plan(folder / "plan.json")  # all formats have taken the same
    assert plan.precision == "int8"
    assert len(plan.chosen.samples) == 3
    facts = mobile_export.inspect(str(artifact.path))
    assert facts["precision"] == "int8"


@pytest.mark.parametrize("name", NAMES)
def test_dead_channels_and_padding_on_one_side(name: str, tmp_path: Path) -> None:
    """As in EfficientNet-Lite0: the proof of what a converter is given holds, and its integers."""
    need(name)
    config = ExportConfig(out_dir=tmp_path, precision="int8", quantization=OPTIONS)
    source = make_source(padded(), size=32)
    (artifact,) = export_program(lambda: source, "padded", [get_format(name)], config).artifacts
    notes = " ".join(artifact.parity.notes)
    assert "faithful to the plan: yes, its stored integers are equal" in notes
    assert artifact.parity.passed


FILES = {
    "onnx": "net.onnx",
    "tflite": "net.tflite",
    "coreml": "net.mlpackage",
    "ncnn": "net.ncnn.param",
    "tnn": "net.tnnproto",
}
STEMS = {"ncnn": "net.ncnn", "tnn": "net.tnn"}
"""What the names of both files begin with."""
LEAST = {"ncnn": 5, "tnn": 9}
"""Rounded tensors of `net`, where they are fewer than 11: what each of ncnn's five layers reads; in
TNN what they give, too, which one of them reads."""


def integers_of(model: Any, name: str) -> Any:
    """The ONNX initializer ``name``, an array that can be changed."""
    from onnx.numpy_helper import to_array

    return to_array(next(t for t in model.graph.initializer if t.name == name)).copy()


def store(model: Any, name: str, value: np.ndarray) -> None:
    from onnx.numpy_helper import from_array

    stored = next(t for t in model.graph.initializer if t.name == name)
    stored.CopyFrom(from_array(np.ascontiguousarray(value), name))


def onnx_weight(model: Any) -> Any:
    """The node that widens the weights of the largest layer."""
    sizes = {t.name: (t.data_type == 3) * np.prod(t.dims) for t in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type == "DequantizeLinear"]
    return max(nodes, key=lambda node: sizes.get(node.input[0], 0))


def onnx_activation(model: Any) -> list[Any]:
    """The nodes that round and widen one computed tensor."""
    (first, *_) = (n for n in model.graph.node if n.op_type == "QuantizeLinear")
    second = next(n for n in model.graph.node if first.output[0] in n.input)
    return [first, second]


def onnx_scaled_weight(model: Any) -> None:
    name = onnx_weight(model).input[0]
    store(model, name, integers_of(model, name) // 2)


def onnx_scale(model: Any) -> None:
    name = onnx_weight(model).input[1]
    store(model, name, integers_of(model, name) * np.float32(1.01))


def onnx_zero(model: Any) -> None:
    from onnx.numpy_helper import from_array

    for node in onnx_activation(model):
        value = integers_of(model, node.input[2]) + 1
        model.graph.initializer.append(from_array(value.astype(np.uint8), node.name + "_zero"))
        node.input[2] = node.name + "_zero"


def onnx_activation_scale(model: Any) -> None:
    from onnx.numpy_helper import from_array

    for node in onnx_activation(model):
        value = integers_of(model, node.input[1]) * np.float32(1.01)
        model.graph.initializer.append(from_array(value, node.name + "_scale"))
        node.input[1] = node.name + "_scale"


def onnx_bias(model: Any) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Conv" and len(n.input) == 3)
    del node.input[2]


def onnx_channels(model: Any) -> None:
    """The input channels of a layer's weights, the other way round: the same integers."""
    name = next(t.name for t in model.graph.initializer if list(t.dims) == [8, 16, 1, 1])
    store(model, name, integers_of(model, name)[:, ::-1])


def onnx_pad(model: Any) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "pads" and list(attribute.ints) == [1, 1, 1, 1]:
                attribute.ints[:] = [0, 0, 2, 2]
                return


def convolutions(model: Any) -> Iterator[tuple[Any, Any]]:
    """Convolutions of a TFLite file, each with the tensor of its weights."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode in (3, 4):
            yield operator, graph.tensors[operator.inputs[1]]


def tflite_scaled_weight(model: Any) -> None:
    _, weight = next(convolutions(model))
    buffer = model.buffers[weight.buffer]
    buffer.data = (np.asarray(buffer.data).view(np.int8) // 2).view(np.uint8)


def tflite_scale(model: Any) -> None:
    _, weight = next(convolutions(model))
    weight.quantization.scale = np.asarray(weight.quantization.scale) * np.float32(1.01)


def tflite_activation(model: Any) -> Any:
    operator, _ = next(convolutions(model))
    return model.subgraphs[0].tensors[operator.outputs[0]].quantization


def tflite_zero(model: Any) -> None:
    found = tflite_activation(model)
    found.zeroPoint = np.asarray(found.zeroPoint) + 1


def tflite_activation_scale(model: Any) -> None:
    found = tflite_activation(model)
    found.scale = np.asarray(found.scale) * np.float32(1.01)


def tflite_bias(model: Any) -> None:
    """LiteRT refuses a convolution without one: zeros in its place."""
    operator, _ = next(convolutions(model))
    tensor = model.subgraphs[0].tensors[operator.inputs[2]]
    model.buffers[tensor.buffer].data = np.zeros_like(model.buffers[tensor.buffer].data)


def tflite_channels(model: Any) -> None:
    """As `onnx_channels`; weights of a TFLite file have the input channels last."""
    for _, weight in convolutions(model):
        if list(weight.shape) == [8, 1, 1, 16]:
            buffer = model.buffers[weight.buffer]
            buffer.data = np.asarray(buffer.data).reshape(8, 16)[:, ::-1].reshape(-1).copy()
            return


def tflite_pad(model: Any) -> None:
    """The convolution with stride 2 takes SAME for what was padded on both sides."""
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code in (34, 60):  # PAD, PADV2
            tensor = model.subgraphs[0].tensors[operator.inputs[1]]
            buffer = model.buffers[tensor.buffer]
            pads = np.asarray(buffer.data).view(np.int32).reshape(-1, 2).copy()
            pads[1:3] = pads[1:3].sum(1, keepdims=True) * np.array([[0, 1]])
            buffer.data = pads.reshape(-1).view(np.uint8)
            return
    raise AssertionError("no padding")


class MilFile:
    """The operations of a package, and the bytes of its stored tensors, which can be changed.

    A blob is a header of 64 bytes (a mark, a type, the size and the place of the data; MIL's
    StorageFormat.hpp) and the data.
    """

    def __init__(self, package: Path) -> None:
        from coremltools.proto import Model_pb2

        folder = package / "Data" / "com.apple.CoreML"
        self.path, self.blobs = folder / "model.mlmodel", folder / "weights" / "weight.bin"
        self.spec = Model_pb2.Model()
        self.spec.ParseFromString(self.path.read_bytes())
        (block,) = self.spec.mlProgram.functions["main"].block_specializations.values()
        self.operations = block.operations
        self.data = bytearray(self.blobs.read_bytes())

    def save(self) -> None:
        self.path.write_bytes(self.spec.SerializeToString())
        self.blobs.write_bytes(self.data)

    def of(self, *types: str) -> list[Any]:
        return [each for each in self.operations if each.type in types]

    def constant(self, operation: Any, name: str) -> Any:
        """The value that an operation is given by a constant, or has itself."""
        if name in operation.attributes:
            return operation.attributes[name]
        wanted = operation.inputs[name].arguments[0]
        if wanted.WhichOneof("binding") == "value":
            return wanted.value
        made = next(each for each in self.operations if each.outputs[0].name == wanted.name)
        return made.attributes["val"]

    def array(self, value: Any, dtype: Any) -> np.ndarray:
        """What a value of a blob holds; what is written into it is saved."""
        at = value.blobFileValue.offset
        size, place = np.frombuffer(self.data, np.uint64, 2, at + 8).tolist()
        return np.frombuffer(self.data, dtype, size // np.dtype(dtype).itemsize, place)


def largest_weight(model: MilFile) -> tuple[Any, np.ndarray]:
    """The operation that widens the weights of the largest layer, and its integers."""
    found = [
        (each, model.array(model.constant(each, "quantized_data"), np.int8))
        for each in model.of("constexpr_affine_dequantize")
        if model.constant(each, "quantized_data").HasField("blobFileValue")
    ]
    return max(found, key=lambda pair: pair[1].size)


def coreml_scaled_weight(model: MilFile) -> None:
    integers = largest_weight(model)[1]
    integers[:] = integers // 2


def floats_of(value: Any) -> Any:
    return value.immediateValue.tensor.floats.values


def coreml_scale(model: MilFile) -> None:
    scales = floats_of(model.constant(largest_weight(model)[0], "scale"))
    scales[:] = [each * 1.01 for each in scales]


def coreml_rounding(model: MilFile, name: str) -> list[Any]:
    """A constant of the operations that round and widen one computed tensor."""
    first = next(each for each in model.of("quantize") if "zero_point" in each.inputs)
    second = next(
        each
        for each in model.of("dequantize")
        if each.inputs["input"].arguments[0].name == first.outputs[0].name
    )
    values = [model.constant(each, name) for each in (first, second)]
    return values[:1] if values[0] is values[1] else values


def coreml_zero(model: MilFile) -> None:
    for value in coreml_rounding(model, "zero_point"):
        tensor = value.immediateValue.tensor.bytes
        tensor.values = bytes([(tensor.values[0] + 1) % 256])


def coreml_activation_scale(model: MilFile) -> None:
    for value in coreml_rounding(model, "scale"):
        floats_of(value)[0] *= 1.01


def coreml_bias(model: MilFile) -> None:
    """Zeros in its place."""
    biases = floats_of(model.constant(model.of("conv")[0], "bias"))
    biases[:] = [0.0] * len(biases)


def coreml_channels(model: MilFile) -> None:
    """As `onnx_channels`."""
    for each in model.of("constexpr_affine_dequantize"):
        (output,) = each.outputs
        dims = [d.constant.size for d in output.type.tensorType.dimensions]
        if dims == [8, 16, 1, 1]:
            integers = model.array(model.constant(each, "quantized_data"), np.int8).reshape(8, 16)
            integers[:] = integers[:, ::-1].copy()
            return
    raise AssertionError("no such layer")


def coreml_pad(model: MilFile) -> None:
    value = model.constant(model.of("conv")[0], "pad").immediateValue.tensor.ints.values
    assert list(value) == [1, 1, 1, 1]
    value[:] = [0, 2, 0, 2]


class NcnnFile:
    """The lines of a ``.param`` file, and views of what the ``.bin`` holds for layers of int8.

    As ncnn's ``load_model`` reads it: a mark, int8 padded to four bytes, float32 for the rest.
    """

    MARK = 0x000D4B38

    def __init__(self, param: Path) -> None:
        self.param, self.bin = param, param.with_suffix(".bin")
        self.lines = [line.split() for line in param.read_text().splitlines()]
        self.data = bytearray(self.bin.read_bytes())
        self.arrays: dict[str, list[np.ndarray]] = {}
        at = 0
        for kind, name, inputs, outputs, *words in self.lines[2:]:
            params = dict(w.split("=") for w in words[int(inputs) + int(outputs) :])
            if kind == "MemoryData":
                at += 4 + 4 * int(params["0"]) * int(params["1"]) * int(params["2"])
            if "8" not in params or kind == "Input":
                continue
            size, count = params["2" if kind == "InnerProduct" else "6"], int(params["0"])
            assert int.from_bytes(self.data[at : at + 4], "little") == self.MARK
            found = [np.frombuffer(self.data, np.int8, int(size), at + 4)]
            at += 4 + int(size) + -int(size) % 4
            bias = int(params["1" if kind == "InnerProduct" else "5"])
            for length in [*[count] * (1 + bias), *[1] * (1 + (int(params["8"]) > 100))]:
                found.append(np.frombuffer(self.data, np.float32, length, at))
                at += 4 * length
            self.arrays[name] = found
        assert at == len(self.data)

    def save(self) -> None:
        self.param.write_text("\n".join(" ".join(line) for line in self.lines) + "\n")
        self.bin.write_bytes(self.data)


def ncnn_scaled_weight(model: NcnnFile) -> None:
    model.arrays["narrow/conv2d_3"][0][:] //= 2


def ncnn_scale(model: NcnnFile) -> None:
    model.arrays["narrow/conv2d_3"][1][:] *= np.float32(1.01)


def ncnn_activation_scale(model: NcnnFile) -> None:
    model.arrays["narrow/conv2d_3"][-1][:] *= np.float32(1.01)


def ncnn_bias(model: NcnnFile) -> None:
    model.arrays["depth/conv2d_1"][1][:] = 0


def ncnn_channels(model: NcnnFile) -> None:
    integers = model.arrays["narrow/conv2d_3"][0].reshape(8, 16)
    integers[:] = integers[:, ::-1].copy()


def ncnn_pad(model: NcnnFile) -> None:
    line = model.lines[3]
    assert {"4=1", "14=1", "15=1", "16=1"} <= set(line)
    moved = {"4=1": "4=0", "14=1": "14=0", "15=1": "15=2", "16=1": "16=2"}
    line[:] = [moved.get(word, word) for word in line]


class TnnFile:
    """The lines of a ``.tnnproto`` file, and views of what the ``.tnnmodel`` holds of integers.

    As TNN's ``ConvLayerInterpreter`` and ``BlobScaleLayerInterpreter`` read them: arrays with a
    magic number, a type, a length in bytes, and dimensions.
    """

    MAGIC = struct.pack("<I", 0xFABC0004)

    def __init__(self, proto: Path) -> None:
        self.proto, self.model = proto, proto.with_suffix(".tnnmodel")
        self.lines = proto.read_text().splitlines()
        self.data = bytearray(self.model.read_bytes())
        self.arrays: dict[str, list[np.ndarray]] = {}
        for kind, count in (("QuantizedConvolution", 3), ("BlobScale", 2)):
            word = struct.pack("<I", len(kind)) + kind.encode()
            at = self.data.find(word)
            while at >= 0:
                at += len(word)
                size = int.from_bytes(self.data[at : at + 4], "little")
                name = self.data[at + 4 : at + 4 + size].decode()
                self.arrays[name] = self._some(at, count)
                at = self.data.find(word, at)

    def _some(self, at: int, count: int) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        while len(found) < count:
            at = self.data.index(self.MAGIC, at)
            _, kind, size, rank = struct.unpack_from("<4I", self.data, at)
            dtype = np.dtype({0: "<f4", 2: "i1", 3: "<i4"}[kind])
            at += 16 + 4 * rank
            found.append(np.frombuffer(self.data, dtype, size // dtype.itemsize, at))
            at += size
            if found[0].dtype == np.int8 and found[-1].dtype == np.float32:
                break  # the scale is the last one; a layer without a bias has two
        return found

    def save(self) -> None:
        self.proto.write_text("\n".join(self.lines) + "\n")
        self.model.write_bytes(self.data)


def tnn_scaled_weight(model: TnnFile) -> None:
    model.arrays["conv2d_3"][0][:] //= 2


def tnn_scale(model: TnnFile) -> None:
    model.arrays["conv2d_3"][-1][:] *= np.float32(1.01)


def tnn_activation_scale(model: TnnFile) -> None:
    model.arrays["conv2d_3_scale_data_"][0][:] *= np.float32(1.01)


def tnn_bias(model: TnnFile) -> None:
    model.arrays["conv2d_1"][1][:] = 0


def tnn_channels(model: TnnFile) -> None:
    integers = model.arrays["conv2d_3"][0].reshape(8, 16)
    integers[:] = integers[:, ::-1].copy()


def tnn_pad(model: TnnFile) -> None:
    """TensorFlow's SAME, which for this image begins a column later."""
    (at,) = (
        i for i, line in enumerate(model.lines) if line.startswith('"QuantizedConvolution relu ')
    )
    assert " 3 3 2 2 1 1 1 -1 1 1 " in model.lines[at]
    model.lines[at] = model.lines[at].replace(" 2 2 1 1 1 -1 ", " 2 2 0 0 1 0 ")


DAMAGES = {
    "scaled_weight": "stored integers are not those of the plan",
    "scale": "stored integers are not those of the plan",
    "zero": "not in the file with the scale of the plan",
    "activation_scale": "not in the file with the scale of the plan",
    "bias": "faithful to the plan: no",
    "channels": "steps off",
    "pad": "steps off",
}


def change(name: str, path: Path, damage: str) -> None:
    """Write a file again that is damaged."""
    edit = globals()[f"{name}_{damage}"]
    if name == "onnx":
        import onnx

        model = onnx.load(str(path))
        edit(model)
        onnx.save(model, str(path))
    elif name == "coreml":
        package = MilFile(path)
        edit(package)
        package.save()
    elif name in ("ncnn", "tnn"):
        files = NcnnFile(path) if name == "ncnn" else TnnFile(path)
        edit(files)
        files.save()
    else:
        from mobile_export.exporters.tflite.flatbuffer import pack, unpack

        model = unpack(path.read_bytes())
        edit(model)
        path.write_bytes(pack(model))


@pytest.fixture
def copied(report: ExportReport, folder: Path, tmp_path: Path) -> tuple[str, Path]:
    """A file with its manifest and its plan, in a folder of its own."""
    name = report.artifacts[0].format
    for each in folder.glob(f"{STEMS.get(name, FILES[name])}*"):
        if each.is_dir():
            shutil.copytree(each, tmp_path / each.name)
        else:
            shutil.copy(each, tmp_path)
    return name, tmp_path / FILES[name]


@pytest.mark.parametrize("damage", sampled([None, *DAMAGES], (None, "zero", "pad").__contains__))
def test_a_damaged_file_is_not_faithful(damage: str | None, copied: tuple[str, Path]) -> None:
    name, path = copied
    if name in ("ncnn", "tnn") and damage == "zero":
        pytest.skip("its integers have no zero point")
    if damage is not None:
        change(name, path, damage)
    found = mobile_export.verify(path, net(), size=32)
    assert found.parity.faithful == found.parity.passed == (damage is None)
    said = "faithful to the plan: yes" if damage is None else DAMAGES[damage]
    assert said in " ".join(found.parity.notes)
    assert bool(found.unlike) == (damage is not None)


def test_the_layer_that_is_wrong_is_named(copied: tuple[str, Path]) -> None:
    name, path = copied
    right = mobile_export.verify(path, net(), size=32, layers=True).layers
    assert right is not None
    assert right.good == right.tensors >= LEAST.get(name, 11)
    assert not right.errors
    change(name, path, "channels")
    layers = mobile_export.verify(path, net(), size=32, layers=True).layers
    assert layers is not None
    # ncnn's convolution gives float32: what it computes is rounded again in front of the head.
    assert layers.errors[0].module == ("norm" if name == "ncnn" else "narrow")
    assert "steps off" in str(layers.errors[0].counterpart)
    assert layers.good == layers.tensors - 1  # what follows is computed from the file's own


def test_verify_wants_the_plan_and_the_model_of_the_file(copied: tuple[str, Path]) -> None:
    _, path = copied
    other = net()
    with torch.no_grad():
        next(other.parameters())[0, 0, 0, 0] += 1e-3
    with pytest.raises(UsageError, match="the graph or the weights are not the same"):
        mobile_export.verify(path, other, size=32)
    plan_path(path).unlink()
    with pytest.raises(ArtifactError, match=r"plan that it was written by .* is not beside it"):
        mobile_export.verify(path, net(), size=32)


def test_verify_judges_by_your_pictures(copied: tuple[str, Path], tmp_path: Path) -> None:
    _, path = copied
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(3):
        values = np.random.default_rng(index).integers(0, 255, (32, 32, 3), np.uint8)
        np.save(pictures / f"{index}.npy", values)
    found = mobile_export.verify(path, net(), size=32, samples=pictures)
    assert "on 3 samples" in " ".join(found.parity.notes)


def test_every_tensor_of_the_plan_is_found(report: ExportReport) -> None:
    notes = " ".join(report.artifacts[0].parity.notes)
    found = re.search(r"all (\d+) computed tensors are within [01] steps, ([\d.]+)%", notes)
    assert found is not None
    assert int(found[1]) >= LEAST.get(report.artifacts[0].format, 11)
    assert float(found[2]) > 98


def test_a_gate_that_does_not_hold_fails(tmp_path: Path) -> None:
    """No file, no plan, no manifest is left, and the report says which verdict it was."""
    plan = tmp_path / "plan.json"
    strict = replace(OPTIONS, sqnr=90.0, plan=plan)
    (artifact,) = export(tmp_path, precision="int8", quantization=strict).artifacts
    notes = " ".join(artifact.parity.notes)
    assert artifact.parity.status == "failed"
    assert artifact.parity.faithful
    assert artifact.parity.useful is False
    assert "good for the model: no: logits: SQNR" in notes
    assert artifact.path is None
    assert not plan.exists()
    assert not list((tmp_path / "out").glob("net*"))


def test_a_plan_that_is_there_needs_no_calibration(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    first = export(tmp_path / "a", precision="int8", quantization=replace(OPTIONS, plan=plan))
    again = QuantizationOptions(plan=plan)
    second = export(tmp_path / "b", precision="int8", quantization=again)
    files = [str(each.artifacts[0].path) for each in (first, second)]
    assert Path(files[0]).read_bytes() == Path(files[1]).read_bytes()
    assert "not for shipping" in " ".join(second.artifacts[0].parity.notes)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_in_float32_between_integers(name: str, tmp_path: Path) -> None:
    """As mixed precision leaves it: written and faithful, and the layer's weights are float32."""
    need(name)
    source, formats = make_source(net(), size=32), [get_format(name)]
    options = replace(OPTIONS, plan=tmp_path / "plan.json")
    config = ExportConfig(out_dir=tmp_path, precision="int8", quantization=options)
    export_program(lambda: source, "whole", formats, config)
    whole = read_plan(tmp_path / "plan.json")
    left = next(iter(whole.by_name("weight")))
    kept = [e for e in whole.tensors if e.kind not in ("weight", "bias") or e.name != left]
    assert len(kept) == len(whole.tensors) - 2
    mixed = msgspec.structs.replace(whole, tensors=kept)
    (tmp_path / "plan.json").write_bytes(mixed.to_json())
    (artifact,) = export_program(lambda: source, "mixed", formats, config).artifacts
    assert artifact.parity.faithful, artifact.parity.notes
    assert artifact.parity.passed


def test_a_gate_that_cannot_hold_is_said(tmp_path: Path) -> None:
    """Layers in float32 would not help; `--explain` has the ranking."""
    loose, beyond = (
        export(
            tmp_path / str(ratio),
            precision="int8",
            quantization=replace(OPTIONS, sqnr=float(ratio)),
            keep_failed=True,
        )
        for ratio in (1, 900)
    )
    assert "left in float32" not in " ".join(loose.artifacts[0].parity.notes)
    (artifact,) = beyond.artifacts
    assert "nor with the weights of all layers in float32" in " ".join(artifact.parity.notes)
    assert not artifact.parity.passed
    (ranking,) = [each for each in beyond.passes if each.name == "plan of int8"]
    assert sum("alone, its integer weights make" in each.what for each in ranking.changes) == 5
    assert any("layer_norm" in each.reason for each in ranking.refusals)


def test_a_plan_that_could_not_be_written_is_refused_at_once(tmp_path: Path) -> None:
    lost = replace(OPTIONS, plan=tmp_path / "none" / "plan.json")
    with pytest.raises(UsageError, match="folder of `plan`"):
        export(tmp_path, precision="int8", quantization=lost)


def export(tmp_path: Path, **chosen: object) -> ExportReport:
    need("onnx")
    config = ExportConfig(out_dir=tmp_path / "out", **chosen)  # type: ignore[arg-type]
    return export_program(lambda: make_source(net(), size=32), "net", [get_format("onnx")], config)


def test_without_calibration_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs pictures") as raised:
        export(tmp_path, precision="int8")
    assert "calibration" in raised.value.hint
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_format_without_the_precision_says_so() -> None:
    with pytest.raises(UsageError, match="not written in int16") as raised:
        get_format("ncnn").precision("int16")
    assert "Valid for ncnn" in raised.value.hint


def test_core_ml_stores_integers_of_weights_alone(tmp_path: Path) -> None:
    """iOS 16 has them; iOS 15 has none, which is said before anything is written."""
    need("coreml")
    formats, source = [get_format("coreml")], make_source(net(), size=32)
    config = ExportConfig(out_dir=tmp_path / "out", precision="int8-weights", keep_failed=True)
    (artifact,) = export_program(lambda: source, "net", formats, config).artifacts
    assert artifact.parity.faithful
    assert artifact.parity.max_rel < 1e-5
    facts = mobile_export.inspect(str(artifact.path))
    assert (facts["precision"], facts["version"]) == ("int8-weights", "CoreML6")
    assert not {"quantize", "dequantize"} & set(facts["ops"])
    assert mobile_export.verify(artifact.path, net(), size=32).parity.faithful
    old = replace(config, options={"coreml": CoreMLOptions(target="ios15")})
    with pytest.raises(UsageError, match="no integers for iOS 15"):
        export_program(lambda: source, "old", formats, old)


@pytest.mark.parametrize(
    "wrong", [{"calibration_samples": 0}, {"agreement": 2.0}, {"calibrator": "x"}]
)
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        QuantizationOptions(**wrong)  # type: ignore[arg-type]

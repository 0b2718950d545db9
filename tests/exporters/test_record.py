"""What a manifest says of a file, compared with what the vendor's own reader finds in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.artifacts.interface import FileInput, FileOutput, Interface
from mobile_export.artifacts.manifest import Manifest, read_manifest
from mobile_export.artifacts.words import Meaning, Task
from mobile_export.detection.options import NmsOptions
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.coreml.options import CoreMLOptions
from mobile_export.exporters.record import preprocessing
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.exporters.tflite.options import TFLiteOptions
from mobile_export.graph.capture import trace
from mobile_export.graph.source import Source
from mobile_export.models.table import entries
from mobile_export.pipeline import ExportReport, export_program
from mobile_export.sources.labels import known_labels
from tests.conftest import TinyDetector, load_source, need, sampled

Exported = Callable[..., ExportReport]
Facts = list[tuple[str, list[int | None], str]]
"""Name, shape and dtype."""

LABELS = tuple(f"class {index}" for index in range(10))


def manifest_of(report: ExportReport) -> tuple[Path, Manifest, Interface]:
    (artifact,) = report.artifacts
    assert artifact.path is not None
    manifest = read_manifest(artifact.path)
    assert manifest.interface is not None
    return artifact.path, manifest, manifest.interface


def facts(tensors: tuple[FileInput, ...] | tuple[FileOutput, ...]) -> Facts:
    return [(each.name, list(each.shape), each.dtype) for each in tensors]


def onnx_says(path: Path) -> tuple[Facts, Facts]:
    import onnx

    graph = onnx.load(str(path)).graph

    def read(value: Any) -> tuple[str, list[int | None], str]:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        return value.name, [dim.dim_value for dim in tensor.shape.dim], dtype

    return [read(value) for value in graph.input], [read(value) for value in graph.output]


def tflite_says(path: Path) -> tuple[Facts, Facts]:
    """By the names of the signature, in the order of the interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    named = {d["name"]: name for name, d in runner.get_input_details().items()}
    named |= {d["name"]: name for name, d in runner.get_output_details().items()}

    def read(details: dict[str, Any]) -> tuple[str, list[int | None], str]:
        shape = [int(n) for n in details["shape"]]
        return named[details["name"]], list(shape), np.dtype(details["dtype"]).name

    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    return [read(each) for each in inputs], [read(each) for each in outputs]


def coreml_says(path: Path) -> tuple[Facts, Facts]:
    """From the specification; the shapes of outputs are not in it."""
    import coremltools as ct
    from coremltools.proto import FeatureTypes_pb2

    spec = ct.models.MLModel(str(path), skip_model_load=True).get_spec()
    kinds = FeatureTypes_pb2.ArrayFeatureType.ArrayDataType

    def read(feature: Any) -> tuple[str, list[int | None], str]:
        kind = feature.type.WhichOneof("Type")
        if kind == "imageType":
            image = feature.type.imageType
            return feature.name, [1, 3, image.height, image.width], "uint8"
        if kind == "multiArrayType":
            array = feature.type.multiArrayType
            return feature.name, list(array.shape), kinds.Name(array.dataType).lower()
        word = {"stringType": "str", "dictionaryType": "dict", "doubleType": "float64"}[kind]
        return feature.name, [], word

    inputs, outputs = spec.description.input, spec.description.output
    return [read(each) for each in inputs], [read(each) for each in outputs]


def ncnn_says(path: Path) -> tuple[Facts, Facts]:
    """Inputs from the text, outputs as ncnn gives them for zeros."""
    import ncnn

    words = [line.split() for line in path.read_text().splitlines()]
    lines = [line for line in words if line[0] == "Input"]
    inputs: Facts = []
    for line in lines:
        sizes = dict(word.split("=") for word in line[5:])
        inputs.append((line[4], [int(sizes[key]) for key in ("2", "1", "0")], "float32"))
    net = ncnn.Net()
    assert net.load_param(str(path)) == 0
    assert net.load_model(str(path.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    for name, shape, _ in inputs:
        extractor.input(name, ncnn.Mat(np.zeros([n or 1 for n in shape], np.float32)).clone())
    outputs: Facts = []
    for name in net.output_names():
        status, found = extractor.extract(name)
        assert status == 0
        outputs.append((name, list(np.array(found).shape), "float32"))
    return inputs, outputs


def tnn_says(path: Path) -> tuple[Facts, Facts]:
    """From the head of the text, which has no shapes of outputs."""
    lines = path.read_text().splitlines()
    inputs: Facts = []
    for part in lines[1].strip('",').split(":"):
        name, rank, *numbers = part.split()
        inputs.append((name, [int(number) for number in numbers[: int(rank)]], "float32"))
    return inputs, [(name, [], "float32") for name in lines[3].strip('", ').split()]


SAYS = {
    "onnx": onnx_says,
    "tflite": tflite_says,
    "coreml": coreml_says,
    "ncnn": ncnn_says,
    "tnn": tnn_says,
}


def test_onnx(exported: Exported) -> None:
    path, manifest, interface = manifest_of(exported("onnx"))
    assert (facts(interface.inputs), facts(interface.outputs)) == onnx_says(path)
    (image,) = interface.inputs
    assert image.layout == "NCHW"
    assert image.normalization is not None
    assert not image.normalization.inside
    assert image.range == (0.0, 1.0)  # neither mean nor std is known of the module
    assert "-0.0" not in str(image.range)
    assert interface.outputs[0].layout == "NC"
    assert interface.outputs[0].source == manifest.outputs[0].name


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_tflite(exported: Exported, layout: str) -> None:
    path, _, interface = manifest_of(exported("tflite", tflite=TFLiteOptions(layout=layout)))
    assert (facts(interface.inputs), facts(interface.outputs)) == tflite_says(path)
    assert interface.inputs[0].layout == layout.upper()
    assert interface.inputs[0].tensor is not None


def test_ncnn(exported: Exported) -> None:
    path, _, interface = manifest_of(exported("ncnn"))
    assert (facts(interface.inputs), facts(interface.outputs)) == ncnn_says(path)
    assert interface.inputs[0].layout == "CHW"
    assert interface.outputs[0].layout == "C"


def test_tnn(exported: Exported) -> None:
    path, _, interface = manifest_of(exported("tnn"))
    inputs, outputs = tnn_says(path)
    assert facts(interface.inputs) == inputs
    assert interface.inputs[0].layout == "NCHW"
    assert [each.name for each in interface.outputs] == [name for name, _, _ in outputs]
    assert interface.outputs[0].shape[:2] == (1, 10)


@pytest.mark.parametrize("image_input", [False, True])
@pytest.mark.parametrize("classifier", [False, True])
def test_coreml(exported: Exported, image_input: bool, classifier: bool) -> None:
    options = CoreMLOptions(image_input=image_input, classifier=classifier)
    path, manifest, interface = manifest_of(exported("coreml", coreml=options, labels=LABELS))
    inputs, outputs = coreml_says(path)
    assert facts(interface.inputs) == inputs
    assert [(e.name, e.dtype) for e in interface.outputs] == [(n, d) for n, _, d in outputs]
    (image,) = interface.inputs
    assert image.normalization is not None
    assert (image.image, image.normalization.inside) == (image_input, image_input)
    assert image.range == ((0.0, 255.0) if image_input else (0.0, 1.0))
    meanings = {each.meaning: each for each in interface.outputs}
    if classifier:
        assert meanings["label name"].dtype == "str"
        assert meanings["probabilities"].dtype == "dict"
        assert meanings["probabilities"].source == manifest.outputs[0].name
    else:
        assert meanings["logits"].shape == (1, 10)
    assert manifest.task == "classification"
    assert manifest.labels == LABELS


@pytest.mark.parametrize(
    ("name", "reader"), [("onnx", onnx_says), ("tflite", tflite_says), ("coreml", coreml_says)]
)
def test_detections(tmp_path: Path, name: str, reader: Any) -> None:
    torch.manual_seed(0)
    options = NmsOptions(iou_threshold=0.4, score_threshold=0.1, max_detections=30)
    report = mobile_export.export(TinyDetector().eval(), name, tmp_path, size=64, nms=options)
    path, manifest, interface = manifest_of(report)
    inputs, outputs = reader(path)
    assert facts(interface.inputs) == inputs
    assert [(e.name, e.dtype) for e in interface.outputs] == [(n, d) for n, _, d in outputs]
    assert manifest.task == "detection"
    assert manifest.nms is not None
    assert [e.name for e in manifest.nms.outputs] == [e.name for e in interface.outputs]
    (boxes,) = [each for each in interface.outputs if each.meaning == "boxes"]
    assert boxes.box is not None
    assert boxes.box.unit == ("pixels" if name == "onnx" else "image")
    wanted = {
        "onnx": ("left", "top", "right", "bottom"),
        "tflite": ("top", "left", "bottom", "right"),
        "coreml": ("centre x", "centre y", "width", "height"),
    }
    assert boxes.box.order == wanted[name]
    optional = [each.name for each in interface.inputs if each.optional]
    assert optional == (["iouThreshold", "confidenceThreshold"] if name == "coreml" else [])


class _Head(nn.Module):
    """A convolution, and what a task makes of it."""

    def __init__(self, channels: int, last: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.conv(x))


_HEADS: dict[str, tuple[Task, Meaning, int, Callable[[torch.Tensor], torch.Tensor]]] = {
    "classes": ("classification", "logits", 10, lambda y: 30 * y[..., 0].mean(-1)),
    "masks": ("segmentation", "logits", 10, lambda y: y),
    "labels": ("segmentation", "labels", 10, lambda y: y.argmax(1)),
    "upscaled": ("super-resolution", "upscaled", 12, lambda y: nn.functional.pixel_shuffle(y, 2)),
    "depth": ("depth", "disparity", 1, lambda y: y.sigmoid()),
    "embedding": ("embedding", "embedding", 7, lambda y: y.mean((2, 3))),
}


def _source(kind: str) -> Source:
    """A small model of a task, whose classes have names where it has classes."""
    torch.manual_seed(0)
    if kind == "boxes":
        source = load_source(TinyDetector().eval(), size=64)
        return replace(source, task="detection", meanings={"boxes": "boxes", "scores": "scores"})
    task, meaning, channels, last = _HEADS[kind]
    source = load_source(_Head(channels, last).eval(), size=(16, 24))
    labels = LABELS if channels == 10 else None
    return replace(
        source, task=task, meanings={meaning: meaning}, output_names=(meaning,), labels=labels
    )


_PLAIN: dict[str, Any] = {}
_PIXELS: dict[str, Any] = {"image_input": True}
_BYTES: dict[str, Any] = {"image_input": True, "input_dtype": "uint8"}
_CLASSES: dict[str, Any] = {"classifier": True}
_SURE: dict[str, Any] = {"softmax": True}
_WAYS = {
    **{kind: [_PLAIN, _PIXELS, _BYTES] for kind in (*_HEADS, "boxes", "nms")},
    "classes": [
        *(_PLAIN, _PIXELS, _BYTES, _SURE, _CLASSES),
        *({**pixels, **head} for pixels in (_PIXELS, _BYTES) for head in (_SURE, _CLASSES)),
    ],
}
_CELLS = [
    (row.name, kind, options)
    for row in FORMATS
    for kind, ways in _WAYS.items()
    for options in ways
    if (row.suppresses or kind != "nms") and set(options) <= {f.name for f in fields(row.options)}
]


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    sampled(_CELLS, lambda cell: _CELLS.index(cell) % 5 == 0),
    ids=lambda value: "-".join(value) or "plain" if isinstance(value, dict) else value,
)
def test_every_kind_of_file_is_as_its_vendors_reader_finds_it(
    name: str, kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Names, shapes and dtypes, whether the input is pixels, and what the outputs mean."""
    need(name)
    row = get_format(name)
    source = _source("boxes" if kind == "nms" else kind)
    config = ExportConfig(
        out_dir=tmp_path,
        precision="fp32",
        options={name: row.options(**options)},
        nms=NmsOptions(score_threshold=0.1) if kind == "nms" else None,
    )
    report = export_program(lambda: source, "net", [row], config)
    path, manifest, interface = manifest_of(report)
    inputs, outputs = SAYS[name](path)
    assert facts(interface.inputs) == inputs
    given = facts(interface.outputs)
    assert [(n, d) for n, _, d in given] == [(n, d) for n, _, d in outputs]
    if name not in ("coreml", "tnn"):  # whose readers say nothing of the shapes of outputs
        assert given == outputs
    elif name == "coreml" and kind != "nms" and "classifier" not in options:
        assert given == _with_shapes(path, given)
    image = interface.inputs[0]
    assert image.normalization is not None
    assert image.normalization.inside == ("image_input" in options)
    assert image.range == (0.0, 255.0 if "image_input" in options else 1.0)
    meanings = {each.meaning for each in interface.outputs}
    if kind in ("boxes", "nms"):
        assert meanings >= {"boxes", "scores"}
        assert manifest.task == "detection"
        return
    task, meaning, _, _ = _HEADS[kind]
    added = {"classifier", "softmax"} & set(options)
    assert meanings - {"label name"} == {"probabilities" if added else meaning}
    assert ("label name" in meanings) == (name == "coreml" and "classifier" in options)
    assert manifest.task == task
    assert (manifest.labels == LABELS) == (kind in ("classes", "masks", "labels"))


def _with_shapes(path: Path, given: Facts) -> Facts:
    """With the shapes of outputs that coremltools reads in the program of a package."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(str(path), skip_model_load=True)
    spec = model.get_spec()
    program = load(spec, spec.specificationVersion, file_weights_dir=model.weights_dir)
    (function,) = program.functions.values()
    shapes = {each.name: list(each.shape) for each in function.outputs}
    return [(name, shapes[name], dtype) for name, _, dtype in given]


class _Softmax(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.last(self.layers(x))
        return y


@pytest.mark.parametrize(
    ("layers", "meaning"),
    [([nn.Softmax(1)], "probabilities"), ([], "logits"), ([nn.Sigmoid()], None)],
)
def test_a_users_classifier_is_known_by_its_class_names(
    layers: list[nn.Module], meaning: str | None
) -> None:
    torch.manual_seed(0)
    source = load_source(_Softmax(*layers).eval(), size=8, labels=LABELS)
    program = trace(source)
    assert program.task == "classification"
    assert program.outputs[0].meaning == meaning
    assert trace(load_source(_Softmax(*layers).eval(), size=8)).task is None


def test_the_outputs_of_zoo_models_are_called_what_they_are() -> None:
    program = trace(load_source("seaformer_tiny_seg?output=labels", size=64))
    assert [(o.name, o.shape) for o in program.outputs] == [("labels", (1, 64, 64))]
    assert program.labels == known_labels("ade20k150")
    for entry in entries():
        values = dict(entry.options).get("output", ("",))
        for value in values:
            outputs = entry.outputs({"output": value} if value else {})
            assert ("logits" in outputs) == (
                value in ("logits", "upsampled", "raw")
                or (not value and "classification" in entry.task)
            )


def test_recipes() -> None:
    emo = preprocessing(trace(load_source("emo_1m", size=56)))
    assert emo is not None
    assert (emo.resize, emo.crop_mode, emo.interpolation) == ((64, 64), "center", "bicubic")
    assert preprocessing(trace(load_source("seaformer_tiny_seg", size=64))) is None

    timm = pytest.importorskip("timm")
    config = timm.data.resolve_model_data_config(timm.create_model("test_vit"))
    found = preprocessing(trace(load_source("timm/test_vit")))
    assert found is not None
    assert (found.crop_pct, found.interpolation) == (config["crop_pct"], config["interpolation"])
    resize = timm.data.create_transform(**config, is_training=False).transforms[0]
    assert found.resize == (resize.size, resize.size)


def test_class_names_are_the_published_ones() -> None:
    meta = pytest.importorskip("torchvision.models._meta")
    coco = [name for name in meta._COCO_CATEGORIES if name not in ("__background__", "N/A")]
    assert list(known_labels("coco80")) == coco
    ade = known_labels("ade20k150")
    assert len(set(ade)) == 150
    assert (ade[0], ade[12], ade[-1]) == ("wall", "person", "flag")

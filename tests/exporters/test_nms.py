"""Files that end with non-maximum suppression, executed, against eager PyTorch and torchvision."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import mobile_export
from mobile_export import CoreMLOptions, MobileExportError, NmsOptions, TFLiteOptions
from mobile_export.artifacts.expected import seeded_input
from mobile_export.cli.main import app
from mobile_export.cli.messages import typed_error
from mobile_export.detection import Detections
from mobile_export.detection.contract import class_names
from mobile_export.errors import UsageError
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.graph.capture import trace
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.graph.specs import OutputSpec
from mobile_export.parity.samples import Sample
from tests.conftest import TinyDetector, TinyNet, load_file, make_source, need

ops = pytest.importorskip("torchvision.ops")

OPTIONS = NmsOptions(iou_threshold=0.4, score_threshold=0.1, max_detections=30)
LABELS = ("cat", "dog", "bird", "car", "tree")
OUTPUTS = (OutputSpec("boxes", (1, 48, 4)), OutputSpec("scores", (1, 48, 5)))
Export = Callable[..., Path]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return TinyDetector().eval()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, model: nn.Module) -> Export:
    """Export `TinyDetector` once per format and options."""
    made: dict[str, Path] = {}

    def get(format_name: str, **options: Any) -> Path:
        key = f"{format_name} {options}"
        if key not in made:
            folder = tmp_path_factory.mktemp(format_name)
            report = mobile_export.export(
                model, format_name, folder, size=64, nms=OPTIONS, labels=LABELS, **options
            )
            assert report.exit_code == 0
            made[key] = report.artifacts[0].files[0]
        return made[key]

    return get


def torchvision_finds(model: nn.Module, image: torch.Tensor, *, best_class: bool) -> Detections:
    """Eager float64, then torchvision's batched_nms."""
    outputs = run_float64(double_copy(model), image)
    boxes, scores = outputs["boxes"][0], outputs["scores"][0]
    allowed = scores >= OPTIONS.score_threshold
    if best_class:
        allowed &= nn.functional.one_hot(scores.argmax(1), scores.shape[1]).bool()
    anchor, label = torch.where(allowed)
    values = scores[anchor, label]
    kept = ops.batched_nms(boxes[anchor], values, label, OPTIONS.iou_threshold)
    kept = kept[: OPTIONS.max_detections]
    return Detections(boxes[anchor[kept]].numpy(), values[kept].numpy(), label[kept].numpy())


def assert_same(found: Detections, wanted: Detections, error: float) -> None:
    """In the same order; ``error`` is relative to 64 pixels and to 1."""
    assert 5 < len(wanted.scores) <= OPTIONS.max_detections
    np.testing.assert_array_equal(found.classes, wanted.classes)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=64 * error, rtol=0)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=error, rtol=0)


@pytest.fixture(params=range(3))
def image(request: pytest.FixtureRequest) -> torch.Tensor:
    return torch.from_numpy(seeded_input((1, 3, 64, 64), 100 + request.param))


def test_onnx(written: Export, model: nn.Module, image: torch.Tensor) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(written("onnx")))
    names = [output.name for output in session.get_outputs()]
    assert names == ["boxes", "classes", "scores", "count"]
    boxes, classes, scores, count = session.run(None, {"image": image.numpy()})
    assert boxes.shape == (1, 30, 4)
    assert classes.shape == scores.shape == (1, 30)
    found = Detections(*(array[0, : count[0]] for array in (boxes, scores, classes)))
    assert_same(found, torchvision_finds(model, image, best_class=False), 1e-5)
    assert not boxes[0, count[0] :].any()
    assert not scores[0, count[0] :].any()


@pytest.mark.parametrize(
    ("options", "error"),
    [({}, 1e-5), ({"tflite": TFLiteOptions(layout="nchw"), "precision": "fp16"}, 3e-3)],
    ids=["nhwc-fp32", "nchw-fp16"],
)
def test_tflite(
    written: Export, model: nn.Module, image: torch.Tensor, options: dict[str, Any], error: float
) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    loaded = interpreter.Interpreter(str(written("tflite", **options)))
    loaded.allocate_tensors()
    feed = image.numpy() if options else image.permute(0, 2, 3, 1).contiguous().numpy()
    loaded.set_tensor(loaded.get_input_details()[0]["index"], feed)
    loaded.invoke()
    # in the order of TFLite's Task Library: boxes, classes, scores, count
    boxes, classes, scores, count = (
        loaded.get_tensor(output["index"]) for output in loaded.get_output_details()
    )
    assert boxes.shape == (1, 30, 4)
    rows = int(count[0])
    corners = boxes[0, :rows][:, [1, 0, 3, 2]] * 64
    found = Detections(corners, scores[0, :rows], classes[0, :rows])
    assert_same(found, torchvision_finds(model, image, best_class=False), error)


@pytest.mark.parametrize("format_name", [row.name for row in FORMATS if row.suppresses])
def test_a_size_that_is_no_power_of_two(format_name: str, model: nn.Module, tmp_path: Path) -> None:
    """1 / 80 is no float32: boxes in units of the image are divided, which is exact."""
    need(format_name)
    report = mobile_export.export(
        model, format_name, tmp_path, size=(48, 80), nms=OPTIONS, labels=LABELS
    )
    assert report.exit_code == 0


def test_tflite_constants_stay_aligned(written: Export) -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    content = written("tflite").read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    starts = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            starts.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert len(starts) > 5
    assert not [start for start in starts if start % 16]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"precision": "fp32"}, 1e-5),
        ({"precision": "fp16", "coreml": CoreMLOptions(target="ios17")}, 2e-3),
    ],
    ids=["fp32", "fp16-ios17"],
)
def test_coreml(
    written: Export, model: nn.Module, image: torch.Tensor, options: dict[str, Any], error: float
) -> None:
    pytest.importorskip("coremltools")
    session = load_file("coreml", written("coreml", **options), OUTPUTS)
    assert session.detector is not None
    _, found = session.detector.detect(Sample("noise", image))
    assert_same(found, torchvision_finds(model, image, best_class=True), error)


def test_coreml_package_is_what_vision_takes(written: Export) -> None:
    """Names and types of NonMaximumSuppression.proto, as Turi Create's detectors have them."""
    ct = pytest.importorskip("coremltools")
    path = written("coreml", precision="fp32")
    spec = ct.models.utils.load_spec(str(path))
    network, suppression = spec.pipeline.models
    assert network.WhichOneof("Type") == "mlProgram"
    nms = suppression.nonMaximumSuppression
    assert nms.pickTop.perClass
    assert (nms.iouThreshold, nms.confidenceThreshold) == (0.4, 0.1)
    assert tuple(nms.stringClassLabels.vector) == LABELS
    made = {o.name: list(o.type.multiArrayType.shape) for o in network.description.output}
    assert made == {
        nms.confidenceInputFeatureName: [48, 5],
        nms.coordinatesInputFeatureName: [48, 4],
    }
    assert [(f.name, f.type.isOptional) for f in spec.description.input] == [
        ("image", False),
        ("iouThreshold", True),
        ("confidenceThreshold", True),
    ]
    for output, columns in zip(spec.description.output, (5, 4), strict=True):
        rows, width = output.type.multiArrayType.shapeRange.sizeRanges
        assert (rows.lowerBound, rows.upperBound) == (0, 30)
        assert (width.lowerBound, width.upperBound) == (columns, columns)
    assert [o.name for o in spec.description.output] == ["confidence", "coordinates"]


def test_coreml_image_input(written: Export) -> None:
    ct = pytest.importorskip("coremltools")
    path = written("coreml", coreml=CoreMLOptions(image_input=True))
    first = ct.models.utils.load_spec(str(path)).description.input[0]
    assert first.type.WhichOneof("Type") == "imageType"
    manifest = json.loads(path.with_name(path.name + ".manifest.json").read_text())
    assert manifest["parity"]["detections"]["certain"] > 10


def test_the_manifest_says_what_comes_out(written: Export) -> None:
    path = written("onnx")
    facts = json.loads(path.with_name(path.name + ".manifest.json").read_text())
    nms = facts["nms"]
    assert nms["iou_threshold"] == 0.4
    assert nms["score_threshold"] == 0.1
    assert nms["max_detections"] == 30
    assert nms["labels"] == list(LABELS)
    assert {o["name"]: o["shape"] for o in nms["outputs"]} == {
        "boxes": [1, 30, 4],
        "classes": [1, 30],
        "scores": [1, 30],
        "count": [1],
    }
    assert [o["name"] for o in facts["expected"]["outputs"]] == ["boxes", "scores"]
    check = facts["parity"]["detections"]
    assert check["certain"] == check["found"] > 10
    assert check["unexpected"] == 0


@pytest.mark.parametrize(
    ("format_name", "options"), [("onnx", {}), ("tflite", {}), ("coreml", {"precision": "fp32"})]
)
def test_verify_with_layers(
    written: Export, model: nn.Module, format_name: str, options: dict[str, Any]
) -> None:
    path = written(format_name, **options)
    report = mobile_export.verify(path, model, layers=True)
    assert report.parity.passed
    assert report.parity.detections is not None
    assert report.parity.detections.passed
    assert report.layers is not None
    assert report.layers.good > 5
    assert report.layers.errors == ()


@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_inspect_names_the_outputs(written: Export, format_name: str) -> None:
    outputs = mobile_export.inspect(written(format_name))["outputs"]
    assert [output["name"] for output in outputs] == ["boxes", "classes", "scores", "count"]


def test_verify_sees_another_model(written: Export) -> None:
    torch.manual_seed(5)
    assert not mobile_export.verify(written("onnx"), TinyDetector().eval()).parity.passed


def test_inspect_names_the_outputs_of_the_pipeline(written: Export) -> None:
    facts = mobile_export.inspect(written("coreml", precision="fp32"))
    assert [(o["name"], o["shape"]) for o in facts["outputs"]] == [
        ("confidence", [None, 5]),
        ("coordinates", [None, 4]),
    ]
    assert facts["ops"]["nonMaximumSuppression"] == 1


def test_without_labels_classes_have_their_numbers(model: nn.Module) -> None:
    program = trace(make_source(model, size=(64, 64)))
    assert class_names(program) == ("0", "1", "2", "3", "4")


class Detector(nn.Module):
    """Returns what it was given, whatever the image."""

    def __init__(self, **outputs: torch.Tensor) -> None:
        super().__init__()
        self.names = tuple(outputs)
        for name, value in outputs.items():
            self.register_buffer(name, value)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name) + x.mean() * 0 for name in self.names}


BOX = torch.tensor([[[1.0, 2.0, 30.0, 40.0]]])
SCORE = torch.full((1, 1, 3), 0.2)


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ({"boxes": BOX, "logits": SCORE}, r"returns boxes \(1, 1, 4\), logits \(1, 1, 3\)"),
        ({"boxes": BOX, "scores": SCORE[0]}, r"scores \(1, 3\)"),
        ({"boxes": BOX, "scores": SCORE, "masks": SCORE}, "masks"),
        ({"boxes": BOX.repeat(1, 2, 1), "scores": SCORE}, r"boxes \(1, 2, 4\)"),
        ({"boxes": BOX, "scores": SCORE * 20}, "softmax or sigmoid"),
        ({"boxes": BOX, "scores": -SCORE}, "softmax or sigmoid"),
        ({"boxes": BOX.flip(-1), "scores": SCORE}, "before the left or top"),
        ({"boxes": BOX / 64, "scores": SCORE}, "not in pixels"),
    ],
)
def test_what_is_no_detector(
    tmp_path: Path, outputs: dict[str, torch.Tensor], problem: str
) -> None:
    options = NmsOptions(max_detections=2)
    with pytest.raises(UsageError, match=problem) as caught:
        mobile_export.export(Detector(**outputs).eval(), "onnx", tmp_path, size=64, nms=options)
    assert "scores (1, N, classes)" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_is_told_which_models_detect(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="emo_2m_ssdlite"):
        mobile_export.export(TinyNet().eval(), "onnx", tmp_path, size=64, nms=NmsOptions())


@pytest.mark.parametrize(
    ("options", "labels", "problem"),
    [
        (NmsOptions(max_detections=1000), LABELS, "more than the 240 pairs"),
        (OPTIONS, LABELS[:3], "3 labels do not fit the 5 classes"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path,
    model: nn.Module,
    options: NmsOptions,
    labels: tuple[str, ...],
    problem: str,
) -> None:
    with pytest.raises(UsageError, match=problem):
        mobile_export.export(model, "onnx", tmp_path, size=64, nms=options, labels=labels)


@pytest.mark.parametrize("format_name", ["ncnn", "tnn"])
def test_formats_without_suppression(tmp_path: Path, model: nn.Module, format_name: str) -> None:
    with pytest.raises(UsageError, match=r"mobile_export\.detection\.suppress"):
        mobile_export.export(model, format_name, tmp_path, size=64, nms=OPTIONS)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("iou_threshold", 0.0),
        ("iou_threshold", 1.5),
        ("iou_threshold", float("nan")),
        ("score_threshold", -0.1),
        ("score_threshold", 1.0),
        ("score_threshold", float("nan")),
        ("max_detections", 0),
    ],
)
def test_values_out_of_range(keyword: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"`{keyword}` is .*\n?It must be"):
        NmsOptions(**{keyword: value})


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["onnx", "emo_1m_ssdlite", "--nms-iou", "0.5"], "--nms-iou was given without --nms"),
        (["all", "emo_1m_ssdlite", "--nms-max", "5"], "--nms-max was given without --nms"),
        (["onnx", "emo_1m_ssdlite", "--nms", "--nms-score", "2"], "--nms-score is 2"),
        (["ncnn", "emo_1m_ssdlite", "--nms"], "ncnn files cannot end with"),
        (["tnn", "emo_1m_ssdlite", "--nms"], "TNN files cannot end with"),
    ],
)
def test_the_command_line_refuses(words: list[str], problem: str) -> None:
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, MobileExportError)
    assert problem in str(typed_error(result.exception))


def test_all_formats_keep_boxes_where_there_is_no_suppression(
    tmp_path: Path, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = (get_format("onnx"), get_format("tnn"))
    monkeypatch.setattr("mobile_export.api.available_formats", lambda: targets)
    monkeypatch.setattr("mobile_export.api.FORMATS", targets)
    report = mobile_export.export(model, out_dir=tmp_path, size=64, nms=OPTIONS)
    with_nms, without = report.artifacts
    assert with_nms.parity.detections is not None
    assert without.parity.detections is None
    assert without.parity.passed
    assert any("TNN: these files give all boxes" in note for note in report.notes)


@pytest.mark.matrix
@pytest.mark.parametrize("format_name", ["onnx", "tflite", "coreml"])
@pytest.mark.parametrize("name", ["emo_1m_ssdlite", "emo_2m_ssdlite", "emo_5m_ssdlite"])
def test_detectors_of_the_zoo(tmp_path: Path, name: str, format_name: str) -> None:
    report = mobile_export.export(name, format_name, tmp_path, nms=NmsOptions())
    assert report.exit_code == 0
    check = report.artifacts[0].parity.detections
    assert check is not None
    assert check.found == check.certain > 500
    assert check.unexpected == 0

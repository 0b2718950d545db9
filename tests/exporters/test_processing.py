"""Files that take pixels and give probabilities, executed by the vendors, against eager float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.artifacts.manifest import Manifest, read_manifest
from mobile_export.errors import UsageError
from mobile_export.exporters import apart
from mobile_export.exporters.interface import runtime_of
from mobile_export.exporters.processing import added_activation, check_processing, processed
from mobile_export.exporters.row import BytesOptions, FileOptions
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.graph.capture import trace
from mobile_export.graph.specs import OutputSpec
from mobile_export.parity.samples import Sample
from tests.conftest import MultiOutput, load_file, make_source, need

MEAN, STD = (0.1, 0.5, 0.7), (0.2, 0.3, 0.6)
NAMES = tuple("abcde")


class Net(nn.Module):
    """Padded, so that its border would show an offset in the wrong place: logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 30 * self.conv(x)[..., 0].mean(-1)  # of the left border only


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child that reads a file first takes seconds, and tells nothing here."""
    monkeypatch.setattr(
        apart, "describe_apart", lambda row, path, run: runtime_of(row).describe(path)
    )


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (1, 3, 12, 8)).astype(np.float32)


def expected(pixels: np.ndarray) -> np.ndarray:
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        logits = Net().double()(torch.from_numpy((pixels.astype(np.float64) / 255 - mean) / std))
    return logits.softmax(-1).numpy()


def write(name: str, folder: Path, **options: Any) -> tuple[Path, Manifest]:
    need(name)
    row = get_format(name)
    report = mobile_export.export(
        Net().eval(), name, folder, name="net", size=(12, 8), mean=MEAN, std=STD, precision="fp32",
        labels=NAMES, **{name: row.options(image_input=True, **options)},
    )  # fmt: skip
    assert report.exit_code == 0, report.failures
    path = report.artifacts[0].path
    assert path is not None
    manifest = read_manifest(path)
    assert manifest.interface is not None
    (image,) = manifest.interface.inputs
    assert image.normalization is not None
    assert image.normalization.inside
    assert image.range == (0.0, 255.0)
    assert manifest.expected.sample == "pixel-noise-0"
    return path, manifest


def run_onnx(path: Path, pixels: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    dtype = {"tensor(uint8)": np.uint8}.get(session.get_inputs()[0].type, np.float32)
    return np.asarray(session.run(["probabilities"], {"pixels": pixels.astype(dtype)})[0])


def run_tflite(path: Path, pixels: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner()
    dtype = runner.get_input_details()["pixels"]["dtype"]
    image = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).astype(dtype)
    return np.asarray(runner(pixels=image)["probabilities"])


def run_ncnn(path: Path, pixels: np.ndarray) -> np.ndarray:
    import ncnn

    net = ncnn.Net()
    net.opt.use_fp16_storage = net.opt.use_fp16_packed = net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(path)) == 0
    assert net.load_model(str(path.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    extractor.input("pixels", ncnn.Mat(pixels[0]).clone())
    return np.array(extractor.extract("probabilities")[1])[None]


RUNS = {"onnx": run_onnx, "tflite": run_tflite, "ncnn": run_ncnn}


def run(path: Path, name: str, pixels: np.ndarray) -> np.ndarray:
    """By the vendor's runtime where there is one, else by our evaluator of the file."""
    if name in RUNS:
        return RUNS[name](path, pixels)
    session = load_file(name, path, (OutputSpec("logits", (1, 5), "logits"),))
    assert session.takes_pixels
    assert session.activation == "softmax"
    given = torch.from_numpy(pixels)
    return session.run(Sample("pixels", torch.full_like(given, float("nan")), given))[0]


@pytest.mark.parametrize("name", [row.name for row in FORMATS])
def test_every_format_takes_pixels_and_gives_probabilities(
    name: str, tmp_path: Path, pixels: np.ndarray
) -> None:
    path, manifest = write(name, tmp_path, classifier=True)
    np.testing.assert_allclose(run(path, name, pixels), expected(pixels), atol=2e-6)
    assert manifest.labels == NAMES
    assert manifest.interface is not None
    (given,) = [o for o in manifest.interface.outputs if o.meaning == "probabilities"]
    assert given.source == manifest.outputs[0].name == "probabilities"
    report = mobile_export.verify(path, Net().eval(), mean=MEAN, std=STD)
    assert report.parity.passed
    assert {each.output for each in report.parity.qualities} <= {"probabilities"}
    assert not [each for each in report.unlike or () if each.startswith("the file")]
    other = mobile_export.verify(path, Net().eval(), mean=MEAN)  # another standard deviation
    assert not other.parity.passed


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_bytes(name: str, tmp_path: Path, pixels: np.ndarray) -> None:
    path, manifest = write(name, tmp_path, softmax=True, input_dtype="uint8")
    np.testing.assert_allclose(run(path, name, pixels), expected(pixels), atol=2e-6)
    assert manifest.interface is not None
    assert manifest.interface.inputs[0].dtype == "uint8"


def test_only_logits_get_a_softmax() -> None:
    source = make_source(nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Softmax(-1)), (2, 2))
    program = trace(source)
    (output,) = program.outputs
    given = type(program)(**{**vars(program), "outputs": (_meant(output, "probabilities"),)})
    assert processed(given, FileOptions(softmax=True)) is given
    assert processed(program, FileOptions(softmax=True)).activation == "softmax"


def _meant(output: OutputSpec, meaning: Any) -> OutputSpec:
    return OutputSpec(output.name, output.shape, meaning)


def test_an_activation_is_seen_by_the_names() -> None:
    logits, ready = OutputSpec("logits", (1, 5)), OutputSpec("probabilities", (1, 5))
    assert added_activation(["probabilities"], [logits]) == "softmax"
    assert added_activation(["probabilities"], [ready]) is None
    assert added_activation(["logits"], [logits]) is None
    assert added_activation(["probabilities"], [logits, logits]) is None


def test_a_classifier_needs_labels_and_logits() -> None:
    with pytest.raises(UsageError, match="names of the 10 classes"):
        check_processing(trace(make_source()), FileOptions(classifier=True))
    for options in (FileOptions(classifier=True), FileOptions(softmax=True)):
        with pytest.raises(UsageError, match="one output"):
            check_processing(trace(make_source(MultiOutput())), options)
    check_processing(trace(make_source()), FileOptions(softmax=True))


def test_bytes_are_pixels() -> None:
    with pytest.raises(UsageError, match="takes a normalised image"):
        BytesOptions(input_dtype="uint8")
    with pytest.raises(UsageError, match="`input_dtype` 'int4' is not known"):
        BytesOptions(input_dtype="int4", image_input=True)

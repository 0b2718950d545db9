"""Files that leave open how many images they take, or of which size.

Expected are float64 runs of the eager modules at shapes that the files were not made from;
onnxruntime executes the ONNX files without our sessions. Tests `graph/source.py`'s ``with_open``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.artifacts.manifest import read_manifest
from mobile_export.bench.devices import connect
from mobile_export.bench.jobs import RunOptions, make_jobs
from mobile_export.errors import ExportError, RunnerError, SourceError, UsageError
from mobile_export.exporters.coreml.options import CoreMLOptions
from mobile_export.pipeline import ExportReport


class Mapped(nn.Module):
    """Attention over the places of a map, a map of the image's size, and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 4, 1)
        self.classes = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.norm(self.down(x)).relu()
        tokens = y.flatten(2).transpose(1, 2)
        tokens = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
        y = y + tokens.transpose(1, 2).reshape(y.shape)
        grown = nn.functional.interpolate(self.head(y), size=x.shape[-2:], mode="bilinear")
        return {"map": grown, "logits": self.classes(y.mean((2, 3)))}


class Mixing(nn.Module):
    """Takes the mean of its batch from each image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(0, keepdim=True)).amax((2, 3)) + x.mean((2, 3))


class OneSize(nn.Module):
    """A table of places for 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(1, 3, 8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.places).relu().mean((2, 3))


class Tall(nn.Module):
    """Divides by a number that no tensor's extent gives back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) / (x.shape[2] ** 2 + 3)


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


CHECKED = {
    "size": ("16x16", "32x48", "48x32", "64x16"),
    "batch": ("2 images", "3 images", "1 image", "5 images"),
}


@pytest.fixture(scope="module", params=["size", "batch"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("dynamic")
    model = made(Mapped)
    options: dict[str, Any] = {"size": 16, "dynamic": request.param, "precision": "fp32"}
    return request.param, mobile_export.export(model, None, folder, name="net", **options)


def path_of(report: ExportReport, name: str) -> Path:
    (found,) = (each.path for each in report.artifacts if each.format == name)
    assert found is not None
    return found


def test_formats_that_can_leave_it_open_and_the_others_say_why(report: Any) -> None:
    what, files = report
    able = ["onnx", "coreml", *(["ncnn"] if what == "size" else [])]
    assert {each.format: each.parity.status for each in files.artifacts} == dict.fromkeys(
        able, "passed"
    )
    assert {each.parity.sizes for each in files.artifacts} == {CHECKED[what]}
    assert list(files.skipped) == [n for n in ("tflite", "ncnn", "tnn") if n not in able]
    reasons = {"tflite": "one shape", "ncnn": "no batch", "tnn": "one shape"}
    for name, said in files.skipped.items():
        assert "`dynamic`" in said
        assert reasons[name] in said


def test_onnx_takes_shapes_that_nobody_named(report: Any) -> None:
    what, files = report
    session = onnxruntime.InferenceSession(str(path_of(files, "onnx")))
    shape = session.get_inputs()[0].shape
    assert shape == ([1, 3, "height", "width"] if what == "size" else ["batch", 3, 16, 16])
    for other in ((1, 3, 18, 10), (1, 3, 40, 22)) if what == "size" else ((7, 3, 16, 16),):
        image = torch.randn(other, generator=torch.Generator().manual_seed(1))
        got = session.run(["map", "logits"], {"image": image.numpy()})
        exact = made(Mapped).double()(image.double())
        for a, name in zip(got, ("map", "logits"), strict=True):
            np.testing.assert_allclose(a, exact[name].detach().numpy(), atol=1e-5)


def test_core_ml_takes_the_range_between_the_shapes_that_were_checked(report: Any) -> None:
    import coremltools

    what, files = report
    model = coremltools.models.MLModel(str(path_of(files, "coreml")), skip_model_load=True)
    (image,) = model.get_spec().description.input
    ranges = [
        (each.lowerBound, each.upperBound)
        for each in image.type.multiArrayType.shapeRange.sizeRanges
    ]
    assert (
        ranges
        == {
            "size": [(1, 1), (3, 3), (16, 64), (16, 48)],
            "batch": [(1, 5), (3, 3), (16, 16), (16, 16)],
        }[what]
    )
    assert list(image.type.multiArrayType.shape) == [1, 3, 16, 16]


@pytest.mark.parametrize("format_", ["onnx", "coreml"])
def test_verify_checks_the_same_shapes(report: Any, format_: str) -> None:
    what, files = report
    verified = mobile_export.verify(path_of(files, format_), made(Mapped))
    assert verified.parity.status == "passed"
    assert verified.parity.sizes == CHECKED[what]


def test_the_manifest_says_what_is_open(report: Any) -> None:
    what, files = report
    path = path_of(files, "onnx")
    facts = json.loads(path.with_name(f"{path.name}.manifest.json").read_text())
    assert facts["build"]["dynamic"] == what
    assert facts["schema"] == (2 if what == "size" else 1)
    assert facts["input"]["shape"] == [1, 3, 16, 16]
    sizes = [tuple(each["size"]) for each in facts["sizes"]]
    assert sizes == ([(16, 16), (32, 48), (48, 32), (64, 16)] if what == "size" else [])


def test_bench_measures_at_a_size_and_checks_what_comes_out(report: Any) -> None:
    from mobile_export.bench.check import check_outputs

    what, files = report
    path = str(path_of(files, "onnx"))
    asked = RunOptions(size=(48, 32))
    if what == "batch":
        with pytest.raises(UsageError, match="no expected outputs at 48x32"):
            make_jobs(connect("local"), [path], asked)
        return
    (job,), _ = make_jobs(connect("local"), [path], asked)
    assert job.job.artifact.facts()["input_shape"] == [1, 3, 48, 32]
    with job.runner.open(connect("local"), job.job) as session:
        found = check_outputs(session, job.job.artifact)
    assert found is not None
    assert found.passed
    with pytest.raises(UsageError, match="no expected outputs at 20x20") as error:
        make_jobs(connect("local"), [path], RunOptions(size=(20, 20)))
    assert "16x16, 32x48, 48x32, 64x16" in str(error.value.hint)
    with pytest.raises(RunnerError, match=r"perf-test runs the first size .* any of them: onnx"):
        make_jobs(connect("local"), [path], RunOptions(size=(48, 32), runners=("perf-test",)))


def test_the_number_that_was_named_is_checked(tmp_path: Path) -> None:
    options: dict[str, Any] = {"size": 8, "batch": 4, "dynamic": "batch"}
    (file,) = mobile_export.export(made(Mapped), "onnx", tmp_path, **options).artifacts
    assert file.parity.sizes == ("4 images", "5 images", "1 image", "7 images")
    assert file.path is not None
    assert read_manifest(file.path).input.shape == (4, 3, 8, 8)


@pytest.mark.parametrize(
    ("kind", "what", "said"),
    [
        (Mixing, "batch", "mixes the images of a batch"),
        (OneSize, "size", "does not take 16x24"),
        (Tall, "size", "depends on the size of its image"),
    ],
)
def test_what_cannot_be_left_open_is_refused_by_name(
    kind: type[nn.Module], what: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises((SourceError, ExportError), match=said):
        mobile_export.export(made(kind), "onnx", tmp_path, size=8, dynamic=what)
    assert not list(tmp_path.iterdir())


def test_what_does_not_go_with_it_is_refused(tmp_path: Path) -> None:
    net = made(Mapped)
    with pytest.raises(UsageError, match="with `dynamic`, one is taken"):
        mobile_export.export(net, "onnx", tmp_path, size=[(8, 8), (16, 16)], dynamic="size")
    with pytest.raises(UsageError, match="leaves no `dynamic` batch open"):
        mobile_export.export(net, "tflite", tmp_path, size=8, dynamic="batch")
    with pytest.raises(UsageError, match="for one image, and `dynamic` batch"):
        mobile_export.export(
            net, "coreml", tmp_path, size=8, dynamic="batch", coreml=CoreMLOptions(image_input=True)
        )
    with pytest.raises(UsageError, match="`dynamic` and `input` exclude each other"):
        mobile_export.export(net, "onnx", tmp_path, input={"x": (1, 3, 8, 8)}, dynamic="batch")
    with pytest.raises(UsageError, match="taken where a file is written"):
        mobile_export.prepare(net, size=8, dynamic="batch")
    assert not list(tmp_path.iterdir())

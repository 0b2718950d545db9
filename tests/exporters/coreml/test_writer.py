"""Core ML packages: targets, precisions, image inputs, classifiers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.api import export, prepare
from mobile_export.errors import UsageError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.coreml import session as runtime
from mobile_export.exporters.coreml import writer as exporter
from mobile_export.exporters.coreml.options import COREML_TARGETS, CoreMLOptions
from mobile_export.exporters.interface import WriteJob
from mobile_export.exporters.table import get_format
from mobile_export.graph.capture import trace
from mobile_export.graph.specs import IMAGENET_MEAN, IMAGENET_STD
from mobile_export.parity.samples import Sample, pixel_samples
from mobile_export.pipeline import ExportReport
from tests.conftest import make_source, write_file

ct = pytest.importorskip("coremltools")
MIL_pb2 = pytest.importorskip("coremltools.proto.MIL_pb2")

LABELS = tuple(f"class {i}" for i in range(10))


def spec_of(report: ExportReport) -> Any:
    return ct.models.utils.load_spec(str(report.artifacts[0].path))


@pytest.mark.parametrize("target", COREML_TARGETS)
def test_every_deployment_target(target: str, exported: Callable[..., ExportReport]) -> None:
    report = exported("coreml", coreml=CoreMLOptions(target=target))
    assert report.artifacts[0].parity.passed
    versions = {"ios15": 6, "ios16": 7, "ios17": 8, "ios18": 9}  # Model.proto, specificationVersion
    assert spec_of(report).specificationVersion == versions[target]


def test_precisions(exported: Callable[..., ExportReport]) -> None:
    half, full = (exported("coreml", precision=p).artifacts[0].parity for p in ("fp16", "fp32"))
    assert (half.precision, full.precision) == ("fp16", "fp32")
    assert half.passed
    assert full.passed
    assert full.max_rel < 1e-5 < half.max_rel < 1e-2


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_arrays_are_float32_outside(precision: str, exported: Callable[..., ExportReport]) -> None:
    description = spec_of(exported("coreml", precision=precision)).description
    kinds = [description.input[0].type, description.output[0].type]
    float32 = ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    assert [kind.multiArrayType.dataType for kind in kinds] == [float32, float32]
    assert description.input[0].name == "image"
    assert description.output[0].name == "logits"


class Padded(nn.Module):
    """A zero-padded convolution first: folding the normalisation's shift into it would be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.pretrained_cfg = {
            "input_size": (3, 16, 16),
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 2e-6), ("fp16", 2e-3)])
def test_image_input_is_exact_at_the_borders(tmp_path: Any, precision: str, allowed: float) -> None:
    source = make_source(Padded(), size=(16, 16))
    program = trace(source)
    path = tmp_path / "a.mlpackage"
    options = CoreMLOptions(image_input=True)
    write_file("coreml", program, path, precision=precision, options=options)
    image_type = ct.models.utils.load_spec(str(path)).description.input[0].type.imageType
    assert (image_type.height, image_type.width) == (16, 16)
    assert image_type.colorSpace == ct.proto.FeatureTypes_pb2.ImageFeatureType.RGB
    session = runtime.load(path, program.outputs)
    assert session.takes_pixels
    for sample in pixel_samples(source.input):
        assert sample.pixels is not None
        pixels = sample.pixels.double().numpy()
        mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        normalised = torch.from_numpy((pixels / 255 - mean) / std)
        conv = source.module.conv
        expected = nn.functional.conv2d(
            normalised, conv.weight.detach().double(), conv.bias.detach().double(), padding=1
        ).numpy()
        (got,) = session.run(sample)
        error = np.abs(got - expected) / np.abs(expected).max()
        assert error[..., 0, :].max() < allowed  # the border
        assert error.max() < allowed


def test_image_input_passes_parity(exported: Callable[..., ExportReport]) -> None:
    report = exported("coreml", coreml=CoreMLOptions(image_input=True))
    assert report.artifacts[0].parity.passed
    assert report.artifacts[0].parity.worst.split(":")[0].startswith(("pixel", "natural"))


def test_classifier(exported: Callable[..., ExportReport]) -> None:
    report = exported(
        "coreml", coreml=CoreMLOptions(image_input=True, classifier=True), labels=LABELS
    )
    assert report.artifacts[0].parity.passed
    spec = spec_of(report)
    assert spec.description.predictedFeatureName == "classLabel"
    names = list(spec.mlProgram.functions["main"].block_specializations)
    assert names
    assert spec.description.input[0].type.WhichOneof("Type") == "imageType"


def test_labels_without_a_classifier_are_in_the_metadata(
    exported: Callable[..., ExportReport],
) -> None:
    facts = spec_of(exported("coreml", labels=LABELS)).description.metadata.userDefined
    assert tuple(json.loads(facts["mobile_export.labels"])) == LABELS


def test_xcode_previews_a_segmenter(tmp_path: Path) -> None:
    """The keys of coremltools' guide; whoever takes an array has no preview."""
    source = make_source(Padded(), size=(16, 16))
    names = ("road", "sky", "tree", "wall")
    program = replace(trace(source), task="segmentation", labels=names)
    for image_input in (True, False):
        path = tmp_path / f"{image_input}.mlpackage"
        write_file("coreml", program, path, options=CoreMLOptions(image_input=image_input))
        facts = ct.models.utils.load_spec(str(path)).description.metadata.userDefined
        found = {key.rpartition(".")[2]: facts[key] for key in facts if key.startswith("com.apple")}
        found = {key: value for key, value in found.items() if key in ("type", "params")}
        wanted = {"type": "imageSegmenter", "params": json.dumps({"labels": names})}
        assert found == (wanted if image_input else {})


def test_classifier_probabilities_sum_to_one(
    exported: Callable[..., ExportReport], source: Any
) -> None:
    report = exported("coreml", coreml=CoreMLOptions(classifier=True), labels=LABELS)
    path = report.artifacts[0].path
    assert path is not None
    session = runtime.load(path, trace(source).outputs)
    from mobile_export.parity.samples import parity_samples

    (probabilities,) = session.run(parity_samples(source.input)[0])
    assert probabilities.shape == (1, 10)
    assert probabilities.sum() == pytest.approx(1, abs=5e-3)


def job_of(**options: bool) -> WriteJob:
    return ExportConfig(options={"coreml": CoreMLOptions(**options)}).job(get_format("coreml"))


def test_an_image_has_one_or_three_channels() -> None:
    source = make_source(nn.Conv2d(4, 4, 1))
    source = type(source)(**{**vars(source), "input": type(source.input)(
        shape=(1, 4, 8, 8), mean=(0.0,) * 4, std=(1.0,) * 4
    )})  # fmt: skip
    with pytest.raises(UsageError, match="takes 4"):
        exporter.check(trace(source), job_of(image_input=True))


class Bounded(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp_max(torch.clamp_min(x, 0), 1) + torch.clamp_min(x.long(), 2)


def test_a_bound_is_of_the_type_of_the_tensor() -> None:
    """coremltools 9.0 asserts it: losses with a whole number as margin had no message."""
    program = exporter.adapt(trace(make_source(Bounded(), (8, 8))), job_of()).program
    bounds = [
        (node.args[1], node.meta["val"].dtype)
        for node in program.exported.graph.nodes
        if "clamp" in str(node.target)
    ]
    assert [(repr(number), kind) for number, kind in bounds] == [
        ("0.0", torch.float32), ("1.0", torch.float32), ("2", torch.int64),
    ]  # fmt: skip


class Bent(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.hardtanh(x, -7, 8) + nn.functional.leaky_relu(x, 2)


def test_numbers_of_activations_are_of_the_type_of_the_tensor() -> None:
    """coremltools 9.0 asserts it of hardtanh, too: CoDeNet's bounds are whole numbers."""
    program = exporter.adapt(trace(make_source(Bent(), (8, 8))), job_of()).program
    numbers = [
        number
        for node in program.exported.graph.nodes
        if "hardtanh" in str(node.target) or "leaky_relu" in str(node.target)
        for number in node.args[1:]
    ]
    assert [repr(number) for number in numbers] == ["-7.0", "8.0", "2.0"]


def test_an_unknown_target() -> None:
    with pytest.raises(UsageError, match="ios14"):
        CoreMLOptions(target="ios14")


class ScaledAndShifted(nn.Module):
    """What coremltools' fuse_elementwise_to_batchnorm gets wrong in the sixth digit."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1, 3, 1, 1) + 0.5)
        self.shift = nn.Parameter(torch.rand(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.silu(nn.functional.gelu(x) * self.scale + self.shift)


class Aliased(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten.alias.default(x.relu()).mean((2, 3))


class Bicubic(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.interpolate(x, size=(12, 14), mode="bicubic", align_corners=False)
        return torch.addcmul(x, x, x, value=0.5).mean((2, 3))


class SmallReciprocals(nn.Module):
    """coremltools writes 1 / (x + 1e-4), which is 9 % off at 10⁻³."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1 / (x.abs() * 0.01 + 1e-3)


@pytest.mark.parametrize(
    "module",
    [ScaledAndShifted(), Aliased(), Bicubic(), SmallReciprocals()],
    ids=["scale", "alias", "bicubic", "reciprocal"],
)
def test_what_coremltools_alone_gets_wrong(module: nn.Module, tmp_path: Any) -> None:
    program = prepare(module, torch.zeros(1, 3, 8, 8))
    path = tmp_path / "a.mlpackage"
    write_file("coreml", program, path, precision="fp32")
    session = runtime.load(path, program.outputs)
    x = torch.randn(1, 3, 8, 8)
    (got,) = session.run(Sample("s", x))
    with torch.no_grad():
        expected = module.double()(x.double()).numpy()
    assert np.abs(got - expected).max() < 1e-6 * np.abs(expected).max()


class PlaceOfTheLargest(nn.Module):
    """The column, the row, and the row if there were 50 columns, of the brightest pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        place, width = x.mean(1).flatten(1).argmax(1), x.shape[-1]
        floor = torch.div(place, 50, rounding_mode="floor")
        return torch.stack([place % width, place // width, floor], -1)


def test_quotients_of_indices_are_whole(tmp_path: Any) -> None:
    """3873 is no float16, which coremltools makes of a quotient (tt-torch 862)."""
    program = prepare(PlaceOfTheLargest(), torch.zeros(1, 3, 64, 64))
    path = tmp_path / "a.mlpackage"
    write_file("coreml", program, path, precision="fp16")
    x = torch.zeros(1, 3, 64, 64)
    x[:, :, 60, 33] = 1
    (got,) = runtime.load(path, program.outputs).run(Sample("s", x))
    assert got.tolist() == [[33, 60, (60 * 64 + 33) // 50]]


class SpatialTransformer(nn.Module):
    """Spatial Transformer Networks (Jaderberg et al. 2015): the image at places that it decides."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.places = nn.Sequential(nn.Conv2d(3, 6, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.affine = nn.Linear(24, 6)
        with torch.no_grad():
            self.affine.bias.copy_(torch.tensor([1.0, 0.2, 0.1, -0.1, 0.9, 0.3]))
        self.head = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        theta = self.affine(self.places(x).flatten(1)).view(-1, 2, 3)
        grid = nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
        return self.head(nn.functional.grid_sample(x, grid, align_corners=False))


def test_places_in_an_image_are_float32_in_a_float16_file(tmp_path: Any) -> None:
    """Float16 places are 2e-2 off on noise, and the file failed; the convolutions behind them
    stay float16."""
    made = export(SpatialTransformer().eval(), "coreml", tmp_path, name="n", size=32)
    (artifact,) = made.artifacts
    assert artifact.precision == "fp16"
    assert artifact.parity.passed
    assert artifact.parity.max_rel < 2e-3
    spec = ct.models.MLModel(str(artifact.path), skip_model_load=True).get_spec()
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    made_by = {op.type: op.outputs[0].type.tensorType.dataType for op in block.operations}
    assert made_by["resample"] == MIL_pb2.FLOAT32
    assert made_by["conv"] == MIL_pb2.FLOAT16  # the last one, behind the places


def test_a_network_may_be_deep() -> None:
    """Which operations make places was found by a recursion, 250 operations deep at most."""
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 4, 4))])
    def deep(x: Any) -> Any:
        for _ in range(600):
            x = mb.sin(x=x)
        return x

    selected = exporter._compute_precision(get_format("coreml").precisions[0], CoreMLOptions())
    assert all(map(selected.op_selector, deep.functions["main"].operations))


class _Keywords(nn.Module):
    """Calls whose numbers stand in keywords, which coremltools 9.0 reads of some operators only."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = x.roll(1, -1)
        return {
            "added": torch.add(x, y, alpha=2.5),
            "taken": torch.sub(x, y, alpha=3.5),
            "turned": torch.rsub(x, y, alpha=0.5),
            "variance": torch.var(x, dim=-1, correction=0),
            "deviation": torch.std(x, dim=-1, correction=2),
            "gelu": nn.functional.gelu(x, approximate="tanh"),
        }


def test_numbers_in_keywords_are_not_left_out(tmp_path: Path) -> None:
    (file,) = export(_Keywords().eval(), "coreml", tmp_path, size=8, precision="fp32").artifacts
    assert file.parity.status == "passed"

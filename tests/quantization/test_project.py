"""What ncnn and TNN take of a plan: layers of integers, zero in the middle, float32 around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.errors import UsageError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.ncnn.reader import gives_integers, read_integers, read_param
from mobile_export.exporters.row import IntegerLayers
from mobile_export.exporters.table import get_format
from mobile_export.graph.program import Program
from mobile_export.lowering import ir
from mobile_export.lowering.integers import integer_weights, integers_at
from mobile_export.lowering.lower import lower
from mobile_export.lowering.reference import run_graph
from mobile_export.passes.prove import float64_outputs
from mobile_export.pipeline import ArtifactReport, ExportReport, export_program
from mobile_export.quantization.insert import insert
from mobile_export.quantization.make import make_plan
from mobile_export.quantization.options import QuantizationOptions
from mobile_export.quantization.plan import Chosen, QuantizationPlan
from mobile_export.quantization.project import project
from tests.conftest import need
from tests.test_pipeline import make_source

from .nets import prepared, samples

TAKES = IntegerLayers(("conv2d", "linear"), {"conv_transpose2d": "no"}, grouped="groups")
CHOSEN = Chosen("least-squares", "synthetic")


def plan_of(module: nn.Module | None = None) -> tuple[object, QuantizationPlan]:
    program = prepared(module)
    return program, make_plan(program, "int8", samples(program), CHOSEN)


def test_sources_reach_as_far_as_the_plan_and_invert_in_float32() -> None:
    program, plan = plan_of()
    taken = project(program, plan, TAKES, {}, "ncnn")  # type: ignore[arg-type]
    activations = plan.by_name("activation")
    sources = taken.by_name("source")
    assert set(sources) == set(plan.by_name("weight"))
    (first,) = sources["conv2d"].scale
    image = next(iter(activations.values()))  # in the order of the graph
    reach = max(abs(q - image.zero_point[0]) for q in (-128, 127)) * image.scale[0]
    assert first * 127 == pytest.approx(reach, rel=1e-6)
    for each in (*sources.values(), *taken.by_name("weight").values()):
        for scale in each.scale:
            stored = np.float32(1 / np.float64(scale))
            assert np.float32(1 / np.float64(stored)) == np.float32(scale) == scale
    assert {each.low for each in sources.values()} == {-127}


def test_what_stays_in_floating_point_is_named_with_the_reason() -> None:
    program, plan = plan_of()
    taken = project(program, plan, TAKES, {"linear": "asked"}, "ncnn")  # type: ignore[arg-type]
    why = {each.name: each.why for each in taken.floating}
    assert why["linear"] == "asked"
    assert "between layers of integers" in why["add"]
    assert "variance" in why["layer_norm_default"]
    assert "linear" not in taken.by_name("weight")
    assert not taken.by_name("activation")


def test_nothing_left_is_refused() -> None:
    program, plan = plan_of()
    nothing = IntegerLayers(("conv1d",))
    with pytest.raises(UsageError, match="no layer that ncnn can compute with integers"):
        project(program, plan, nothing, {}, "ncnn")  # type: ignore[arg-type]


def test_the_layer_graph_multiplies_the_integers_of_the_plan() -> None:
    """Against the program with the plan in it, in float64; integers against the plan's own rule."""
    program, plan = plan_of()
    taken = project(program, plan, TAKES, {}, "ncnn")  # type: ignore[arg-type]
    rounded = insert(program, taken)  # type: ignore[arg-type]
    graph = lower(rounded)
    assert integers_at(graph) == set(taken.by_name("weight"))
    assert not any(isinstance(layer, ir.Round) for layer in graph.layers)
    (sample, *_) = samples(rounded, 1)
    got = run_graph(graph, *[each.double().numpy() for each in sample.all_given(pixels=False)])
    (wanted,) = float64_outputs(rounded, *sample.all_given(pixels=False))
    assert np.abs(got[0] - wanted).max() < 1e-9
    stem = next(layer for layer in graph.layers if layer.output.node == "conv2d")
    assert isinstance(stem, ir.Convolution)
    torch.manual_seed(0)
    scale = np.asarray(taken.by_name("weight")["conv2d"].scale)[:, None, None, None]
    exact = program.module().get_parameter("stem.weight").detach().double().numpy()  # type: ignore[attr-defined]
    assert (integer_weights(stem) == np.clip(np.round(exact / scale), -127, 127)).all()


class Ends(nn.Module):
    """Layers with every end that TNN has inside of them, and some that it has not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.third = nn.Conv2d(8, 8, 1)
        self.fourth = nn.Conv2d(8, 8, 1)
        self.rows = nn.Linear(8, 16)
        self.more = nn.Linear(16, 8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu6(self.second(torch.relu(self.first(x))))
        x = self.third(x).clamp(-1, 1) + self.fourth(x)
        x = torch.relu(self.rows(x.mean((2, 3))))
        return self.head(nn.functional.relu6(self.more(x)))


TNN = get_format("tnn").integer_layers


@pytest.fixture(scope="module")
def ends() -> tuple[Program, QuantizationPlan, QuantizationPlan]:
    torch.manual_seed(0)
    program = prepared(Ends().eval())
    plan = make_plan(program, "int8", samples(program), CHOSEN)
    assert TNN is not None
    return program, plan, project(program, plan, TNN, {}, "TNN")


def test_layers_that_give_integers_have_a_scale_of_what_they_give(
    ends: tuple[Program, QuantizationPlan, QuantizationPlan],
) -> None:
    """Of the activation, where TNN has it inside of the layer; it has no clamp of other bounds."""
    _, plan, taken = ends
    why = {each.name: each.why for each in taken.floating}
    assert "the clamp behind it" in why["conv2d_2"] or "the hardtanh behind it" in why["conv2d_2"]
    assert "behind it" in why["linear_1"]  # TNN's inner product has no ReLU6
    assert set(taken.by_name("weight")) == {"conv2d", "conv2d_1", "conv2d_3", "linear", "linear_2"}
    results = taken.by_name("result")
    assert len(results) == 5
    assert not set(results) & set(why)
    for name, each in results.items():
        planned = plan.by_name("activation")[name]
        reach = max(abs(q - planned.zero_point[0]) for q in (-128, 127)) * planned.scale[0]
        assert each.scale[0] * 127 == pytest.approx(reach, rel=1e-6)
        assert (each.low, each.high) == (-128, 127)


def test_scales_of_weights_come_back_from_their_product_with_the_input(
    ends: tuple[Program, QuantizationPlan, QuantizationPlan],
) -> None:
    _, plan, taken = ends
    for name, weight in taken.by_name("weight").items():
        (step,) = taken.by_name("source")[name].scale
        products = np.float32(np.array(weight.scale) * step)
        np.testing.assert_array_equal(np.float32(products / step), np.float32(weight.scale))
        np.testing.assert_allclose(weight.scale, plan.by_name("weight")[name].scale, rtol=1e-6)
        bias = taken.by_name("bias")[name]
        np.testing.assert_array_equal(np.float32(bias.scale), products)
        assert bias.shift == plan.by_name("bias")[name].shift


def test_the_layer_graph_gives_the_integers_of_the_plan(
    ends: tuple[Program, QuantizationPlan, QuantizationPlan],
) -> None:
    """Against the program with the plan in it, in float64; no rounding is left between layers."""
    program, _, taken = ends
    rounded = insert(program, taken)
    graph = lower(rounded, giving=True)
    assert integers_at(graph, giving=True) == set(taken.by_name("weight"))
    assert not any(isinstance(layer, ir.Round) for layer in graph.layers)
    (sample, *_) = samples(rounded, 1)
    got = run_graph(graph, *[each.double().numpy() for each in sample.all_given(pixels=False)])
    (wanted,) = float64_outputs(rounded, *sample.all_given(pixels=False))
    assert np.abs(got[0] - wanted).max() < 1e-9
    inside = [
        layer.activation.name
        for layer in graph.layers
        if isinstance(layer, ir.Convolution | ir.Linear)
        and layer.steps is not None
        and layer.activation is not None
    ]
    assert inside == ["relu", "clip", "relu"]


def test_tnn_executes_layers_with_all_ends(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = QuantizationOptions(calibration="synthetic", calibration_samples=3)
    config = ExportConfig(out_dir=tmp_path, precision="int8", quantization=options)
    module = Ends().eval()
    formats = [get_format("tnn")]
    report = export_program(lambda: make_source(module, size=32), "ends", formats, config)
    (artifact,) = report.artifacts
    notes = " ".join(artifact.parity.notes)
    assert "faithful to the plan: yes, its stored integers are equal" in notes, notes
    assert artifact.path is not None
    types = [line.split()[0].lstrip('"') for line in artifact.path.read_text().splitlines()[5:]]
    assert types.count("QuantizedConvolution") == 3
    assert types.count("QuantizedInnerProduct") == 2
    assert types.count("QuantizedReLU") == 1
    assert types.count("InnerProduct") == types.count("Convolution") == 1


class Grouped(nn.Module):
    """Convolutions one after the other, one of groups, a transposed one, rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2, 1)
        self.depth = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.point = nn.Conv2d(16, 16, 1)
        self.groups = nn.Conv2d(16, 32, 3, 1, 1, groups=4)
        self.up = nn.ConvTranspose2d(32, 8, 2, 2)
        self.rows = nn.Linear(8, 8)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.point(torch.relu(self.depth(torch.relu(self.first(x)))))
        x = torch.relu(self.groups(x))
        x = self.up(x)
        x = self.rows(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(1, 8, 32, 32)
        return self.last(torch.relu(x)).mean((2, 3))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportReport, ArtifactReport]:
    need("ncnn")
    torch.manual_seed(0)
    options = QuantizationOptions(calibration="synthetic", calibration_samples=3)
    config = ExportConfig(
        out_dir=tmp_path_factory.mktemp("ncnn"), precision="int8", quantization=options
    )
    module = Grouped().eval()
    formats = [get_format("ncnn")]
    report = export_program(lambda: make_source(module, size=32), "grouped", formats, config)
    return report, report.artifacts[0]


def test_ncnn_executes_what_can_be_integers(
    written: tuple[ExportReport, ArtifactReport],
) -> None:
    report, artifact = written
    notes = " ".join(artifact.parity.notes)
    assert "faithful to the plan: yes, its stored integers are equal" in notes, notes
    (explained,) = [each for each in report.passes if each.name == "plan of int8"]
    refused = {each.node: each.reason for each in explained.refusals}
    assert "wrong on x86" in refused["groups (conv2d_3)"]
    assert "transposed convolution has no integers" in refused["up (conv_transpose2d)"]


def test_integers_are_handed_on_between_convolutions(
    written: tuple[ExportReport, ArtifactReport],
) -> None:
    """The first gives integers to the second by the scale that the second reads them with."""
    path = written[1].path
    assert path is not None
    layers = read_param(path)
    found = read_integers(layers, path.with_suffix(".bin"))
    kinds = [each.layer.type for each in found]
    assert kinds.count("ConvolutionDepthWise") == 1  # the other one, of groups, is in float32
    assert len(found) == 5
    first, second, third = found[:3]
    assert gives_integers(first.layer)
    assert first.result == second.source
    assert gives_integers(second.layer)
    assert second.result == third.source
    assert len(second.scales) == 16
    assert not gives_integers(third.layer)  # what reads it computes in float32

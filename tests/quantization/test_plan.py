"""Plans: made, inserted, kept in a file, refused; against PyTorch's own quantised operators."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.errors import UsageError
from mobile_export.graph.program import Program
from mobile_export.graph.quantized import dequantized, is_quantization, quantized, tie_window
from mobile_export.passes.prove import float64_outputs
from mobile_export.quantization.insert import insert
from mobile_export.quantization.make import make_plan
from mobile_export.quantization.plan import (
    Chosen,
    QuantizationPlan,
    program_hash,
    read_plan,
    require_plan_of,
)
from mobile_export.quantization.quantized import explained
from mobile_export.quantization.spell import spell_out

from .nets import net, prepared, samples

CHOSEN = Chosen("least-squares", "synthetic")


@pytest.fixture(scope="module")
def program() -> Program:
    return spell_out(prepared())


@pytest.fixture(scope="module")
def plan(program: Program) -> QuantizationPlan:
    return make_plan(program, "int8", samples(program), CHOSEN)


def sqnr(exact: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.square(exact).sum() / np.square(exact - got).sum()))


@pytest.mark.parametrize("bits", [8, 16])
def test_integers_are_those_of_pytorch(bits: int) -> None:
    """`torch.quantize_per_tensor` and `torch.fake_quantize_per_channel_affine`, off the ties."""
    torch.manual_seed(0)
    x = torch.randn(4, 5) * 3
    ours = quantized(x, torch.tensor(0.05), torch.tensor(3), -128, 127, torch.int8)
    assert (ours == torch.quantize_per_tensor(x, 0.05, 3, torch.qint8).int_repr()).all()
    scale, zero = torch.tensor([0.1, 0.02, 0.3, 1.0]), torch.tensor([0, 5, -7, 1])
    limits = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    axis = (scale.view(4, 1), zero.view(4, 1))
    got = dequantized(quantized(x, *axis, *limits, torch.int32), *axis)
    theirs = torch.fake_quantize_per_channel_affine(x, scale, zero.int(), 0, *limits)
    assert torch.allclose(got.float(), theirs, atol=1e-6)


def test_every_quantised_tensor_is_on_its_grid(program: Program, plan: QuantizationPlan) -> None:
    """Run with PyTorch's own operators in float32, the program gives what float64 gives, but for
    the few numbers that lie on a tie."""
    rounded = insert(program, plan)
    for sample in samples(program, 6)[4:]:
        (exact,) = float64_outputs(rounded, sample.image)
        got = rounded.module()(sample.image).detach().numpy()
        step = plan.by_name("activation")[_output(program)].scale[0]
        assert np.abs(exact / step - np.rint(exact / step)).max() < 1e-9
        assert np.abs(exact - got).max() <= 1.001 * step


def _output(program: Program) -> str:
    (node,) = program.exported.graph.output_node().args[0]
    return str(node.name)


def test_the_plan_is_good(program: Program, plan: QuantizationPlan) -> None:
    for precision, least in (("int8", 20.0), ("int16", 35.0), ("int8-weights", 35.0)):
        made = (
            plan if precision == "int8" else make_plan(program, precision, samples(program), CHOSEN)
        )
        rounded = insert(program, made)
        for sample in samples(program, 6)[4:]:
            (a,), (b,) = (float64_outputs(p, sample.image) for p in (program, rounded))
            assert sqnr(a, b) > least, precision


def test_scales_are_shared_and_biases_are_products(plan: QuantizationPlan) -> None:
    activations = plan.by_name("activation")
    (cat,) = (each for name, each in activations.items() if name.startswith("cat"))
    (pool,) = (each for name, each in activations.items() if name.startswith("max_pool"))
    same = [each for each in activations.values() if each.scale == cat.scale]
    assert len(same) >= 3  # both operands and the result
    assert pool.scale in [each.scale for each in activations.values() if each is not pool]
    gates = [each for name, each in activations.items() if name.startswith("sigmoid")]
    assert gates
    assert all(each.scale == [1 / 256] and each.zero_point == [-128] for each in gates)
    for name, bias in plan.by_name("bias").items():
        weight = plan.by_name("weight")[name]
        source = bias.scale[0] / weight.scale[0]
        assert bias.scale == pytest.approx([each * source for each in weight.scale], rel=1e-6)
    assert [each.operator for each in plan.floating] == ["layer_norm"]
    assert len(plan.by_name("constant")) == 1


def test_what_an_activation_is_computed_with_has_no_scale(plan: QuantizationPlan) -> None:
    names = list(plan.by_name("activation"))
    assert "conv2d" not in names  # only ReLU reads it
    assert "relu" in names


def test_scales_of_16_bits_leave_the_weights_as_they_are() -> None:
    """The scale of a bias is 256 times finer than with 8 bits: its integers have more room."""

    class Offset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 8, 3)
            with torch.no_grad():
                self.layer.weight *= 0.1
                self.layer.bias[:] = 1.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.layer(x))

    torch.manual_seed(0)
    program = prepared(Offset().eval())
    chosen = Chosen("min-max", "synthetic")
    alone, fine = (
        make_plan(program, precision, samples(program), chosen).by_name("weight")["conv2d"]
        for precision in ("int8-weights", "int16")
    )
    assert fine.scale == alone.scale


def test_a_file_is_the_same_plan(plan: QuantizationPlan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(plan.to_json())
    assert read_plan(path) == plan
    assert read_plan(path).to_json() == plan.to_json()


def test_two_runs_make_the_same_plan(program: Program, plan: QuantizationPlan) -> None:
    again = make_plan(spell_out(prepared()), "int8", samples(program), CHOSEN)
    assert again == plan


def test_a_plan_of_another_program_is_refused(program: Program, plan: QuantizationPlan) -> None:
    require_plan_of(plan, program, "int8", Path("plan.json"))
    with pytest.raises(UsageError, match="of the precision int8, and int16"):
        require_plan_of(plan, program, "int16", Path("plan.json"))
    other = net()
    with torch.no_grad():
        next(other.parameters())[0, 0, 0, 0] += 1e-3
    changed = spell_out(prepared(other))
    assert program_hash(changed) != program_hash(program)
    with pytest.raises(UsageError, match="another version"):
        require_plan_of(plan, changed, "int8", Path("plan.json"))


def first(plan: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = plan["tensors"][0]
    return found


def weight(plan: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in plan["tensors"] if each["kind"] == "weight")
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda plan: first(plan).update(scale=[-1.0]), "scale"),
        (lambda plan: first(plan).update(scale=[0.1, 0.2]), "2 scales and 1 zero points"),
        (lambda plan: first(plan).update(zero_point=[300]), "no integer of 8 bits"),
        (lambda plan: first(plan).update(bits=7), "has 7 bits"),
        (lambda plan: first(plan).update(bits=6, zero_point=[0]), "6 bits and no palette"),
        (lambda plan: first(plan).update(block=4), "has blocks"),
        (lambda plan: first(plan).update(palette=[1.0, 2.0]), "constant p_shift has a palette"),
        (lambda plan: weight(plan).update(palette=[2.0, 1.0]), "not in ascending order"),
        (lambda plan: weight(plan).update(palette=[0.0] * 257), "palette"),
        (lambda plan: weight(plan).update(palette=[0.0, 1e39]), "not in ascending order"),
        (lambda plan: first(plan).update(shift=[0.5]), "1 shifts and is a"),
        (lambda plan: plan.update(program="x"), "program"),
        (lambda plan: plan.update(version=99), "version 99"),
        (lambda plan: plan.update(extra=1), "extra"),
        (lambda plan: plan["tensors"].append(first(plan)), "twice"),
    ],
)
def test_a_damaged_file_is_refused(
    change: Callable[[Any], None], said: str, plan: QuantizationPlan, tmp_path: Path
) -> None:
    facts = json.loads(plan.to_json())
    change(facts)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(facts))
    with pytest.raises(UsageError, match=r"is no quantisation plan") as raised:
        read_plan(path)
    assert said in raised.value.message


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(b"[" * 10_000)
    with pytest.raises(UsageError, match="is no quantisation plan"):
        read_plan(path)


def test_nan_names_the_sample_and_the_tensor() -> None:
    class Log(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x.log())

    torch.manual_seed(0)
    from ..passes.graphs import program_of

    program = program_of(Log().eval(), (1, 3, 8, 8))
    with pytest.raises(UsageError, match="NaN or infinity in log for the calibration sample s0"):
        make_plan(program, "int8", samples(program, 1), CHOSEN)


def test_a_model_without_layers_is_refused() -> None:
    from ..passes.graphs import program_of

    program = program_of(nn.ReLU().eval(), (1, 3, 8, 8))
    with pytest.raises(UsageError, match="no layer with stored weights"):
        make_plan(program, "int8", samples(program, 1), CHOSEN)


def test_ties_go_to_either_side() -> None:
    x = torch.full((1000,), 0.5)
    args = (torch.tensor(1.0), torch.tensor(0), -128, 127, torch.int8)
    assert (quantized(x, *args) == 0).all()  # ties to even
    with tie_window(0.01, seed=0):
        drawn = quantized(x, *args).float().mean()
        assert (quantized(x - 0.02, *args) == 0).all()
    assert 0.4 < drawn < 0.6
    assert (quantized(x, *args) == 0).all()


def test_the_program_calls_the_operators(program: Program, plan: QuantizationPlan) -> None:
    nodes = insert(program, plan).exported.graph.nodes
    assert sum(is_quantization(node) for node in nodes) >= 2 * len(plan.by_name("activation"))
    assert not any(is_quantization(node) for node in program.exported.graph.nodes)


def test_a_plan_is_explained(plan: QuantizationPlan) -> None:
    """Every tensor, and every operator in floating point with the reason."""
    report = explained(plan)
    assert len(report.changes) == len(plan.tensors)
    weight = next(each for each in report.changes if "weight" in each.what)
    assert "8 bits, 8 scales" in weight.what
    assert weight.node.startswith("stem (")
    said = {each.node: each.reason for each in report.refusals}
    assert len(said) == len(plan.floating)
    assert any("layer_norm stays in floating point: the mean" in each for each in said.values())


class Uneven(nn.Module):
    """A first layer of few weights, one of as few that is late, and one that makes the file."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 4)
        self.wide = nn.Conv2d(8, wide, 3, 4)
        self.last = nn.Conv2d(wide, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.wide(torch.relu(self.first(x))))
        y: torch.Tensor = self.last(x)
        return y.mean((2, 3))


@pytest.mark.parametrize("precision", ["int8-weights", "int8-dynamic", "int8"])
@pytest.mark.parametrize("wide", [8, 1024])
def test_few_weights_stay_float32_where_that_costs_little(precision: str, wide: int) -> None:
    """216 of 75,000 weights: 648 - 32 bytes are 0.8 % of the file, with 1,024 more it would be 5 %.

    In a small network the same layer would be more than 1 %; kernels of integers want all layers.
    """
    torch.manual_seed(0)
    program = prepared(Uneven(wide).eval())
    plan = make_plan(program, precision, samples(program, 1), CHOSEN)
    left = [each.module for each in plan.floating if each.operator == "conv2d"]
    expected = ["first"] if (precision, wide) == ("int8-weights", 1024) else []
    assert left == expected
    assert len(plan.by_name("weight")) == 3 - len(left)
    if left:
        (said,) = explained(plan).refusals
        assert "conv2d stays in floating point: its 216 weights are few: 0.78%" in said.reason
        insert(program, plan)

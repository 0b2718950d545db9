"""Mixed precision: the ranking, the fewest layers, and what does not help."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.graph.program import Program
from mobile_export.graph.specs import OutputSpec
from mobile_export.passes.prove import float64_outputs
from mobile_export.quantization.insert import insert
from mobile_export.quantization.make import make_plan
from mobile_export.quantization.options import QuantizationOptions
from mobile_export.quantization.plan import Chosen, QuantizationPlan, read_plan
from mobile_export.quantization.sensitivity import ranked, with_layers_left

from .nets import prepared, samples

CHOSEN = Chosen("min-max", "synthetic")


class Uneven(nn.Module):
    """The second layer of four has in each channel one weight that makes the others' steps wide."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 16, 16, 16)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths)
        )
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            for index, row in enumerate(self.layers[1].weight):
                row[index % 16, 0, 0] = 30.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    made = prepared(Uneven().eval())
    return dataclasses.replace(made, outputs=(OutputSpec("scores", (1, 10)),))


@pytest.fixture(scope="module")
def plan(program: Program) -> QuantizationPlan:
    return make_plan(program, "int16", samples(program, 8), CHOSEN)


def sqnr_of(exact: np.ndarray, got: np.ndarray) -> float:
    """Of what changes with the sample."""
    return float(10 * np.log10(exact.var(0).sum() / (got - exact).var(0).sum()))


def sqnr_alone(program: Program, plan: QuantizationPlan, name: str) -> float:
    """In float64, of the weights of one layer."""
    tensors = [plan.by_name("weight")[name], plan.by_name("bias")[name]]
    alone = insert(program, msgspec.structs.replace(plan, tensors=tensors))
    got, exact = (
        np.concatenate([float64_outputs(one, each.image)[0] for each in samples(program)])
        for one in (alone, program)
    )
    return sqnr_of(exact, got)


def test_the_worst_layer_is_first(program: Program, plan: QuantizationPlan) -> None:
    ranking = ranked(program, plan, samples(program))
    assert ranking[0].name == "conv2d_1"
    assert len(ranking) == len(plan.by_name("weight")) == 5
    for each in ranking[:2]:  # in float32 there, in float64 here
        assert each.sqnr == pytest.approx(sqnr_alone(program, plan, each.name), abs=0.1)


def test_a_gate_that_holds_leaves_no_layer(program: Program, plan: QuantizationPlan) -> None:
    options = QuantizationOptions(sqnr=1.0)
    assert with_layers_left(program, plan, samples(program), options) is plan


def test_the_fewest_layers_are_left(program: Program, plan: QuantizationPlan) -> None:
    given = samples(program, 8)
    ranking = ranked(program, plan, given)
    options = QuantizationOptions(sqnr=(ranking[0].sqnr + ranking[1].sqnr) / 2)
    mixed = with_layers_left(program, plan, given, options)
    left = set(plan.by_name("weight")) - set(mixed.by_name("weight"))
    assert left == {ranking[0].name}
    assert set(plan.by_name("bias")) - set(mixed.by_name("bias")) == left
    assert mixed.by_name("activation") == plan.by_name("activation")
    assert [each.name for each in mixed.floating if "for the gate" in each.why] == list(left)
    assert mixed.sensitivity == ranking


def test_what_weights_cannot_mend_is_left_as_it_is(
    program: Program, plan: QuantizationPlan
) -> None:
    options = QuantizationOptions(sqnr=200.0)
    same = with_layers_left(program, plan, samples(program), options)
    assert same.tensors == plan.tensors
    assert len(same.sensitivity) == 5


def test_a_ranking_is_in_the_file(program: Program, plan: QuantizationPlan, tmp_path: Path) -> None:
    options = QuantizationOptions(sqnr=200.0)
    kept = with_layers_left(program, plan, samples(program), options)
    (tmp_path / "plan.json").write_bytes(kept.to_json())
    assert read_plan(tmp_path / "plan.json") == kept

"""Roundings that change nothing: what is left computes the same, and what would change stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobile_export.graph.editor import GraphEditor
from mobile_export.graph.program import Program
from mobile_export.graph.quantized import is_quantization
from mobile_export.graph.roundings import free_clamps, free_pads
from mobile_export.passes.prove import float64_outputs
from mobile_export.quantization.insert import insert
from mobile_export.quantization.make import make_plan
from mobile_export.quantization.plan import Chosen
from tests.quantization.nets import prepared, samples

functional = nn.functional


class Padding(nn.Module):
    """A convolution of what ``pad`` gives."""

    def __init__(self, **how: object) -> None:
        super().__init__()
        self.how = how
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(x, (1, 0, 2, 1), **self.how)  # type: ignore[arg-type]
        x = self.conv(x)
        return x.mean((2, 3))


class Twice(nn.Module):
    """A pad that two convolutions read."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(x, (1, 0, 1, 0))
        return (self.one(x) * self.other(x)).mean((2, 3))


class Clamped(nn.Module):
    """ReLU6 behind a layer, and a ReLU whose result shares a scale with numbers below zero."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu6(self.one(x))
        y = self.other(x)
        return torch.cat([functional.relu(y), self.other(y)], 1).mean((2, 3))


def rounded(module: nn.Module) -> Program:
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    program = prepared(module.eval())
    plan = make_plan(program, "int8", samples(program, 2), Chosen("min-max", "synthetic"))
    return insert(program, plan)


def calls(program: Program, *names: str) -> list[torch.fx.Node]:
    nodes = program.exported.graph.nodes
    return [n for n in nodes if getattr(n.target, "_opname", "") in names]


def same(a: Program, b: Program) -> bool:
    given = samples(a, 1)[0].all_given(pixels=False)
    outputs = (float64_outputs(each, *given) for each in (a, b))
    return all((x == y).all() for x, y in zip(*outputs, strict=True))


def without(program: Program) -> Program:
    graph = GraphEditor(program)
    free_clamps(graph)
    free_pads(graph, lambda conv, pads: True)
    return graph.result().program


def test_zeros_around_a_tensor_are_on_its_grid() -> None:
    program = rounded(Padding())
    seen: list[object] = []
    graph = GraphEditor(program)

    def take(conv: object, pads: object) -> bool:
        seen.append(pads)
        return True

    free_pads(graph, take)
    found = graph.result().program
    assert seen == [((2, 1), (1, 0))]
    assert same(found, program)
    (pad,) = calls(found, "pad", "constant_pad_nd")
    (user,) = pad.users
    assert not is_quantization(user)


@pytest.mark.parametrize(
    "module", [Padding(value=0.5), Padding(mode="reflect"), Twice()], ids=["value", "mode", "twice"]
)
def test_another_pad_is_left(module: nn.Module) -> None:
    program = rounded(module)
    graph = GraphEditor(program)
    free_pads(graph, lambda conv, pads: True)
    assert graph.result().program is program


def test_a_format_may_leave_a_pad() -> None:
    program = rounded(Padding())
    graph = GraphEditor(program)
    free_pads(graph, lambda conv, pads: False)
    assert graph.result().program is program


def test_a_clamp_that_integers_have_anyway() -> None:
    program = rounded(Clamped())
    found = without(program)
    assert [len(calls(program, name)) for name in ("relu6", "relu")] == [1, 1]
    assert [len(calls(found, name)) for name in ("relu6", "relu")] == [0, 1]
    assert same(found, program)

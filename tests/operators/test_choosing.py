"""Choices whose branches are no number where they are not chosen, against eager float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mobile_export.graph.capture import trace
from mobile_export.operators.choosing import chooses_undefined
from tests.conftest import make_source
from tests.operators.test_decompose import Calls, stays, written

Function = Callable[[torch.Tensor], torch.Tensor]

UNDEFINED: dict[str, Function] = {
    "log": lambda x: torch.where(x > 0.2, x.log() * x, -x),
    "root": lambda x: torch.where(x > 0, x, (-x).sqrt()),
    "fraction": lambda x: torch.where(x != 0, x / x.relu().sub(0.1).relu(), 7.0).clamp(-9, 9),
    "mask": lambda x: (x - x.log()).masked_fill(x <= 0.1, 0.5),
    "power": lambda x: torch.where(x > 0.3, (x - 0.3) ** 0.5 + 1, x),
    "nested": lambda x: torch.where(x > 0.2, torch.where(x > 1, x.log(), x.log1p()), 0.0),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_what_is_not_chosen_is_a_number(name: str) -> None:
    """The result of every call is finite: mask · x + (1 - mask) · y is then the choice."""
    result = written(UNDEFINED[name], (1, 3, 6, 6))
    if name == "fraction":
        return  # the model itself divides by 0 where it chooses
    module = result.program.exported.module()

    class Finite(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            value = super().run_node(n)
            if isinstance(value, torch.Tensor):
                assert value.isfinite().all(), n
            return value

    Finite(module).run(torch.linspace(-2, 2, 108).reshape(1, 3, 6, 6))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.where(x > 0, x.exp(), x / 3.0),
        lambda x: torch.where(x > 0, x**2, x.sigmoid()),
        lambda x: (x @ x).masked_fill(x > 0, -float("inf")).softmax(-1),
    ],
)
def test_other_choices_stay(function: Function) -> None:
    stays(function, (1, 3, 6, 6))


def test_it_is_written_once() -> None:
    program = written(UNDEFINED["log"], (1, 3, 6, 6)).program
    choices = [n for n in program.exported.graph.nodes if "where" in str(n.target)]
    assert len(choices) == 2
    assert not any(chooses_undefined(node) for node in choices)


def test_a_branch_that_is_used_elsewhere_stays_as_well() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = (x.abs() + 1).log()
        return torch.where(x > 0, y, x) + y.mean()

    assert trace(make_source(Calls(function), (6, 6)))
    written(function, (1, 3, 6, 6))

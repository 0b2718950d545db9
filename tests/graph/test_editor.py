"""Names of stored tensors that are added to a graph: PyTorch reads them as paths of modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx import Node

from mobile_export.graph.editor import GraphEditor
from tests.passes.graphs import program_of


class Net(nn.Module):
    """One weight, called ``layer.weight``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x).relu()
        return y


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("layer.weight",), ["layer.weight_1"]),
        (("layer.weight.bias",), ["layer.weight_bias"]),
        (("layer.weight.bias.zeros",), ["layer.weight_bias_zeros"]),
        (("layer",), ["layer_1"]),
        (("to", "half.code"), ["to_", "half_.code_"]),
        (("new.a", "new", "new.a.b", "new.a"), ["new.a", "new_1", "new.a_b", "new.a_1"]),
    ],
)
def test_no_name_is_inside_another(asked: tuple[str, ...], expected: list[str]) -> None:
    """And PyTorch can make a module of the program, which computes with each of them."""
    graph = GraphEditor(program_of(Net().eval(), (1, 4)))
    nodes = [graph.add_constant(torch.full((4,), float(i + 1)), n) for i, n in enumerate(asked)]
    assert [graph.name_of(node) for node in nodes] == expected
    (relu,) = graph.find(torch.ops.aten.relu.default)
    total = relu.args[0]
    assert isinstance(total, Node)
    for node in nodes:
        total = graph.call(torch.ops.aten.add.Tensor, total, node, like=relu)
    graph.replace(relu, total, "sums")
    exported = graph.result().program.exported
    x = torch.rand(1, 4)
    weight = exported.state_dict["layer.weight"]
    expected_sum = x @ weight.T + sum(range(1, len(asked) + 1))
    torch.testing.assert_close(exported.module()(x), expected_sum)

"""Rules that undo each other are stopped and named, in every pass that runs rules in rounds."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import nn
from torch.fx import Node

from mobile_export.errors import PassError
from mobile_export.graph.editor import GraphEditor
from mobile_export.graph.rounds import in_turn, settle
from mobile_export.passes import fold_scales, move_less, order_products, remove_noops
from mobile_export.passes.normalize_ops import normalize_ops
from tests.passes.graphs import program_of

aten = torch.ops.aten


def test_ends_after_a_round_without_changes() -> None:
    left = [3, 1, 0]
    rounds = []

    def one_round() -> list[str]:
        rounds.append(left[0])
        return ["a"] if left.pop(0) else []

    settle("a pass", one_round)
    assert rounds == [3, 1, 0]


def test_rules_that_still_fire_are_named() -> None:
    with pytest.raises(
        PassError, match=r"some_pass .* round 5 .* changed by left, right"
    ) as caught:
        settle("some_pass", lambda: ["left", "right"], most=5)
    assert "Leave some_pass out with `no_passes`" in (caught.value.hint or "")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x.transpose(1, 2)).relu() * 2
        return y @ y.transpose(1, 2)


def test_in_turn_reports_what_changed_the_graph() -> None:
    graph = GraphEditor(normalize_ops(program_of(Net().eval(), (1, 4, 4))).program)
    (node,) = graph.find(aten.relu.default)

    def change() -> None:
        graph.changed(node, "changed")

    rules = {"idle": lambda: None, "busy": change}
    assert in_turn(graph, rules)() == ["busy"]


def fires(graph: GraphEditor, node: Node, *_: object) -> None:
    graph.changed(node, "changed for ever")


@pytest.mark.parametrize(
    ("module", "rule", "named"),
    [
        (fold_scales, "_fold", "factors and offsets"),
        (order_products, "_order_chain", "chains of products"),
        (order_products, "layer_after_product", "layers after products"),
        (move_less, "_move_later", "elementwise before permutes"),
        (move_less, "keep_stack", "batch dimensions of attention"),
    ],
)
def test_every_pass_that_runs_in_rounds_ends(
    module: ModuleType, rule: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = normalize_ops(program_of(Net().eval(), (1, 4, 4))).program
    monkeypatch.setattr(module, rule, fires)
    function = getattr(module, module.__name__.split(".")[-1])
    with pytest.raises(PassError, match=f"{function.__name__} does not end.*{named}"):
        function(program)


def test_remove_noops_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    program = normalize_ops(program_of(Net().eval(), (1, 4, 4))).program

    def again(graph: GraphEditor, node: Node) -> Node:
        return graph.call(node.target, *node.args, like=node)

    monkeypatch.setitem(remove_noops._RULES, aten.relu.default, again)
    with pytest.raises(PassError, match=r"remove_noops does not end.*aten.relu.default"):
        remove_noops.remove_noops(program)

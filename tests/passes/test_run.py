"""The proof around the passes: a wrong rewrite and a wrong capture never get through."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mobile_export.errors import PassError, SourceError, TraceError
from mobile_export.graph.capture import trace
from mobile_export.graph.editor import GraphEditor
from mobile_export.graph.program import Program
from mobile_export.lowering.builder import Builder
from mobile_export.operators.core import conversion_error
from mobile_export.operators.decompose import OPERATORS
from mobile_export.parity.reference import Reference, make_reference
from mobile_export.parity.samples import parity_samples
from mobile_export.passes import PASSES, Change, PassResult, PassRunner, run, run_passes
from mobile_export.sources.table import Source
from tests.conftest import make_source


def reference_of(source: Source) -> Reference:
    return make_reference(source.module, parity_samples(source.input))


class Scaled(nn.Module):
    """The model times one and a millionth: what an inexact rewrite looks like."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x) * (1 + 1e-6)


def scale_slightly(program: Program) -> PassResult:
    """A wrong pass."""
    wrapped = Scaled(program.module())
    exported = torch.export.export(wrapped, (program.example,), strict=False)
    return PassResult(replace(program, exported=exported), (Change("mul", "scaled"),))


def do_nothing(program: Program) -> PassResult:
    """A right pass."""
    return PassResult(program)


def test_the_registered_passes_prove_themselves(source: Source, program: Program) -> None:
    rewritten, reports = run_passes(program, reference_of(source), PASSES)
    assert len(reports) == len(PASSES)
    assert rewritten.outputs == program.outputs


def test_an_inexact_pass_is_named_and_stops_the_run(source: Source, program: Program) -> None:
    with pytest.raises(PassError, match="scale_slightly"):
        run_passes(program, reference_of(source), (do_nothing, scale_slightly))


def crash(program: Program) -> PassResult:
    """A pass with a bug."""
    raise KeyError("conv2d")


def test_a_pass_that_crashes_is_named(source: Source, program: Program) -> None:
    with pytest.raises(PassError, match=r"crash failed on TinyNet: KeyError") as caught:
        run_passes(program, reference_of(source), (crash,))
    assert "crash out with `no_passes`" in str(caught.value)


def crash_at_a_call(program: Program) -> PassResult:
    """A pass with a bug in what it makes of one call."""
    for node in program.exported.graph.nodes:
        if node.op == "call_function" and "batch_norm" in str(node.target):
            raise KeyError("running_var")
    return PassResult(program)


def test_the_call_at_which_a_pass_crashes_is_named(
    source: Source, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "__name__", "mobile_export.passes.crash_at_a_call")
    first = next(n for n in program.exported.graph.nodes if "batch_norm" in str(n.target))
    module = next(reversed(first.meta["nn_module_stack"].values()))[0]
    with pytest.raises(PassError) as caught:
        run_passes(program, reference_of(source), (crash_at_a_call,))
    message = str(caught.value)
    assert f"at aten.batch_norm at {module} ({first.name}), File " in message
    assert ": KeyError: 'running_var'" in message


def test_a_rule_of_operators_that_crashes_leaves_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """One operator's failure does not lose the formats that take it; the others name it."""

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.celu(x) + torch.hypot(x, x)

    def broken(graph: GraphEditor, node: Any) -> None:
        raise IndexError("axis 7")

    monkeypatch.setitem(OPERATORS, torch.ops.aten.hypot.default, broken)
    source = make_source(Net(), (8, 8))
    program, (report, *_) = run_passes(trace(source), reference_of(source), PASSES)
    assert report.name == "operators"
    assert [c.what for c in report.changes if "failed" in c.what] == [
        "left as it is: its rule failed: IndexError: axis 7"
    ]
    (left,) = [n for n in program.exported.graph.nodes if "hypot" in str(n.target)]
    message = conversion_error(program, "ONNX", "torch.onnx", ValueError("")).message
    assert "(its rule failed: IndexError: axis 7; please report it)" in message
    assert "File " in message
    builder = Builder()
    builder.node = left
    assert "IndexError: axis 7" in str(builder.refuse("there is no rule for it"))


def test_reports_are_in_order(source: Source, program: Program) -> None:
    _, reports = run_passes(program, reference_of(source), (do_nothing, do_nothing))
    assert [report.name for report in reports] == ["do_nothing", "do_nothing"]


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + torch.rand(x.shape)).mean((2, 3))


class Counting(nn.Module):
    """Changes its own state on every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x.mean((2, 3)) * self.calls


@pytest.mark.parametrize("module", [Noisy(), Counting()], ids=["random", "stateful"])
def test_a_capture_that_is_not_the_model_is_refused(module: nn.Module) -> None:
    source = make_source(module)
    program = trace(source)
    with pytest.raises(TraceError, match="differs from the eager model"):
        run_passes(program, reference_of(source), ())


class Background(nn.Module):
    """coremltools 1726: a running background."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1, 3, 32, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = (x - self.seen).relu()
        self.seen[:, :2].mul_(0.9).add_(0.1 * x[:, :2])
        return out


class Dropping(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, 0.3, training=False) + nn.functional.dropout(x * 2, 0.3)


@pytest.mark.parametrize(
    ("module", "calls"),
    [(Noisy(), ["rand"]), (Background(), ["mul_", "add_"]), (Dropping(), ["dropout"])],
)
def test_what_makes_a_capture_another_model_is_named(module: nn.Module, calls: list[str]) -> None:
    source = make_source(module)
    with pytest.raises(TraceError) as caught:
        run_passes(trace(source), reference_of(source), ())
    assert caught.value.hint is not None
    assert re.findall(r"aten\.(\w+)", caught.value.hint) == calls
    assert "test_run.py" in caught.value.hint


@pytest.mark.parametrize(
    ("statistic", "value"),
    [("running_var", -1.0), ("running_var", math.nan), ("running_mean", math.nan)],
)
def test_statistics_that_give_nan_are_named(statistic: str, value: float) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    source = make_source(module)
    broken: nn.Module = source.module
    broken[1].get_buffer(statistic)[0] = value  # type: ignore[index]
    with pytest.raises(SourceError, match=rf"returns NaN.*\n.*'1.{statistic}'"):
        run_passes(trace(source), reference_of(source), PASSES)


@pytest.mark.parametrize("value", [0.0, 1e-30, math.inf])
def test_extreme_variances_are_exact(value: float) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    source = make_source(module)
    module = source.module
    module[1].get_buffer("running_var")[0] = value  # type: ignore[operator]
    run_passes(trace(source), reference_of(source), PASSES)


def test_reports_say_which_formats_they_are_of() -> None:
    from mobile_export.passes import PassReport
    from mobile_export.pipeline.reports import by_format

    same, other = PassReport("fold", (), ()), PassReport("fold", (Change("a", "b"),), ())
    only = PassReport("split", (), ())
    assert by_format({"one": (same, only), "two": (same,)}) == (
        same,
        replace(only, formats=("one",)),
    )
    assert by_format({"one": (same,), "two": (other,)}) == (
        replace(same, formats=("one",)),
        replace(other, formats=("two",)),
    )


def test_what_lists_have_in_common_is_run_once(source: Source, program: Program) -> None:
    runner = PassRunner(program, reference_of(source))
    first, _ = runner.run(PASSES[:-1])
    again, _ = runner.run((*PASSES[:-1], do_nothing))
    assert again is first
    alone, _ = run_passes(program, reference_of(source), PASSES)
    after, _ = runner.run(PASSES)
    assert str(after.exported.graph) == str(alone.exported.graph)


def test_passes_that_undo_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rules that turn addition into subtraction of the negative, and back."""
    aten = torch.ops.aten

    class Sum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.relu()

    def subtract(program: Program) -> PassResult:
        graph = GraphEditor(program)
        for node in graph.find(aten.add.Tensor):
            first, second = node.args
            negative = graph.call(aten.neg.default, second, like=node)
            graph.replace(node, graph.call(aten.sub.Tensor, first, negative, like=node), "minus")
        return graph.result()

    def add(program: Program) -> PassResult:
        graph = GraphEditor(program)
        for node in graph.find(aten.sub.Tensor):
            first, second = node.args
            graph.replace(node, graph.call(aten.add.Tensor, first, second.args[0], like=node), "+")
        return graph.result()

    monkeypatch.setattr(run, "stage_of", lambda function: "rounds")
    source = make_source(Sum())
    reference = make_reference(source.module, parity_samples(source.input))
    with pytest.raises(PassError, match=r"does not end: in round 20 .* by subtract, add"):
        run_passes(trace(source), reference, (subtract, add))


def test_progress_names_each_pass_before_it_runs() -> None:
    source = make_source()
    said: list[str] = []
    order: list[tuple[str, int]] = []

    def looked_at(program: Program) -> PassResult:
        order.append((said[-1], len(program.exported.graph.nodes)))
        return PassResult(program)

    def failing(program: Program) -> PassResult:
        raise MemoryError

    program = trace(source)
    runner = PassRunner(program, reference_of(source), said.append)
    runner.run((*PASSES, looked_at))
    ((stage, nodes),) = order
    assert stage == f"passes: looked_at, {nodes} nodes"
    assert said[0].startswith("passes: normalize_ops, ")
    assert said[-1] == "passes: the proof in float64"
    with pytest.raises(PassError, match="failing"):
        runner.run((*PASSES, failing))
    assert said[-1].startswith("passes: failing, "), "the one at work is what is on the screen"

"""`prepare` as an API and as a command, ``--explain`` and ``--no-pass``; all passes together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import mobile_export
from mobile_export.cli.main import app
from mobile_export.errors import UsageError
from mobile_export.graph.program import Program
from mobile_export.parity.reference import make_reference
from mobile_export.parity.samples import parity_samples
from mobile_export.passes import PASSES, run_passes, select_passes
from mobile_export.sources.table import Source
from tests.passes.graphs import busy, ops


class Block(nn.Module):
    """Three branches, a layer scale and an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3))
        self.point = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3))
        self.same = nn.BatchNorm2d(3)
        self.register_buffer("gamma", torch.tensor([0.5, 1.0, 2.0]).reshape(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.gamma * (self.wide(x) + self.point(x) + self.same(x))
        return torch.relu_(y).mean((2, 3))


def test_prepare_folds_and_leaves_the_module_alone() -> None:
    module = busy(Block())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    program = mobile_export.prepare(module, torch.zeros(1, 3, 16, 24))
    assert ops(program) == {"conv2d": 1, "relu": 1, "mean": 1}
    assert program.input.shape == (1, 3, 16, 24)
    folded = program.module()
    assert isinstance(folded, nn.Module)
    assert all(p.dtype == torch.float32 for p in folded.state_dict().values())
    x = torch.randn(1, 3, 16, 24)
    torch.testing.assert_close(folded(x), module(x), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_prepare_explains() -> None:
    reports = []
    mobile_export.prepare(busy(Block()), torch.zeros(1, 3, 8, 8), explain=reports.append)
    assert [report.name for report in reports] == [function.__name__ for function in PASSES]
    merged = next(report for report in reports if report.name == "merge_branches")
    assert "3 parallel linear branches merged" in {change.what for change in merged.changes}


def test_a_pass_can_be_left_out() -> None:
    example = torch.zeros(1, 3, 8, 8)
    kept = mobile_export.prepare(busy(Block()), example, no_passes=["merge_branches"])
    assert ops(kept)["conv2d"] == 2
    with pytest.raises(UsageError, match="no pass 'merge'"):
        mobile_export.prepare(busy(Block()), example, no_passes=["merge"])
    assert len(select_passes(["fold_norms"])) == len(PASSES) - 1


def test_prepare_takes_the_batch_of_the_example() -> None:
    assert mobile_export.prepare(busy(Block()), torch.zeros(2, 3, 8, 8)).input.shape[0] == 2
    with pytest.raises(UsageError, match=r"The example has shape \(3, 8, 8\)"):
        mobile_export.prepare(busy(Block()), torch.zeros(3, 8, 8))


def test_all_passes_twice_change_nothing(source: Source, program: Program) -> None:
    reference = make_reference(source.module, parity_samples(source.input)[:1])
    once, _ = run_passes(program, reference)
    for function in PASSES:
        assert function(once).changes == (), function.__name__


def test_the_command_saves_a_program_that_loads(tmp_path: Path) -> None:
    from tests.conftest import load_source

    file = tmp_path / "model.pt2"
    given = ["prepare", "emo_1m", "--size", "64", "-o", str(file), "--json"]
    result = CliRunner().invoke(app, given, catch_exceptions=False)
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["file"] == str(file)
    assert any(done["changes"] for done in facts["passes"])
    assert load_source(str(file)).input.shape == (1, 3, 64, 64)
    assert (tmp_path / "model.pt2.manifest.json").exists()


def test_explain_prints_nodes(tmp_path: Path) -> None:
    given = ["prepare", "emo_1m", "--size", "64", "-o", str(tmp_path / "m.pt2"), "--explain"]
    result = CliRunner().invoke(app, [*given, "--no-pass", "move_less"], catch_exceptions=False)
    # Of emo_1m: 21 batch norms, and the three layer norms that no padding of windows follows.
    assert "fold_norms: 24 changes, 9 refusals" in result.stdout
    assert "stage3.1.norm.norm (layer_norm_1): its weights stay" in result.stdout
    assert "folded into" in result.stdout
    assert "move_less" not in result.stdout

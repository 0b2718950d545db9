"""Values that float16 cannot hold are named, with module, operation and magnitude."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from mobile_export import api
from mobile_export.cli.main import app
from mobile_export.exporters.ncnn.session import load
from mobile_export.graph.capture import trace
from mobile_export.parity.overflow import (
    Overflow,
    beyond_float16,
    in_the_model,
    largest_of_each,
    overflow_note,
)
from mobile_export.parity.samples import Sample, parity_samples
from mobile_export.parity.session import Tensor
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source
from tests.conftest import make_source


def tensor(name: str, value: float, *inputs: str) -> Tensor:
    return Tensor(name, inputs, np.full((2, 2), value, np.float32), "net.norm", "mul")


def test_the_first_of_its_kind_is_named() -> None:
    tensors = [tensor("a", 65504.0, "x"), tensor("b", -7e4, "a"), tensor("c", 9e4, "b")]
    assert list(beyond_float16(tensors)) == [Overflow("mul", "b", 7e4, "net.norm")]
    assert str(Overflow("mul", "b", 7e4, "net.norm")) == "mul 'b' in module 'net.norm' (7e+04)"


def test_what_is_no_number_is_named_unless_it_is_stored() -> None:
    stored, masked = tensor("mask", -math.inf), tensor("masked", -math.inf, "scores", "mask")
    assert list(beyond_float16([stored, masked])) == []
    (found,) = beyond_float16([tensor("a", math.nan, "x")])
    assert math.isnan(found.magnitude)


def test_the_largest_of_several_runs() -> None:
    found = [Overflow("mul", "a", 7e4), Overflow("add", "b", 8e4), Overflow("mul", "a", 9e4)]
    assert largest_of_each(found) == (found[2], found[1])
    note = overflow_note([found[0]] * 5, "do this")
    assert note.startswith("float16 overflows (its largest number is 65504): mul 'a' (7e+04), ")
    assert note.endswith(" and 2 more; do this")


class Grows(nn.Module):
    """``stem`` holds a weight of 10⁵; ``blow`` makes 2 · 10⁵ of what float16 holds."""

    def __init__(self, *, weight: float, gain: float) -> None:
        super().__init__()
        self.stem, self.blow = nn.Conv2d(3, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.stem.weight, weight)
        nn.init.constant_(self.blow.weight, gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blow(self.stem(x)) * 1e-6


def test_what_is_too_large_in_the_model_is_named_by_operator_and_module() -> None:
    ones = Sample("ones", torch.ones(1, 3, 4, 4))
    weights = trace(make_source(Grows(weight=1e5, gain=1.0), size=(4, 4)))
    assert in_the_model(weights, [ones]) == (
        "in the model these are the weight 'stem_weight' in module 'stem' (1e+05)",
    )
    results = trace(make_source(Grows(weight=1.0, gain=5e4), size=(4, 4)))
    (note,) = in_the_model(results, [ones])  # 3 · 5e4
    assert (
        note == "in the model these are aten.conv2d.default 'conv2d_1' in module 'blow' (1.5e+05)"
    )
    assert in_the_model(trace(make_source(nn.ReLU(), size=(4, 4))), [ones]) == ()


class Together(Grows):
    """Two images."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return super().forward(left + right)


def test_what_is_too_large_is_named_of_a_model_of_two_inputs() -> None:
    shapes = {"left": (1, 3, 4, 4), "right": (1, 3, 4, 4)}
    request = ModelRequest.of(Together(weight=1.0, gain=5e4).eval(), input=shapes)
    program = trace(load_source(request))
    ones = Sample("ones", torch.ones(1, 3, 4, 4), others={"right": torch.ones(1, 3, 4, 4)})
    (note,) = in_the_model(program, [ones])  # 2 · 3 · 5e4
    assert note.endswith("blow' (3e+05)")


class Cancels(nn.Module):
    """The bits of float16 go into 256, where its step is a quarter; those of float32 do not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(torch.relu(torch.tanh(self.stem(x)) + 256.0) - 256.0)
        return y


def without_masks(source: Path, target: Path) -> Path:
    """A copy of an ncnn file without its masks (``31=``), which keep layers in float32."""
    target.write_text(re.sub(r" 31=\d+", "", source.read_text()))
    shutil.copy(source.with_suffix(".bin"), target.with_suffix(".bin"))
    return target


class Powers(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.square().square() * 1e3


class Big(nn.Module):
    """Around 1e6 in module ``powers``, and nothing large at the end."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.powers, self.head = nn.Conv2d(3, 8, 4, 4), Powers(), nn.Conv2d(8, 5, 1)
        with torch.no_grad():
            self.stem.weight.mul_(20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.powers(torch.relu(self.stem(x)))
        y = self.head((y / 1e3 + 1.0).log())
        return y.mean((2, 3))


@pytest.mark.parametrize(
    ("name", "advice"), [("tnn", "PRECISION_HIGH"), ("coreml", "fp32"), ("tflite", "GPU delegate")]
)
def test_files_of_float16(name: str, advice: str, tmp_path: Path) -> None:
    library = {"coreml": "coremltools", "tflite": "litert_torch"}.get(name)
    if library:
        pytest.importorskip(library)
    report = api.export(Big(), name, tmp_path, size=16, precision="fp16", keep_failed=True)
    (artifact,) = report.artifacts
    (note,) = [note for note in artifact.parity.notes if "float16 overflows" in note]
    assert advice in note
    assert "e+0" in note
    if name != "tflite":  # its names hold modules themselves
        assert "in module 'powers'" in note


def test_ncnn_masks_what_would_overflow(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    (artifact,) = api.export(Big(), "ncnn", tmp_path, size=16).artifacts
    assert artifact.parity.passed
    assert not [note for note in artifact.parity.notes if "float16 overflows" in note]
    assert artifact.path is not None
    unmasked = without_masks(artifact.path, tmp_path / "unmasked.ncnn.param")
    program = api.prepare(Big(), size=16)
    session = load(unmasked, program.outputs)
    (note,) = session.overflow_notes(parity_samples(program.input))
    assert re.search(r"UnaryOp 'square_1' in module 'powers' \(1\.\d+e\+06\)", note)
    assert "net.opt.use_fp16_storage" in note


def test_ncnn_file_that_is_right_in_float32_only(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    report = api.export(Cancels(), "ncnn", tmp_path, name="net", size=16)
    (artifact,) = report.artifacts
    parity = artifact.parity
    assert (parity.status, parity.variants[0].status) == ("passed", "inconclusive")
    assert (parity.usable, parity.only_some, parity.passed) == (True, True, False)
    assert report.exit_code == 1
    assert artifact.path is not None
    assert {file.name for file in artifact.path.parent.iterdir()} == {
        file.name for file in artifact.files
    }
    (note,) = [note for note in parity.notes if note.startswith("right in ncnn")]
    assert "net.opt.use_fp16_arithmetic = false" in note
    stored = json.loads(next(f for f in artifact.files if f.suffix == ".json").read_text())
    assert stored["parity"]["passed"] is False
    assert stored["parity"]["verdict"] == "passed"
    assert [other["verdict"] for other in stored["parity"]["others"]] == ["inconclusive"]
    assert note in stored["parity"]["notes"]


def test_verify_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ncnn")
    (artifact,) = api.export(Cancels(), "ncnn", tmp_path, name="net", size=16).artifacts
    assert artifact.path is not None
    module = "tests.parity.test_overflow:Cancels"
    arguments = ["verify", str(artifact.path), module, "--size", "16", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    parity = json.loads(result.stdout)["parity"]
    assert (parity["passed"], parity["verdict"]) == (False, "passed")
    assert any(note.startswith("right in ncnn") for note in parity["notes"])

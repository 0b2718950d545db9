"""float16 that overflows, and operations whose meaning is not settled, are named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mil_build import coremltools, program_of
from torch import nn

from mobile_export import api
from mobile_export.exporters.coreml.evaluator import MilProgram

F16 = np.float16


def _program(path: Path, body: Any, dtype: Any = F16) -> MilProgram:
    """Of one input ``x`` (1, 1, 5, 5)."""
    return program_of(body, {"x": np.zeros((1, 1, 5, 5), dtype)}, path, "iOS16")


def _run(program: MilProgram, value: float, dtype: Any = F16) -> None:
    program.run({"x": np.full((1, 1, 5, 5), value, dtype)})


def test_the_operation_that_overflows_is_named_and_not_those_behind_it(tmp_path: Path) -> None:
    mb = coremltools().converters.mil.mil.Builder

    def body(x: Any) -> Any:
        return mb.relu(x=mb.add(x=mb.square(x=x, name="first"), y=F16(1), name="behind"))

    program = _program(tmp_path / "a.mlpackage", body)
    _run(program, 255.0)  # 65025
    assert program.findings.notes() == ()
    _run(program, -300.0)
    _run(program, 1000.0)
    _run(program, 500.0)
    (found,) = program.findings.overflows.values()
    assert (found.op, found.magnitude) == ("square", 1e6)
    (note,) = program.findings.notes()
    assert "float16 overflows" in note
    assert f"square {found.output!r} (1e+06)" in note


def test_what_is_no_number_already_in_float32(tmp_path: Path) -> None:
    mb = coremltools().converters.mil.mil.Builder
    program = _program(tmp_path / "a.mlpackage", lambda x: mb.real_div(x=F16(1), y=x))
    _run(program, 0.0)
    (found,) = program.findings.overflows.values()
    assert found.magnitude == math.inf


def test_a_stored_mask_of_minus_infinity_is_no_overflow(tmp_path: Path) -> None:
    mb = coremltools().converters.mil.mil.Builder
    mask = np.where(np.eye(5) > 0, 0, -np.inf).astype(F16)

    def body(x: Any) -> Any:
        return mb.softmax(x=mb.add(x=x, y=mask), axis=-1)

    program = _program(tmp_path / "a.mlpackage", body)
    _run(program, 1.0)
    assert program.findings.notes() == ()


def test_float32_does_not_overflow(tmp_path: Path) -> None:
    mb = coremltools().converters.mil.mil.Builder
    program = _program(tmp_path / "a.mlpackage", lambda x: mb.square(x=x), np.float32)
    _run(program, 1000.0, np.float32)
    assert program.findings.notes() == ()


@pytest.mark.parametrize(
    ("ceil", "excludes", "stride", "settled"),
    [
        (True, False, 2, False),
        (True, True, 2, True),
        (False, False, 2, True),
        (True, False, 3, True),  # 5 elements, windows at 0 and 3: they fit
    ],
)
def test_an_unsettled_pool_is_named(
    ceil: bool, excludes: bool, stride: int, settled: bool, tmp_path: Path
) -> None:
    mb = coremltools().converters.mil.mil.Builder

    def body(x: Any) -> Any:
        return mb.avg_pool(
            x=x,
            kernel_sizes=[2, 2],
            strides=[stride, stride],
            pad_type="valid",
            ceil_mode=ceil,
            exclude_padding_from_average=excludes,
            name="the_pool",
        )

    program = _program(tmp_path / "a.mlpackage", body, np.float32)
    _run(program, 1.0, np.float32)
    _run(program, 2.0, np.float32)
    notes = program.findings.notes()
    assert len(notes) == (0 if settled else 1)
    assert settled or notes[0].startswith("not settled: avg_pool 'the_pool': ")


class _Squares(nn.Module):
    """Squares as large as those of coremltools 1380 and ConvNeXt 80, scaled back."""

    def __init__(self, k: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.k = nn.Conv2d(3, 8, 3), k

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squares = (self.conv(x) * self.k).pow(2).mean(1, keepdim=True)
        return squares.sqrt().mean((2, 3))


@pytest.mark.parametrize("k", [1.0, 3000.0])
def test_a_report_names_what_overflows(k: float, tmp_path: Path) -> None:
    report = api.export(_Squares(k).eval(), ["coreml"], tmp_path, size=(16, 16), keep_failed=True)
    (artifact,) = report.artifacts
    named = [note for note in artifact.parity.notes if "float16 overflows" in note]
    assert bool(named) == (k > 1)
    assert artifact.parity.passed == (k == 1)


def test_a_file_that_others_wrote_with_an_unsettled_pool_does_not_pass(tmp_path: Path) -> None:
    ct = coremltools()
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2, 3, ceil_mode=True)).eval()
    exported = torch.export.export(net, (torch.zeros(1, 3, 9, 9),)).run_decompositions({})
    model = ct.convert(
        exported, skip_model_load=True, compute_precision=ct.precision.FLOAT32,
        inputs=[ct.TensorType(name="image", shape=(1, 3, 9, 9))],
        outputs=[ct.TensorType(name="output")],
    )  # fmt: skip
    file = tmp_path / "others.mlpackage"
    model.save(str(file))
    report = api.verify(file, net, size=(9, 9))
    assert not report.parity.passed
    assert any(note.startswith("not settled: avg_pool") for note in report.parity.notes)

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
from mobile_export.exporters.coreml.evaluator.table import OPS, Site

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


def _call(name: str, **arguments: Any) -> str | None:
    """What is not settled of a call, as the program binds its arguments."""
    op = OPS[name]
    bound = {
        key: value if isinstance(value, torch.Tensor) else op.converters[key](as_bound(value))
        for key, value in arguments.items()
    }
    op.function(**bound, **({"site": Site("CoreML7", "op", ())} if op.wants_site else {}))
    assert op.unsettled is not None
    return op.unsettled(**bound)


def as_bound(value: Any) -> list[Any]:
    return [value if isinstance(value, str) else torch.as_tensor(value)]


X = torch.arange(24.0).reshape(1, 1, 6, 4)
_GRU = {"x": torch.ones(2, 1, 3), "weight_ih": torch.ones(6, 3), "weight_hh": torch.ones(6, 2)}
_ONE = {"x": torch.ones(2, 1, 3), "weight_ih": torch.ones(3, 3), "weight_hh": torch.ones(3, 1)}
_BOX = {"target_height": 2, "target_width": 2, "box_indices": [0]}
ROI = torch.tensor([[0.0, 0.0, 3.0, 3.0]])
I = torch.tensor  # noqa: E741

FORMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # operation, a call that is not settled, one that is
    ("mod", {"x": I([-7.0]), "y": I([2.0])}, {"x": I([-8.0, 7.0]), "y": I([2.0, 2.0])}),
    ("real_div", {"x": I([7]), "y": I([2])}, {"x": I([8, 7]), "y": I([2, 7])}),
    ("cast", {"x": I([3e9]), "dtype": "int32"}, {"x": I([2e9, -3.7]), "dtype": "int32"}),
    ("cast", {"x": I([math.nan]), "dtype": "int32"}, {"x": I([math.nan]), "dtype": "fp32"}),
    ("cast", {"x": I([-1.5]), "dtype": "uint8"}, {"x": I([-0.5, 255.5]), "dtype": "uint8"}),
    (
        "resize_nearest_neighbor",
        {"x": X, "target_size_height": 7, "target_size_width": 4},
        {"x": X, "target_size_height": 12, "target_size_width": 4},
    ),
    (
        "resize_nearest_neighbor",  # by half: the even rows, or the odd ones
        {"x": X, "target_size_height": 3, "target_size_width": 4},
        {"x": X, "target_size_height": 6, "target_size_width": 4},
    ),
    (
        "upsample_nearest_neighbor",
        {"x": X, "scale_factor_height": 1.5},
        {"x": X, "scale_factor_height": 3.0},
    ),
    (
        "upsample_bilinear",
        {"x": X, "scale_factor_width": 1.3, "align_corners": False},
        {"x": X, "scale_factor_width": 1.5, "align_corners": False},
    ),
    (
        "resize",
        {"x": X, "shape": [12, 4], "resized_dims": 2, "interpolation_mode": "NEAREST_NEIGHBOR"},
        {"x": X, "shape": [12, 4], "resized_dims": 2, "interpolation_mode": "LINEAR"},
    ),
    ("crop_resize", {"x": X, "boxes": ROI * 2, **_BOX}, {"x": X, "boxes": ROI, **_BOX}),
    ("crop_resize", {"x": X, "boxes": 3 - ROI, **_BOX}, {"x": X, "boxes": ROI, **_BOX}),
    (
        "one_hot",
        {"indices": I([3]), "one_hot_vector_size": 3},
        {"indices": I([2]), "one_hot_vector_size": 3},
    ),
    ("local_response_norm", {"x": X, "size": 4}, {"x": X, "size": 5}),
    (
        "slice_by_index",
        {"x": X[0, 0], "begin": [0, 3], "end": [6, -5], "stride": [1, -1]},
        {"x": X[0, 0], "begin": [0, 3], "end": [6, -4], "stride": [1, -1]},
    ),
    ("argsort", {"x": I([1.0, 2.0, 1.0])}, {"x": I([1.0, 2.0, 3.0])}),
    ("topk", {"x": I([1.0, 1.0, 2.0]), "k": 2}, {"x": I([1.0, 1.0, 2.0]), "k": 1}),
    (
        "gru",
        {**_GRU, "initial_h": torch.zeros(1, 2)},
        {**_ONE, "initial_h": torch.zeros(1, 1)},
    ),
    (
        "gather",
        {"x": X, "indices": I([-1]), "axis": 2, "validate_indices": False},
        {"x": X, "indices": I([5]), "axis": 2, "validate_indices": False},
    ),
    (
        "scatter",
        {"data": I([1.0, 2]), "indices": I([1, -1]), "updates": I([3.0, 4]), "mode": "update"},
        {"data": I([1.0, 2]), "indices": I([1, 0]), "updates": I([3.0, 4]), "mode": "update"},
    ),
    (
        "scatter_along_axis",
        {"data": I([1.0, 2]), "indices": I([1, 1]), "updates": I([3.0, 4]), "mode": "update"},
        {"data": I([1.0, 2]), "indices": I([1, 1]), "updates": I([3.0, 4]), "mode": "add"},
    ),
    (
        "scatter_nd",
        {"data": X, "indices": I([[0], [0]]), "updates": torch.cat([X, X]), "mode": "update"},
        {"data": X, "indices": I([[0], [0]]), "updates": torch.cat([X, X]), "mode": "max"},
    ),
]


@pytest.mark.parametrize(("name", "open_", "settled"), FORMS)
def test_unsettled_forms(name: str, open_: dict[str, Any], settled: dict[str, Any]) -> None:
    assert _call(name, **open_)
    assert _call(name, **settled) is None


def test_every_unsettled_operation_has_a_form_here() -> None:
    named = {name for name, _, _ in FORMS} | {"avg_pool"}  # a test of its own, above
    same = {"gather_along_axis", "gather_nd"}  # the same function as gather's
    assert {name for name, op in OPS.items() if op.unsettled is not None} == named | same


def test_validated_indices_are_not_negative() -> None:
    with pytest.raises(IndexError, match=r"outside of \[0, 6\)"):
        _call("gather", x=X, indices=I([-1]), axis=2, validate_indices=True)


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
    options: Any = {"size": (16, 16), "keep_failed": True, "no_passes": ("guard_norms",)}
    report = api.export(_Squares(k).eval(), ["coreml"], tmp_path, **options)
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

"""Indices of scores that float32 cannot tell apart, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.graph.capture import trace
from mobile_export.graph.program import Program
from mobile_export.parity.index_ties import settle_ties
from mobile_export.parity.reference import Reference, make_reference
from mobile_export.parity.samples import parity_samples
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source
from tests.conftest import need


class _Close(nn.Module):
    """Three scores of every pixel: s, s + 1e-9 and far below, of which float64 takes the second."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        s = x.mean(1, keepdim=True).abs() + 1
        scores = torch.cat([s, s + 1e-9, s - 0.5], 1)
        return {
            "labels": scores.argmax(1),
            "order": scores.topk(2, 1)[1].flatten(1),
            "best": scores.max(1)[1],
            "equal": torch.cat([s, s, s - 1], 1).argmax(1),
        }


@pytest.fixture(scope="module")
def case() -> tuple[Program, Reference]:
    source = load_source(ModelRequest.of(_Close().eval(), size=4))
    return trace(source), make_reference(source.module, parity_samples(*source.inputs))


def outputs(reference: Reference, **changed: np.ndarray) -> list[list[np.ndarray]]:
    """What a file returned: the reference with other values in some outputs of every sample."""
    names = ("labels", "order", "best", "equal")
    return [
        [changed.get(name, value) for name, value in zip(names, row, strict=True)]
        for row in reference.outputs
    ]


def test_the_reference_is_what_float64_says(case: tuple[Program, Reference]) -> None:
    labels, order, best, equal = case[1].outputs[0]
    assert (labels == 1).all()
    assert (best == 1).all()
    assert (equal == 0).all()
    assert (order[0].reshape(2, 16) == [[1], [0]]).all()


def test_either_of_two_scores_that_rounding_makes_equal_is_right(
    case: tuple[Program, Reference],
) -> None:
    program, reference = case
    labels, order, best, _ = reference.outputs[0]
    other = outputs(reference, labels=labels * 0, order=1 - order, best=best * 0)
    settled, (note,) = settle_ties(program, reference, other, 1e-5)
    for got, exact in zip(settled, reference.outputs, strict=True):
        for a, b in zip(got, exact, strict=True):
            np.testing.assert_array_equal(a, b)
    count = 16 * len(reference.samples)
    assert f"{count} of {count} in labels" in note
    assert f"{2 * count} of {2 * count} in order" in note


@pytest.mark.parametrize(
    ("name", "value"),
    [("labels", 2), ("labels", 7), ("labels", -1), ("order", 0), ("equal", 1), ("best", 2)],
)
def test_what_is_no_tie_stays_as_it_is(
    case: tuple[Program, Reference], name: str, value: int
) -> None:
    """A score that is far below, no index, one index twice, and the higher of equal ones."""
    program, reference = case
    place = ("labels", "order", "best", "equal").index(name)
    wrong = np.full_like(reference.outputs[0][place], value)
    settled, notes = settle_ties(program, reference, outputs(reference, **{name: wrong}), 1e-5)
    assert notes == ()
    np.testing.assert_array_equal(settled[0][place], wrong)


def test_a_file_is_right_and_says_so(tmp_path: Path) -> None:
    need("onnx")
    (file,) = mobile_export.export(_Close().eval(), "onnx", tmp_path, size=4).artifacts
    assert not any("labels has shape" in note for note in file.parity.notes)
    assert any("indices of scores as good as equal" in note for note in file.parity.notes)
    assert file.parity.status != "failed"

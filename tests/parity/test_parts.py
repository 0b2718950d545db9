"""Parts of an output that are small beside the rest: `mobile_export.parity.parts` and the judge.

A file is played by damaged float64 results, or by PyTorch's own float32 and float16 runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.exporters.table import precision_named
from mobile_export.graph.specs import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from mobile_export.parity.judge import judge
from mobile_export.parity.parts import Part, parts_of
from mobile_export.parity.reference import Reference, make_reference
from mobile_export.parity.report import ParityReport
from mobile_export.parity.samples import parity_samples

SPEC = InputSpec((1, 3, 64, 64), IMAGENET_MEAN, IMAGENET_STD)


class Detector(nn.Module):
    """Boxes in pixels and scores, in one tensor of 4 + 6 rows, as detectors are exported."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.ReLU(), nn.Conv2d(16, 10, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.features(x).flatten(2).sigmoid()
        return torch.cat([y[:, :4] * 640, y[:, 4:]], 1)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return make_reference(Detector().eval(), parity_samples(SPEC))


def judged(
    reference: Reference, results: Sequence[Sequence[np.ndarray]], precision: str
) -> ParityReport:
    return judge(
        reference,
        results,
        precision=precision_named(precision),
        runtime="test",
        emulated=False,
        output_names=["detections"],
    )


def test_scores_beside_boxes_are_a_part(reference: Reference) -> None:
    [part] = parts_of([arrays[0] for arrays in reference.outputs])
    assert (part.axis, part.places) == (1, (4, 5, 6, 7, 8, 9))
    assert part.named("detections") == "detections[:, 4:10]"
    assert Part(2, (0, 3), 9).named("y") == "y (2 of 9 places of axis 2)"


DAMAGE: dict[str, Callable[[np.ndarray], None]] = {
    "scores are zero": lambda y: y[:, 4:].fill(0.0),
    "two classes exchanged": lambda y: y.__setitem__((slice(None), [5, 8]), y[:, [8, 5]]),
    "all scores a little higher": lambda y: y[:, 4:].__iadd__(0.2),
    "scores of the next place": lambda y: y.__setitem__(
        (slice(None), slice(4, None)), np.roll(y[:, 4:], 1, 2)
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_scores_fail(reference: Reference, damage: str) -> None:
    """The error is within what a float16 file may be off by the size of the boxes."""
    results = [[arrays[0].copy()] for arrays in reference.outputs]
    for (array,) in results:
        DAMAGE[damage](array)
    report = judged(reference, results, "fp16")
    assert report.max_rel <= report.tolerance * 2
    assert (report.status, report.faithful) == ("failed", False)
    assert "detections[:, 4:10]" in report.notes[-1]
    assert judged(reference, results, "fp32").status == "failed"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_rounding_alone_passes(reference: Reference, precision: str) -> None:
    assert reference.rounded is not None
    rounded = reference.rounded("float32" if precision == "fp32" else "float16 weights")
    assert rounded is not None
    assert judged(reference, rounded, precision).status == "passed"


def test_single_values_are_no_part() -> None:
    """Of logits some are small by chance, on all four samples."""
    logits = np.array([[5.0, 0.01, -3.0, 4.0]])
    assert parts_of([logits, -logits]) == ()
    assert parts_of([np.zeros((1, 4, 50))]) == ()
    assert parts_of([np.ones((1, 4, 50))]) == ()
    assert parts_of([np.arange(100).reshape(1, 4, 25)]) == ()


def test_what_float32_cannot_hold_beside_the_rest_is_no_part() -> None:
    array = np.ones((1, 3, 32))
    array[:, 1] = 1e-8
    array[:, 2] = np.inf
    assert parts_of([array]) == ()
    array[:, 1] = 1e-3
    assert parts_of([array]) == (Part(1, (1,), 3),)

"""Parity figures against numbers worked out by hand, and the verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.errors import SourceError
from mobile_export.exporters.table import precision_named
from mobile_export.parity.compare import compare
from mobile_export.parity.judge import judge
from mobile_export.parity.reference import Reference, make_reference, with_activation
from mobile_export.parity.report import ParityReport
from mobile_export.parity.samples import Sample


def reference_of(*outputs: np.ndarray, float32_error: float = 0.0) -> Reference:
    samples = tuple(Sample(f"s{i}", torch.zeros(1, 3, 2, 2)) for i in range(len(outputs)))
    return Reference(samples, tuple((array,) for array in outputs), float32_error)


def verdict(reference: Reference, *results: np.ndarray, precision: str = "fp32") -> str:
    return judge(
        reference,
        [[array] for array in results],
        precision=precision_named(precision),
        arithmetic=precision,
        runtime="test",
        emulated=False,
        output_names=["logits"],
    ).status


def test_compare_by_hand() -> None:
    reference = np.array([[0.0, -4.0, 2.0, 1.0, 3.0]])
    got = np.array([[0.0, -3.0, 2.0, 1.0, 3.5]], dtype=np.float32)
    difference = compare(got, reference)
    assert difference.max_abs == 1.0
    assert difference.max_rel == 0.25  # 1 / |-4|
    assert difference.worst_index == (0, 1)
    assert difference.cosine == pytest.approx(27.5 / math.sqrt(26.25 * 30))
    assert difference.psnr == pytest.approx(10 * math.log10(16 / (1.25 / 5)))
    assert difference.top1 == 1
    assert difference.top5 == 1.0


def test_top1_disagreement() -> None:
    reference = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, -9.0, -9.0]])
    got = np.array([[1.0, 2.0, 3.0, 6.0, 5.0, -9.0, 4.0]])
    difference = compare(got, reference)
    assert difference.top1 == 0
    assert difference.top5 == pytest.approx(4 / 5)  # 6, 5, 4, 3, 2 against 5, 4, 3, 2, 1


def test_nan_and_infinity_are_infinitely_wrong() -> None:
    reference = np.ones((1, 3))
    for bad in (math.nan, math.inf, -math.inf):
        assert compare(np.array([[1.0, bad, 1.0]]), reference).max_rel == math.inf


def test_nan_in_the_reference_is_never_equal() -> None:
    values = np.array([[math.nan, 1.0]])
    assert not compare(values, values).max_rel <= 1.0


def test_a_wrong_shape_is_infinitely_wrong() -> None:
    assert compare(np.ones((1, 4)), np.ones((1, 3))).max_rel == math.inf


def test_zero_reference() -> None:
    assert compare(np.zeros((1, 3)), np.zeros((1, 3))).max_rel == 0.0
    assert compare(np.full((1, 3), 1e-30), np.zeros((1, 3))).max_rel == math.inf


def test_integer_outputs_are_compared_for_equality() -> None:
    reference = np.array([[[1, 2], [3, 4]]])
    difference = compare(np.array([[[1, 2], [3, 5]]]), reference)
    assert difference.max_rel == 0.25
    assert difference.worst_index == (0, 1, 1)


@pytest.mark.parametrize(
    ("precision", "float32_error", "expected"),
    [("fp32", 0.0, 1e-5), ("fp32", 2e-6, 1e-5), ("fp32", 5e-6, 2e-5), ("fp16", 5e-6, 1e-2)],
)
def test_tolerances(precision: str, float32_error: float, expected: float) -> None:
    allowed = precision_named(precision).tolerance.allowed(float32_error)
    assert allowed == pytest.approx(expected)


def test_verdicts() -> None:
    exact = np.array([[1.0, 0.0]])
    reference = reference_of(exact)
    assert verdict(reference, exact + 0.9e-5) == "passed"
    assert verdict(reference, exact + 1.1e-5) == "failed"
    assert verdict(reference, exact + 0.9e-2, precision="fp16") == "passed"
    assert verdict(reference, exact + 1.1e-2, precision="fp16") == "failed"


def rounding_to(*outputs: np.ndarray, error: float) -> Reference:
    """A reference whose run in float16 is ``error`` of the largest magnitude off."""
    reference = reference_of(*outputs)
    rounded = tuple((array + error * np.abs(array).max(),) for array in outputs)
    return replace(reference, rounded=lambda rounding: rounded)


@pytest.mark.parametrize(
    ("alone", "allowed"),
    [  # of PyTorch's own float16 run, and four times that: at least four half-steps of 2⁻¹¹, and
        # beyond 1e-2 no more than twice
        (0.0, 2**-9), (4e-4, 2**-9), (1e-3, 4e-3), (2.5e-3, 1e-2), (4e-3, 1e-2), (2e-2, 4e-2),
    ],
)  # fmt: skip
def test_float16_files_are_judged_by_float16_pytorch(alone: float, allowed: float) -> None:
    exact = np.array([[1.0, 0.0]])
    reference = rounding_to(exact, error=alone)
    assert verdict(reference, exact + 0.99 * allowed, precision="fp16") == "passed"
    assert verdict(reference, exact + 1.01 * allowed, precision="fp16") == "failed"
    assert verdict(reference, exact + 1.1e-5) == "failed"  # float32 files are as they were


def test_float32_arithmetic_with_float16_weights_has_its_own_bound() -> None:
    exact = np.array([[1.0, 0.0]])
    runs = {"float16 weights": 1e-3, "float16": 3e-3}
    reference = replace(reference_of(exact), rounded=lambda rounding: ((exact + runs[rounding],),))
    for arithmetic, allowed in (("fp32", 4e-3), ("fp16", 1e-2)):
        found = [
            judge(
                reference, [[exact + error]], precision=precision_named("fp16"), runtime="t",
                arithmetic=arithmetic, emulated=False, output_names=["logits"],
            )
            for error in (0.99 * allowed, 1.01 * allowed)
        ]  # fmt: skip
        assert [report.status for report in found] == ["passed", "failed"]
        assert found[0].tolerance == pytest.approx(allowed)
        assert found[0].float16_error == pytest.approx(
            runs[f"float16{' weights' * (arithmetic == 'fp32')}"]
        )


def test_what_changes_is_judged_by_float16_pytorch() -> None:
    """One output of 1 that changes by 0.1 with the sample; the file answers with half the change
    for one sample, which is 0.3 % of the output's size."""
    exact = [np.array([[1.0, value]]) for value in (0.1, 0.2, 0.1, 0.2)]
    reference = rounding_to(*exact, error=1e-3)  # the same for all: nothing of what changes
    got = [array.copy() for array in exact]
    got[1][0, 1] -= 3e-3
    report = judge(
        reference, [[array] for array in got], precision=precision_named("fp16"), runtime="t",
        arithmetic="fp16", emulated=False, output_names=["logits"],
    )  # fmt: skip
    assert (report.max_rel, report.tolerance) == (pytest.approx(3e-3), pytest.approx(4e-3))
    # 3e-3 · 3/4 from the mean of the four, of a spread of 0.05, of which four half-steps are 3.9 %
    assert report.spread_error == pytest.approx(0.045)
    assert report.status == "failed"
    assert "rounding explains 3.91%" in report.notes[-1]
    assert verdict(reference, *exact, precision="fp16") == "passed"


def test_a_model_that_float16_cannot_hold_is_judged_as_one_that_does_not_run_in_it() -> None:
    exact = np.array([[1.0, 0.0]])
    for reference in (
        rounding_to(exact, error=math.inf),
        replace(reference_of(exact), rounded=lambda rounding: None),
    ):
        assert verdict(reference, exact + 0.9e-2, precision="fp16") == "passed"
        assert verdict(reference, exact + 1.1e-2, precision="fp16") == "failed"
        assert verdict(reference, exact + math.inf, precision="fp16") == "failed"


def test_the_output_that_is_the_furthest_beyond_is_named() -> None:
    """The second output is rounded to 1e-3, the first to 2e-2: the smaller error is the worse."""
    outputs = (np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))
    rounded = ((outputs[0] + 2e-2, outputs[1] + 1e-3),)
    reference = Reference(
        reference_of(outputs[0]).samples, (outputs,), 0.0, rounded=lambda rounding: rounded
    )
    report = judge(
        reference, [[outputs[0] + 1e-2, outputs[1] + 5e-3]], precision=precision_named("fp16"),
        arithmetic="fp16", runtime="t", emulated=False, output_names=["coarse", "fine"],
    )  # fmt: skip
    assert (report.status, report.worst) == ("failed", "s0:fine")
    assert report.tolerance == pytest.approx(4e-3)
    assert report.max_rel == pytest.approx(5e-3)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_ill_conditioned_model_is_inconclusive_even_when_equal(precision: str) -> None:
    exact = np.array([[1.0, 0.0]])
    for error in (1.1e-4, math.inf, math.nan):
        reference = reference_of(exact, float32_error=error)
        assert verdict(reference, exact, precision=precision) == "inconclusive"
    assert (
        verdict(reference_of(exact, float32_error=0.9e-4), exact, precision=precision) == "passed"
    )


def test_the_worst_sample_decides() -> None:
    exact = np.array([[1.0, 0.0]])
    report = judge(
        reference_of(exact, exact, exact),
        [[exact], [exact + 0.5], [exact]],
        precision=precision_named("fp32"),
        runtime="test",
        emulated=True,
        output_names=["logits"],
    )
    assert (report.worst, report.status, report.max_rel) == ("s1:logits", "failed", 0.5)


def test_a_missing_output_fails() -> None:
    exact = np.array([[1.0, 0.0]])
    report = judge(
        reference_of(exact),
        [[]],
        precision=precision_named("fp32"),
        runtime="test",
        emulated=False,
        output_names=["logits"],
    )
    assert report.status == "failed"


def test_the_report_is_strict_json() -> None:
    import json

    exact = np.array([[1.0, 0.0]])
    report = judge(
        reference_of(exact),
        [[exact * math.nan]],
        precision=precision_named("fp32"),
        runtime="test",
        emulated=False,
        output_names=["logits"],
    )
    json.dumps(report.to_dict(), allow_nan=False)


def test_float32_error_of_a_known_cancellation() -> None:
    class Cancel(nn.Module):
        """(x + 1) - 1: float32 loses what lies below 2^-24 of 1."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1.0) - 1.0

    x = torch.full((1, 1, 1, 1), 1e-3)
    reference = make_reference(Cancel(), [Sample("s", x)])
    small, one = np.float32(1e-3), np.float32(1)
    lost = abs(float((small + one) - one) / float(small) - 1)
    assert reference.float32_error == pytest.approx(lost, rel=1e-6)
    assert lost > 1e-6


class Constant(nn.Module):
    """Hardly changes with its input, or not at all."""

    def __init__(self, change: float) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean().view(1, 1) * self.change + torch.tensor([[1.0, 2.0]])


@pytest.mark.parametrize(("change", "said"), [(1e-9, "changes by"), (0.0, "no output changes")])
def test_an_output_that_ignores_its_input_is_inconclusive(change: float, said: str) -> None:
    samples = [Sample("a", torch.zeros(1, 3, 2, 2)), Sample("b", torch.ones(1, 3, 2, 2))]
    reference = make_reference(Constant(change), samples)
    report = judge_two(reference, [[np.array([[1.0, 2.0]])]] * 2, ["logits"])
    assert report.max_rel <= report.tolerance
    assert report.status == "inconclusive"
    assert said in report.notes[-1]


def judge_two(
    reference: Reference, results: Sequence[Sequence[np.ndarray]], names: list[str]
) -> ParityReport:
    return judge(
        reference, results, precision=precision_named("fp32"), runtime="t", emulated=False,
        output_names=names,
    )  # fmt: skip


def test_a_constant_output_beside_another_is_named_and_does_not_decide() -> None:
    samples = tuple(Sample(name, torch.zeros(1, 3, 2, 2)) for name in "ab")
    anchors = np.array([[8.0, 16.0]])
    outputs = ((np.array([[1.0]]), anchors), (np.array([[2.0]]), anchors))
    reference = Reference(samples, outputs, 0.0, fixed=frozenset({1}))
    report = judge_two(reference, outputs, ["scores", "anchors"])
    assert report.passed
    assert (report.spread, report.spread_error) == (0.25, 0.0)
    assert report.notes == ("anchors: the same for every input",)


def test_an_output_that_should_change_and_does_not_is_inconclusive_whatever_its_place() -> None:
    samples = tuple(Sample(name, torch.zeros(1, 3, 2, 2)) for name in "ab")
    moves, labels = [np.array([[1.0]]), np.array([[2.0]])], np.array([[3, 3]])
    outputs = ((moves[0], labels), (moves[1], labels))
    report = judge_two(Reference(samples, outputs, 0.0), outputs, ["scores", "labels"])
    assert report.status == "inconclusive"
    assert (report.spread_error, report.unmoved) == (0.0, ("labels",))
    assert report.to_dict()["unmoved"] == ["labels"]
    assert "labels does not change with the input" in report.notes[-1]
    assert "`samples`" in report.notes[-1]


def test_every_output_beyond_the_limit_is_named() -> None:
    samples = tuple(Sample(name, torch.zeros(1, 3, 2, 2)) for name in "ab")
    hardly = [np.array([[1.0]]), np.array([[1 + 2e-6]])]
    reference = Reference(samples, tuple(zip(hardly, hardly, strict=True)), 0.0)
    report = judge_two(reference, [(hardly[0], hardly[0])] * 2, ["a", "b"])
    assert report.status == "inconclusive"
    assert all(f"{name} changes by 1.0e-06 of its size" in report.notes[-1] for name in "ab")


def test_the_output_that_is_told_apart_worst_decides() -> None:
    samples = tuple(Sample(name, torch.zeros(1, 3, 2, 2)) for name in "ab")
    moves, hardly = (
        [np.array([[1.0]]), np.array([[2.0]])],
        [np.array([[1.0]]), np.array([[1 + 2e-6]])],
    )
    reference = Reference(samples, tuple(zip(moves, hardly, strict=True)), 0.0)
    report = judge_two(reference, [(moves[0], hardly[0]), (moves[1], hardly[0])], ["a", "b"])
    assert report.max_rel <= report.tolerance
    assert report.status == "inconclusive"
    assert report.spread_error == pytest.approx(1.0)
    assert report.to_dict()["spread_error"] == report.spread_error
    assert report.spread == pytest.approx(1e-6, rel=1e-5)


def test_softmax_behind_the_logits() -> None:
    reference = with_activation(reference_of(np.array([[0.0, math.log(3.0)]])), "softmax")
    np.testing.assert_allclose(reference.outputs[0][0], [[0.25, 0.75]])
    plain = reference_of(np.zeros((1, 2)))
    assert with_activation(plain, None) is plain


def test_reports_differ_when_figures_differ() -> None:
    exact = np.array([[1.0, 0.0]])
    report = judge(
        reference_of(exact), [[exact]], precision=precision_named("fp32"), runtime="t",
        emulated=False,
        output_names=["logits"],
    )  # fmt: skip
    assert report.passed
    assert not replace(report, status="inconclusive").passed


def test_an_infinity_equals_itself_and_hides_nothing() -> None:
    reference = np.array([[-math.inf, 2.0, math.inf]])
    assert compare(reference, reference).max_rel == 0
    assert compare(np.array([[-math.inf, 2.2, math.inf]]), reference).max_rel == pytest.approx(0.1)
    for bad in (0.0, math.inf, math.nan):
        assert compare(np.array([[bad, 2.0, math.inf]]), reference).max_rel == math.inf


def test_a_wrong_output_beside_infinities_fails_whatever_its_place() -> None:
    right, masked = np.ones((1, 3)), np.array([[-math.inf, 1.0, 2.0]])
    image = torch.zeros(1, 3, 4, 4)
    reference = Reference((Sample("noise", image),), ((right, masked),), 0.0)
    wrong = [np.array([[math.nan, 1.0, 2.0]]), np.array([[0.0, 1.0, 2.0]])]
    for got in wrong:
        report = judge(
            reference,
            [[right, got]],
            precision=precision_named("fp32"),
            runtime="test",
            emulated=False,
            output_names=["a", "b"],
        )
        assert report.status == "failed"


class NoFloat64(nn.Module):
    """PyTorch quantises float32 only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize()


def test_a_model_that_fails_in_float64_only() -> None:
    with pytest.raises(SourceError, match=r"not in float64.*only works on Float"):
        make_reference(NoFloat64(), [Sample("noise", torch.zeros(1, 3, 4, 4))])


class AsksForFloat32(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float32:
            raise RuntimeError("only float is supported")
        return x * 3


def test_a_model_that_asks_for_float32_is_run_in_float64() -> None:
    image = torch.full((1, 3, 4, 4), 0.1)
    reference = make_reference(AsksForFloat32(), [Sample("noise", image)])
    assert np.array_equal(reference.outputs[0][0], (image.double() * 3).numpy())


@pytest.mark.parametrize(("step", "status"), [(0.0, "failed"), (1e-6, "passed"), (1e-8, "failed")])
def test_the_error_of_a_runtimes_operator_is_allowed_whatever_the_size(
    step: float, status: str
) -> None:
    exact = [np.array([[1e-3, 2e-4]]), np.array([[3e-4, 1e-3]])]
    report = judge(
        reference_of(*exact),
        [[array + 5e-7 * index] for index, array in enumerate(exact)],
        precision=precision_named("fp32"),
        runtime="test",
        emulated=False,
        output_names=["scores"],
        steps=[step],
    )
    assert report.status == status
    assert any("own code" in note for note in report.notes) == (status == "passed")
    assert report.tolerance <= 1e-2


def test_numbers_that_float32_does_not_hold_are_the_reason_by_name() -> None:
    exact = [np.array([[1e-44, 2e-44]]), np.array([[3e-44, 1e-44]])]
    report = judge(
        reference_of(*exact, float32_error=1.0),
        [[np.zeros((1, 2), dtype=np.float32)] for _ in exact],
        precision=precision_named("fp32"),
        runtime="test",
        emulated=False,
        output_names=["logits"],
    )
    assert report.status == "inconclusive"
    (note,) = report.notes
    assert "no file can be judged" in note
    assert "logits (3.0e-44)" in note


class Vanishing(nn.Module):
    """Features of 1e-9, below float16's least number, on top of a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = x * 1e-3
        return x.mean((2, 3)) + 1


def test_the_note_says_what_pytorchs_own_float16_loses() -> None:
    noise = torch.Generator().manual_seed(0)
    samples = [Sample(f"s{i}", torch.randn(1, 3, 2, 2, generator=noise)) for i in range(2)]
    reference = make_reference(Vanishing(), samples)
    report = judge(
        reference,
        [[np.ones((1, 3), dtype=np.float32)] for _ in samples],
        precision=precision_named("fp16"),
        arithmetic="fp16",
        runtime="test",
        emulated=False,
        output_names=["logits"],
    )
    assert report.status == "inconclusive"
    assert any("PyTorch's own float16 run is 100.0% off" in note for note in report.notes)


def moved(error: float) -> Reference:
    """Of a model whose own float32 run is 1e-6 off, and ``error`` where results are moved."""
    exact = np.array([[1.0, -2.0, 0.5]])
    return replace(
        reference_of(exact, exact[:, ::-1], float32_error=1e-6), moved_error=lambda: error
    )


@pytest.mark.parametrize(
    ("moves", "off", "status"),
    [
        (9e-6, 1.5e-5, "passed"),
        (9e-6, 3.5e-5, "passed"),
        (9e-6, 3.7e-5, "failed"),
        (1e-6, 1.5e-5, "failed"),
        (2e-4, 1.5e-5, "failed"),  # a model that amplifies rounding so excuses nothing
    ],
)
def test_what_other_kernels_do_explains_an_error(moves: float, off: float, status: str) -> None:
    reference = moved(moves)
    first, second = (arrays[0] for arrays in reference.outputs)
    report = judge(
        reference,
        [[first + 2.0 * off], [second]],
        precision=precision_named("fp32"),
        runtime="test",
        emulated=False,
        output_names=["logits"],
    )
    assert report.status == status
    assert report.float32_error == (moves if status == "passed" else 1e-6)
    assert any("moved by up to a unit" in note for note in report.notes) == (status == "passed")


def test_a_float16_file_is_not_asked_what_other_float32_kernels_do() -> None:
    def never() -> float:
        raise AssertionError

    reference = replace(moved(0.0), moved_error=never)
    first, second = (arrays[0] for arrays in reference.outputs)
    assert verdict(reference, first + 1.0, second, precision="fp16") == "failed"

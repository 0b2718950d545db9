"""How well a file serves, against figures worked out by hand, and the verdict made of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mobile_export.exporters.table import precision_named
from mobile_export.parity import good
from mobile_export.parity.good import qualities
from mobile_export.parity.judge import judge
from mobile_export.parity.reference import Reference
from mobile_export.parity.report import NOT_GOOD, ParityReport
from mobile_export.parity.samples import Sample
from mobile_export.sweep.cell import outcome


def measured(task: str | None, got: list[np.ndarray], exact: list[np.ndarray]) -> dict[str, float]:
    found = qualities(task, ["y"], [[a] for a in got], [[b] for b in exact])  # type: ignore[arg-type]
    return {each.measure: each.value for each in found}


def test_classes_by_hand() -> None:
    exact = [np.eye(1, 7, 6 - k) + np.arange(7)[::-1] / 10 for k in range(4)]
    got = [array.copy() for array in exact]
    got[0][0, 0] = 2.0  # another best class; the right one is second
    got[1][0] = [9, 8, 7, 6, 5, 0, 0]  # the right one (5) is sixth
    found = measured("classification", got, exact)
    assert (found["best class kept"], found["best class in five"]) == (0.5, 0.75)
    assert measured("features", got, exact).keys() == {"SQNR"}


def test_pixels_by_hand() -> None:
    exact = np.zeros((1, 3, 2, 2))
    exact[0, 1] = 1.0
    got = exact.copy()
    got[0, 2, 0, 1] = 5.0
    assert measured("segmentation", [got, exact], [exact, exact])["pixels kept"] == 7 / 8
    labels = [np.array([[1, 2], [3, 4]]), np.array([[1, 1], [1, 1]])]
    wrong = [np.array([[1, 2], [3, 0]]), labels[1]]
    assert measured("segmentation", wrong, labels) == {"labels kept": 7 / 8}


def test_noise_by_hand() -> None:
    """Power 1 against 0.01 is 20 dB; of 2 against 0.01, 10 · log10(4 / 0.0001) = 46 dB."""
    exact = [np.full((1, 4), 9.0), np.full((1, 4), 11.0)]
    got = [exact[0] + 0.1, exact[1] - 0.1]
    assert measured(None, got, exact)["SQNR"] == pytest.approx(20.0)
    same_for_all = [array + 0.5 for array in exact]  # the size of the output bounds it
    assert measured(None, same_for_all, exact)["SQNR"] == math.inf
    picture = [np.full((1, 1, 2, 2), 2.0)]
    noisy = [picture[0] + 0.01]
    assert measured("super-resolution", noisy, picture) == {"PSNR": pytest.approx(46.02, abs=0.01)}
    assert measured(None, noisy, picture)["SQNR"] == pytest.approx(46.02, abs=0.01)


def test_what_is_no_number_and_what_does_not_move() -> None:
    exact = [np.array([[1.0, 2.0]]), np.array([[2.0, 1.0]])]
    assert measured(None, [exact[0] * math.nan, exact[1]], exact)["SQNR"] == -math.inf
    still = [np.array([[1.0, 2.0]])] * 2
    assert measured(None, still, still) == {}
    masked = [np.array([[-math.inf, 1.0]]), np.array([[-math.inf, 2.0]])]
    assert measured(None, masked, masked)["SQNR"] == math.inf


def coarse(precision: str, off: float) -> ParityReport:
    """On a classifier of which PyTorch's float16 is as far off as the file."""
    rng = np.random.default_rng(0)
    exact = [rng.normal(size=(1, 50)) for _ in range(4)]
    got = [array + off * rng.normal(size=(1, 50)) for array in exact]
    samples = tuple(Sample(f"s{i}", torch.zeros(1, 3, 2, 2)) for i in range(4))
    outputs = tuple((array,) for array in exact)
    reference = Reference(samples, outputs, 0.0)
    reference = replace(reference, rounded=lambda rounding: tuple((array,) for array in got))
    return judge(
        reference, [[array] for array in got], precision=precision_named(precision), runtime="t",
        emulated=False, output_names=["logits"], arithmetic=precision, task="classification",
    )  # fmt: skip


def test_the_two_verdicts_are_never_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = coarse("fp16", 0.02)
    assert (fine.status, fine.faithful, fine.useful, fine.words) == ("passed", True, True, "passed")
    monkeypatch.setitem(good.GATES, "SQNR", 40.0)
    found = coarse("fp16", 0.02)
    assert (found.status, found.faithful, found.useful) == ("failed", True, False)
    assert found.words == NOT_GOOD == "faithful, not good"
    assert not found.passed
    assert "logits: SQNR 33 dB where 40 dB is asked" in found.notes[-1]
    wrong = coarse("fp32", 0.02)
    assert (wrong.status, wrong.faithful, wrong.useful) == ("failed", False, False)
    assert wrong.words == "failed"
    facts = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (facts["faithful"], facts["useful"], facts["verdict"]) == (True, False, "failed")
    assert {each["measure"] for each in facts["qualities"]} == {
        "best class kept", "best class in five", "SQNR",
    }  # fmt: skip
    made = {"artifacts": [{"parity": facts, "bytes": 1, "seconds": {"export": 1.0}}]}
    row = outcome(1, json.dumps(made), "")
    assert row["status"] == "failed"
    assert row["reason"].startswith(NOT_GOOD)


def test_a_float32_file_is_judged_by_its_error_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(good.GATES, "SQNR", 999.0)
    found = coarse("fp32", 1e-7)
    assert (found.status, found.faithful, found.useful) == ("passed", True, False)


def test_nobody_can_tell() -> None:
    assert coarse("fp16", 0.2).faithful is None
    assert coarse("fp16", 0.2).status == "inconclusive"

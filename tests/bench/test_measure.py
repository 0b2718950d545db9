"""The measuring loop, on devices and runners that behave as they are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mobile_export.bench.devices.device import State
from mobile_export.bench.measure import Limits, measure
from mobile_export.bench.record import Measurement
from mobile_export.bench.runners.runner import Loaded
from mobile_export.errors import DeviceError, RunnerError
from tests.bench.examples import FakeDevice, FakeSession, artifact, work

QUICK = Limits(seconds=1.0, warmup_seconds=0.2, block_seconds=0.02)


def steady(ns: float = 2e6, seed: int = 0, spread: float = 0.01) -> Callable[[int], float]:
    rng = np.random.Generator(np.random.PCG64(seed))
    return lambda index: rng.normal(ns, ns * spread)


def test_one_model(tmp_path: Path) -> None:
    session = FakeSession(steady())
    (made,) = measure(FakeDevice(), [work(session, artifact(tmp_path))], QUICK)
    assert np.median(made.samples) == pytest.approx(2e6, rel=0.02)
    assert made.flags == ()
    assert made.check is not None
    assert made.check.passed
    assert sum(made.blocks) == len(made.samples) >= 30
    assert made.warmup >= 16
    assert session.closed
    assert Measurement.from_json(json.dumps(made.to_dict()).encode()) == made


def test_models_take_turns_and_drift_cancels(tmp_path: Path) -> None:
    """Both slow down together by half, and one is 10 % slower throughout."""
    clock = [0]

    def drifting(scale: float) -> Callable[[int], float]:
        def latency(index: int) -> float:
            clock[0] += 1
            return 1e6 * scale * (1 + 0.5 * min(1.0, clock[0] / 2000))

        return latency

    from mobile_export.bench.compare import compare_sides

    jobs = [
        work(FakeSession(drifting(1.0)), artifact(tmp_path, name="a.onnx")),
        work(FakeSession(drifting(1.1)), artifact(tmp_path, name="b.onnx")),
    ]
    first, second = measure(FakeDevice(), jobs, QUICK)
    assert first.run == second.run
    assert len(first.blocks) == len(second.blocks)
    (pair,) = compare_sides([first], [second], by_model=True)
    assert pair.result.paired
    assert pair.result.ratio == pytest.approx(1.1, rel=0.02)


def test_a_wrong_output_is_seen_as_wrong_not_fast(tmp_path: Path) -> None:
    session = FakeSession(steady(1.0))
    (made,) = measure(FakeDevice(), [work(session, artifact(tmp_path, scale=1.1))], QUICK)
    assert made.flags == ("wrong_output",)
    assert made.samples == ()
    assert not made.trusted
    assert made.check is not None
    assert made.check.max_rel == pytest.approx(0.1 / 1.1, rel=1e-3)


def test_half_precision_arithmetic_has_its_own_tolerance(tmp_path: Path) -> None:
    session = FakeSession(steady(), loaded=Loaded("fake", precision="fp16"))
    made = measure(FakeDevice(), [work(session, artifact(tmp_path, scale=1.005))], QUICK)[0]
    assert made.check is not None
    assert made.check.passed
    assert made.check.tolerance == 1e-2


def test_a_tool_without_outputs_is_unchecked_and_said_to_be(tmp_path: Path) -> None:
    session = FakeSession(steady(), silent=True)
    made = measure(FakeDevice(), [work(session, artifact(tmp_path))], QUICK)[0]
    assert made.flags == ("unchecked",)
    assert made.trusted


def test_what_waits_for_a_core_is_contended(tmp_path: Path) -> None:
    session = FakeSession(steady(), waited=0.1)
    made = measure(FakeDevice(), [work(session, artifact(tmp_path))], QUICK)[0]
    assert "contended" in made.flags
    assert any("waited for a core for 10% of the time" in note for note in made.notes)


def test_a_falling_clock_is_throttling(tmp_path: Path) -> None:
    states = [State(mhz={0: 2400.0})] * 6 + [State(mhz={0: 1200.0})]
    made = measure(FakeDevice(states), [work(FakeSession(steady()), artifact(tmp_path))], QUICK)[0]
    assert "throttled" in made.flags


def test_a_hot_device_is_marked(tmp_path: Path) -> None:
    hot = FakeDevice([State(thermal_status=3)])
    made = measure(hot, [work(FakeSession(steady()), artifact(tmp_path))], QUICK)[0]
    assert {"too_hot", "throttled"} <= set(made.flags)


def test_noise_is_said_to_be_wide(tmp_path: Path) -> None:
    session = FakeSession(steady(2e7, spread=0.4))
    made = measure(FakeDevice(), [work(session, artifact(tmp_path))], Limits(seconds=0.1))[0]
    assert "wide_interval" in made.flags
    assert made.trusted


def failing_after(count: int, error: BaseException) -> Callable[[int], float]:
    def latency(index: int) -> float:
        if index >= count:
            raise error
        return 2e6

    return latency


def test_a_runner_that_dies_keeps_what_it_did_and_stops_nobody(tmp_path: Path) -> None:
    dying = FakeSession(failing_after(100, RunnerError("died")))
    jobs = [
        work(dying, artifact(tmp_path, name="a.onnx")),
        work(FakeSession(steady()), artifact(tmp_path, name="b.onnx")),
    ]
    first, second = measure(FakeDevice(), jobs, QUICK)
    assert "failed" in first.flags
    assert first.samples
    assert "failed: died" in first.notes
    assert "failed" not in second.flags
    assert len(second.samples) >= 30


def test_a_device_that_goes_keeps_everything(tmp_path: Path) -> None:
    gone = FakeSession(failing_after(100, DeviceError("unplugged")))
    made = measure(FakeDevice(), [work(gone, artifact(tmp_path))], QUICK)[0]
    assert "failed" in made.flags
    assert made.samples


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    session = FakeSession(failing_after(100, KeyboardInterrupt()))
    kept: list[Measurement] = []
    with pytest.raises(KeyboardInterrupt):
        measure(FakeDevice(), [work(session, artifact(tmp_path))], QUICK, record=kept.append)
    assert "interrupted" in kept[0].flags
    assert kept[0].samples
    assert session.closed


def test_a_file_that_does_not_load(tmp_path: Path) -> None:
    bad = work(RunnerError("no model"), artifact(tmp_path, name="a.onnx"))
    good = work(FakeSession(steady()), artifact(tmp_path, name="b.onnx"))
    with pytest.raises(RunnerError, match="no model"):
        measure(FakeDevice(), [bad], QUICK)
    failed: list[str] = []
    made = measure(
        FakeDevice(), [bad, good], QUICK, failed=lambda work, error: failed.append(error.message)
    )
    assert failed == ["no model"]
    assert [m.artifact["file"] for m in made] == ["b.onnx"]


def test_a_tool_that_is_started_anew_gets_longer_turns(tmp_path: Path) -> None:
    session = FakeSession(steady(1e7), loaded=Loaded("tool", resident=False))
    made = measure(FakeDevice(), [work(session, artifact(tmp_path))], Limits(seconds=0.05))[0]
    assert set(made.blocks) == {100}


def test_a_count_needs_no_statistics(tmp_path: Path) -> None:
    session = FakeSession(lambda index: 101_070_000, unit="instructions")
    made = measure(FakeDevice(), [work(session, artifact(tmp_path))], QUICK)[0]
    assert made.samples == (101_070_000,) * 3
    assert made.unit == "instructions"
    assert made.flags == ()
    assert made.warmup == 1

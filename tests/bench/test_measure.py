"""The measuring loop, on devices and runners that behave as they are told."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mobile_export.bench.conditions import busy_cores, contention, throttling
from mobile_export.bench.devices.device import State
from mobile_export.bench.measure import Limits, RunnerJob, measure, wait_until_cool
from mobile_export.bench.record import Measurement
from mobile_export.bench.runners.runner import Loaded, RawResult
from mobile_export.bench.tables import make_rows
from mobile_export.errors import DeviceError, RunnerError
from tests.bench.examples import FakeDevice, FakeRow, FakeSession, artifact, work

QUICK = Limits(
    seconds=1.0, warmup_seconds=0.2, block_seconds=0.02, cool_seconds=0.0, retry_seconds=(0.05,) * 6
)


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


def test_what_is_told_meanwhile_has_no_infinite_figure(tmp_path: Path) -> None:
    told: list[str] = []
    jobs = [work(FakeSession(steady()), artifact(tmp_path))]
    measure(FakeDevice(), jobs, QUICK, progress=told.append)
    assert any("round" in stage for stage in told)
    assert not any(word in stage for stage in told for word in ("inf", "nan", "%"))


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
    assert pair.result.answer(0.05) == "slower"
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
    states = [State(mhz={0: 2400.0})] * 25 + [State(mhz={0: 1200.0})]
    made = measure(FakeDevice(states), [work(FakeSession(steady()), artifact(tmp_path))], QUICK)[0]
    assert "throttled" in made.flags


def test_runs_that_become_slower_are_throttled_whatever_the_clocks_say(tmp_path: Path) -> None:
    session = FakeSession(lambda index: 2e6 if index < 500 else 2.3e6)
    made = measure(FakeDevice(), [work(session, artifact(tmp_path))], QUICK)[0]
    assert "throttled" in made.flags
    assert any("its runs became" in note for note in made.notes)


def test_the_process_is_started_several_times_and_the_interval_is_over_the_starts(
    tmp_path: Path,
) -> None:
    """Two processes of one program differ by 1 %, and every run of one is the same."""
    speeds = [2.00e6, 2.02e6, 1.98e6, 2.01e6, 1.99e6, 2.00e6]
    job = work(FakeSession(lambda index: 0), artifact(tmp_path))

    class Starting(FakeRow):
        opened = 0

        def open(self, device: object, job: object) -> FakeSession:
            speed = speeds[min(type(self).opened, 5)]
            type(self).opened += 1
            return FakeSession(lambda index: speed)

    row = Starting(FakeSession(lambda index: 0))
    limits = dataclasses.replace(QUICK, seconds=60.0)
    (made,) = measure(FakeDevice(), [RunnerJob(row, job.job, row)], limits)
    assert made.start_medians == speeds
    assert made.starts == (9,) * 6
    (row_of_table,) = make_rows([made], flagged=True)[0]
    # Student, 5 degrees of freedom, by any table, and 6 %: 1.06 * 2.571 * 14142 / sqrt(6)
    assert row_of_table.interval == pytest.approx((2e6 - 15734, 2e6 + 15734), rel=1e-4)


def test_too_few_starts_have_no_interval(tmp_path: Path) -> None:
    limits = dataclasses.replace(QUICK, starts=2)
    (made,) = measure(FakeDevice(), [work(FakeSession(steady()), artifact(tmp_path))], limits)
    assert len(made.starts) == 2
    assert "wide_interval" in made.flags
    assert any("2 starts of the process; an interval takes 6" in note for note in made.notes)


class Dropping(FakeDevice):
    """Lost until it is looked for the third time."""

    tries = 0

    def reconnect(self) -> None:
        self.tries += 1
        if self.tries < 3:
            raise DeviceError("still away")


def test_a_dropped_connection_is_found_again_and_nothing_is_lost(tmp_path: Path) -> None:
    dropped: list[int] = []

    def latency(index: int) -> float:
        if index == 300 and not dropped:
            dropped.append(index)
            raise DeviceError("gone")
        return 2e6

    device = Dropping()
    (made,) = measure(device, [work(FakeSession(latency), artifact(tmp_path))], QUICK)
    assert dropped
    assert device.tries == 3
    assert "failed" not in made.flags
    assert sum(made.blocks) == len(made.samples)
    assert len(made.starts) >= 6


def test_an_error_that_nobody_expects_loses_nothing(tmp_path: Path) -> None:
    session = FakeSession(failing_after(300, ZeroDivisionError("a bug")))
    kept: list[Measurement] = []
    with pytest.raises(ZeroDivisionError):
        measure(FakeDevice(), [work(session, artifact(tmp_path))], QUICK, record=kept.append)
    assert "failed" in kept[0].flags
    assert kept[0].samples


def test_the_time_of_this_machine_is_not_the_phones(tmp_path: Path) -> None:
    """Two cores of a phone are busy with others; here this process works hard meanwhile."""

    class Away(FakeDevice):
        here = False

        def state(self) -> State:
            ticks = int(time.monotonic() * 100)
            return State(busy_ticks=2 * ticks, steal_ticks=0, ticks_per_second=100)

    def busy(index: int) -> float:
        sum(range(20_000))
        return 2e6

    made = measure(Away(), [work(FakeSession(busy), artifact(tmp_path))], QUICK)[0]
    assert any("other processes kept 2.0 cores busy" in note for note in made.notes)


def test_waiting_is_a_share_of_the_time_of_all_threads() -> None:
    result = RawResult((1,), wall_ns=1000, waited_ns=70)
    assert contention([result], threads=4) is None  # 1.75 % of the time of each
    assert contention([result], threads=1) is not None


def clocks(core: int, mhz: float, ticks: int) -> dict[str, dict[int, float]]:
    """Core 0 is fast and idle; ``core`` works at ``mhz``."""
    return {"mhz": {0: 2800.0, core: mhz}, "core_ticks": {0: 0, core: ticks}}


def test_the_core_that_ran_is_judged_not_an_idle_one_beside_it() -> None:
    falling = [State(**clocks(4, 1800 - 40 * i, 100 * i)) for i in range(12)]  # type: ignore[arg-type]
    assert busy_cores(falling, None) == {4}
    assert "fell" in (throttling(falling, busy_cores(falling, None)) or "")
    steady_states = [State(**clocks(4, 1800, 100 * i)) for i in range(12)]  # type: ignore[arg-type]
    capped = [dataclasses.replace(s, extra={"capped_mhz": {"0": 900}}) for s in steady_states]
    assert throttling(capped, busy_cores(capped, None)) is None
    assert throttling(capped, frozenset({0})) is not None


def test_a_hot_device_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("mobile_export.bench.measure.time.sleep", slept.append)
    warm = FakeDevice([State(thermal_status=3)] * 4 + [State(thermal_status=0)])
    assert wait_until_cool(warm, 60.0).thermal_status == 0
    assert len(slept) == 4
    cool = State(temperature_c=40.0, thermal_status=0)
    cooling = FakeDevice([State(temperature_c=c) for c in (50.0, 44.0, 41.5)])
    assert wait_until_cool(cooling, 60.0, like=cool).temperature_c == 41.5


def test_a_hot_device_is_marked(tmp_path: Path) -> None:
    hot = FakeDevice([State(thermal_status=3)])
    made = measure(hot, [work(FakeSession(steady()), artifact(tmp_path))], QUICK)[0]
    assert {"too_hot", "throttled"} <= set(made.flags)


def test_noise_is_said_to_be_wide(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    session = FakeSession(lambda index: rng.lognormal(np.log(2e7), 0.7))
    made = measure(FakeDevice(), [work(session, artifact(tmp_path))], QUICK)[0]
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


class Gone(FakeDevice):
    def reconnect(self) -> None:
        raise DeviceError("it does not come back")


def test_a_device_that_goes_keeps_everything(tmp_path: Path) -> None:
    gone = FakeSession(failing_after(100, DeviceError("unplugged")))
    made = measure(Gone(), [work(gone, artifact(tmp_path))], QUICK)[0]
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

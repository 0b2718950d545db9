"""The vendors' tools: their prints, complete and cut off, and a tool that is a script."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobile_export.bench.devices import connect
from mobile_export.bench.measure import Limits, RunnerJob, measure
from mobile_export.bench.runners import get_runner
from mobile_export.bench.runners.runner import Job
from mobile_export.bench.runners.vendor import (
    TOOLS,
    read_benchmark_model,
    read_min_max_avg,
    read_perf_test,
)
from mobile_export.bench.tables import Row
from mobile_export.errors import RunnerError
from tests.bench.examples import artifact

# As the sources of the tools print them (tensorflow/lite/tools/benchmark, tflite::util::Stat;
# onnxruntime/test/perftest/performance_result.cc; ncnn/benchmark; TNN/test), figures made up.
BENCHMARK_MODEL = """\
INFO: Loaded model net.tflite
INFO: Initialized session in 12.345ms.
INFO: Running benchmark for at least 10 iterations and at least 0 seconds
INFO: count=10 first=9100 curr=7600 min=7500 max=9100 avg=7800.5 std=450

INFO: Running benchmark for at least 50 iterations and at least 0 seconds
INFO: count=50 first=7552 curr=7490 min=7401 max=7990 avg=7503.2 std=61 p5=7420 median=7498 p95=7610

INFO: Inference timings in us: Init: 12345, First inference: 9100, Warmup (avg): 7800.5, \
Inference (avg): 7503.2
INFO: Note: as the benchmark tool itself affects memory footprint, the following is approximate
INFO: Memory footprint delta from the start of the tool (MB): init=7.5 overall=18.75
"""
PERF_TEST = """\
Session creation time cost: 0.0568451 s
First inference time cost: 3 ms
Total inference time cost: 0.0928697 s
Total inference requests: 50
Average inference time cost: 1.85739 ms
Total inference run time: 0.0930 s
Number of inferences per second: 537.6
Avg CPU usage: 49 %
Peak working set size: 41943040 bytes
Min Latency: 0.00183404 s
Max Latency: 0.00201 s
P50 Latency: 0.00185021 s
P90 Latency: 0.00187 s
P95 Latency: 0.00189 s
P99 Latency: 0.00201 s
P999 Latency: 0.00201 s
"""
BENCHNCNN = """\
loop_count = 50
num_threads = 1
gpu_device = -1
            net.param  min =    5.11  max =    5.54  avg =    5.20
"""
TNN = """\
TNN Benchmark time cost: min = 21.500  ms  |  max = 24.125  ms  |  avg = 22.250  ms
"""


def test_benchmark_model() -> None:
    figures = read_benchmark_model(BENCHMARK_MODEL)
    assert figures["median"] == 7_498_000
    assert figures["mean"] == pytest.approx(7_503_200)
    assert figures["load"] == 12_345_000
    assert figures["count"] == 50
    assert figures["min"] == 7_401_000


def test_benchmark_model_of_before_percentiles() -> None:
    figures = read_benchmark_model(BENCHMARK_MODEL.replace(" p5=7420 median=7498 p95=7610", ""))
    assert "median" not in figures
    assert figures["mean"] == pytest.approx(7_503_200)


def test_perf_test() -> None:
    figures = read_perf_test(PERF_TEST)
    assert figures["mean"] == pytest.approx(1_857_390)
    assert figures["median"] == pytest.approx(1_850_210)
    assert figures["p99"] == pytest.approx(2_010_000)
    assert figures["load"] == pytest.approx(56_845_100)


def test_min_max_avg() -> None:
    assert read_min_max_avg(BENCHNCNN) == {"min": 5.11e6, "max": 5.54e6, "mean": 5.2e6}
    assert read_min_max_avg(TNN) == {"min": 21.5e6, "max": 24.125e6, "mean": 22.25e6}


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("text", ["", "Segmentation fault", "avg", "\ufffd\ufffd avg = x"])
def test_garbage_has_no_figures(name: str, text: str) -> None:
    assert TOOLS[name].read(text) == {}


def test_what_was_cut_off_has_no_figures() -> None:
    assert read_benchmark_model(BENCHMARK_MODEL[: BENCHMARK_MODEL.index("Inference timings")]) == {}
    assert read_perf_test(PERF_TEST[: PERF_TEST.index("Average")]) == {}
    assert read_min_max_avg(BENCHNCNN[: BENCHNCNN.index("avg")]) == {}


def script(folder: Path, text: str) -> Path:
    """A tool that keeps its arguments and prints ``text``."""
    (folder / "print.txt").write_text(text)
    tool = folder / "tool"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {folder}/args\ncat {folder}/print.txt\n')
    tool.chmod(0o755)
    return tool


def tool_job(folder: Path, name: str, file: str, text: str) -> RunnerJob:
    made = artifact(folder, name=file)
    job = Job(made, threads=2, cores=(0,), binary=script(folder, text), timeout=20)
    row = get_runner(name)
    return RunnerJob(row, job, row.runner())


@pytest.mark.parametrize(
    ("name", "file", "text", "words", "ms"),
    [
        ("benchmark-model", "a.tflite", BENCHMARK_MODEL, "--num_threads=2 --num_runs=50", 7.498),
        ("perf-test", "a.onnx", PERF_TEST, "-r 50 -x 2", 1.85021),
        ("benchncnn", "a.ncnn.param", BENCHNCNN, "50 2 0 -1 0 param=", 5.2),
        ("tnn-test", "a.tnnproto", TNN, "-dt ARM -th 2", 22.25),
    ],
)
def test_a_tool_is_started_and_read(
    tmp_path: Path, name: str, file: str, text: str, words: str, ms: float
) -> None:
    (made,) = measure(connect("local"), [tool_job(tmp_path, name, file, text)], Limits(seconds=5))
    assert words in (tmp_path / "args").read_text()
    assert Row(made).median_ms == pytest.approx(ms)
    assert made.samples == ()
    assert "unchecked" in made.flags


def test_a_tool_that_prints_garbage(tmp_path: Path) -> None:
    work = tool_job(tmp_path, "perf-test", "a.onnx", "Illegal instruction")
    (made,) = measure(connect("local"), [work], Limits())
    assert "failed" in made.flags
    assert any("printed no figures" in note for note in made.notes)
    assert any("Illegal instruction" in note for note in made.notes)


def test_a_tool_must_be_pointed_at(tmp_path: Path) -> None:
    runner, device = get_runner("perf-test").runner(), connect("local")
    made = artifact(tmp_path)
    assert "--binary" in str(runner.missing(device, Job(made)))
    assert "there is no" in str(runner.missing(device, Job(made, binary=tmp_path / "none")))
    with pytest.raises(RunnerError):
        runner.open(device, Job(made, binary=script(tmp_path, "x"))).run(1)

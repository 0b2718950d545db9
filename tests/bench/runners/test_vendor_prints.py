"""What vendors' tools printed on real devices, as their users published it.

Sources: logs of benchmark_model (TensorFlow 2.4 under qemu, LiteRT in Android's logcat),
SpacemiT's manual and Arm's learning path for onnxruntime_perf_test.
"""

from __future__ import annotations

import pytest

from mobile_export.bench.runners.vendor import read_benchmark_model, read_perf_test

OLD_BENCHMARK_MODEL = """\
STARTING!
Num threads: [4]
Graph: [./mobilenet_v1_1.0_224.tflite]
Loaded model ./mobilenet_v1_1.0_224.tflite
The input model file size (MB): 16.9008
Initialized session in 17.187ms.
count=1 curr=3512391

count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, \
Inference (avg): 2.95034e+06
Memory footprint delta from the start of the tool (MB): init=4.21094 overall=46.0859
"""
LOGCAT_BENCHMARK_MODEL = """\
I tflite  : count=3 first=261212 curr=190010 min=183785 max=261212 avg=211669 std=35122
I tflite  : count=25 first=187533 curr=140990 min=140071 max=195121 avg=145528 std=13583 p5=140545 \
median=141253 p95=187533
I tflite  : Inference timings in us: Init: 92318, First inference: 187533, Warmup (avg): 211669, \
Inference (avg): 145528
"""
PERF_TEST = """\
using SpaceMITExecutionProvider
Session creation time cost: 2.74716 s
First inference time cost: 85 ms
Total inference time cost: 6.22935 s
Total inference requests: 100
Average inference time cost: 62.2935 ms
Total inference run time: 6.23146 s
Number of inferences per second: 16.0476
Total CPU usage: 382 %
Peak working set size: 114634752 bytes
Min Latency: 0.0529422 s
Max Latency: 0.0912857 s
P50 Latency: 0.0603562 s
P90 Latency: 0.0741593 s
P95 Latency: 0.0837052 s
P99 Latency: 0.0912857 s
P999 Latency: 0.0912857 s
"""
NEW_PERF_TEST = """\
Setting intra_op_num_threads to 1
Session creation time cost: 0.217932 s
First inference time cost: 196 ms
Total inference time cost: 0.49481 s
Total inference requests: 5
Average inference time cost total: 98.961997 ms
Total inference run time: 0.494854 s
Number of inferences per second: 10.104
Avg CPU usage: 11 %
Peak working set size: 271122432 bytes
Min Latency: 0.0958204 s
P50 Latency: 0.0995086 s
"""


def test_benchmark_model_of_2020() -> None:
    figures = read_benchmark_model(OLD_BENCHMARK_MODEL)
    assert figures["mean"] == pytest.approx(2.95034e9)
    assert figures["min"] == 2_727_568_000
    assert figures["count"] == 50
    assert figures["load"] == 17_187_000


def test_benchmark_model_in_logcat() -> None:
    figures = read_benchmark_model(LOGCAT_BENCHMARK_MODEL)
    assert figures["median"] == 141_253_000
    assert figures["count"] == 25


def test_perf_test_of_a_board() -> None:
    figures = read_perf_test(PERF_TEST)
    assert figures["mean"] == pytest.approx(62_293_500)
    assert figures["median"] == pytest.approx(60_356_200)
    assert figures["p99"] == pytest.approx(91_285_700)
    assert figures["count"] == 100
    assert figures["first"] == 85_000_000


def test_perf_test_of_2025() -> None:
    figures = read_perf_test(NEW_PERF_TEST)
    assert figures["mean"] == pytest.approx(98_961_997)
    assert figures["median"] == pytest.approx(99_508_600)
    assert figures["count"] == 5

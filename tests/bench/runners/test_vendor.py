"""The vendors' tools: their prints, complete and cut off, and a tool that is a script."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mobile_export.artifacts.content import sha256_of
from mobile_export.artifacts.manifest import FileFacts
from mobile_export.bench.devices import connect
from mobile_export.bench.devices.local import LocalDevice
from mobile_export.bench.files import read_artifact
from mobile_export.bench.measure import Limits, RunnerJob, measure
from mobile_export.bench.report import operators_grid
from mobile_export.bench.runners import get_runner
from mobile_export.bench.runners.runner import Job
from mobile_export.bench.runners.vendor import (
    TOOLS,
    read_benchmark_model,
    read_min_max_avg,
    read_operators,
    read_perf_test,
    read_placed,
    read_vulkan,
)
from mobile_export.bench.tables import Row
from mobile_export.errors import RunnerError
from mobile_export.pipeline import ExportReport
from tests.bench.examples import artifact, measurement, write_manifest

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
        ("tnn-test", "a.tnnproto", TNN, "-pr HIGH", 22.25),
    ],
)
def test_a_tool_is_started_and_read(
    tmp_path: Path, name: str, file: str, text: str, words: str, ms: float
) -> None:
    (made,) = measure(connect("local"), [tool_job(tmp_path, name, file, text)], Limits(seconds=5))
    assert words in (tmp_path / "args").read_text()
    assert Row(made).median_ms == pytest.approx(ms)
    assert made.samples == ()
    assert "unchecked" in made.flags  # the file of benchmark_model is none here
    assert made.runner["precision"] == ("unknown" if name == "benchncnn" else "fp32")


@pytest.mark.parametrize(
    ("name", "backend", "precision", "words"),
    [
        ("benchmark-model", "cpu", None, "--xnnpack_force_fp16=false"),
        ("benchmark-model", "gpu", None, "--gpu_precision_loss_allowed=false"),
        ("benchmark-model", "gpu", "fp16", "--gpu_precision_loss_allowed=true"),
        ("benchmark-model", "nnapi", "fp16", "--nnapi_allow_fp16=true"),
        ("perf-test", "nnapi", "fp16", "-i NNAPI_FLAG_USE_FP16"),
        ("tnn-test", "opencl", None, "-pr HIGH"),
        ("tnn-test", "cpu", "fp16", "-pr NORMAL"),
    ],
)
def test_a_tool_is_told_its_precision_and_the_record_says_what_it_was_told(
    tmp_path: Path, name: str, backend: str, precision: str | None, words: str
) -> None:
    job = Job(artifact(tmp_path), backend=backend, precision=precision)
    command = TOOLS[name].command("tool", ["a"], job, 50)
    assert words in " ".join(command)
    assert TOOLS[name].precision(job) == (precision or "fp32")


def test_a_tool_that_cannot_be_told_its_precision_is_not_asked_to(tmp_path: Path) -> None:
    """benchncnn turns float16 on by itself where the CPU has it: that is never an fp32 figure."""
    job = Job(artifact(tmp_path), precision="fp32", binary=script(tmp_path, BENCHNCNN))
    said = get_runner("benchncnn").runner().missing(connect("local"), job)
    assert said == "benchncnn cannot be told a precision on the backend cpu"
    half = Job(artifact(tmp_path), precision="fp16", binary=script(tmp_path, PERF_TEST))
    said = get_runner("perf-test").runner().missing(connect("local"), half)
    assert said == "onnxruntime_perf_test computes in fp32 only on the backend cpu"


LOOKUP = f"""\
#!/bin/sh
# As TNNTest does: the weights lie beside the network, under its name, and are not needed.
while [ $# -gt 0 ]; do [ "$1" = -mp ] && network=$2; shift; done
cat "$network" "${{network%.tnnproto}}.tnnmodel" >/dev/null 2>&1
echo '{TNN.strip()}'
"""


def tnn_job(folder: Path) -> RunnerJob:
    """A network with its weights, and a tool that looks for them as TNN's does."""
    weights = folder / "a b.tnnmodel"
    weights.write_bytes(bytes(200_000))
    made = artifact(folder, name="a b.tnnproto")
    manifest = msgspec.structs.replace(
        made.manifest, companions=(FileFacts(weights.name, sha256_of(weights)),)
    )
    write_manifest(made.path, manifest)
    tool = folder / "TNNTest"
    tool.write_text(LOOKUP)
    tool.chmod(0o755)
    row = get_runner("tnn-test")
    job = Job(read_artifact(made.path), binary=tool, timeout=20)
    return RunnerJob(row, job, row.runner())


class Elsewhere(LocalDevice):
    """This machine, except that files are copied into a folder as they are called there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def push(self, local: Path, name: str | None = None, *, sha256: str | None = None) -> str:
        return str(shutil.copy2(local, self.folder / (name or f"{sha256}-{local.name}")))


class Split(Elsewhere):
    """The mistake that this test is about: every file gets a stem of its own."""

    def push(self, local: Path, name: str | None = None, *, sha256: str | None = None) -> str:
        return super().push(local, f"{sha256}-{local.name}", sha256=sha256)


def test_weights_lie_beside_the_network_under_its_name(tmp_path: Path) -> None:
    work = tnn_job(tmp_path)
    with work.runner.open(Elsewhere(tmp_path / "there"), work.job) as session:
        assert session.run(50).summary["mean"] == 22.25e6


def test_a_figure_without_the_weights_is_none(tmp_path: Path) -> None:
    work = tnn_job(tmp_path)
    with (
        work.runner.open(Split(tmp_path / "there"), work.job) as session,
        pytest.raises(RunnerError, match="did not load the weights: it read"),
    ):
        session.run(50)


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


MODEL = f"""\
#!{sys.executable}
# As benchmark_model: runs the file by LiteRT itself, with the input from a file, the outputs into
# one, and a log of what the delegate took.
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
options = dict(word[2:].split("=", 1) for word in sys.argv[1:])
model = Interpreter(options["graph"], num_threads=1)
model.allocate_tensors()
(taken,) = model.get_input_details()
if "input_layer" in options:
    assert options["input_layer"] == taken["name"]
    assert options["input_layer_shape"] == ",".join(map(str, taken["shape"]))
    name, file = options["input_layer_value_files"].rsplit(":", 1)
    assert name == taken["name"].replace(":", "\\\\:")
    model.set_tensor(taken["index"], np.fromfile(file, "<f4").reshape(taken["shape"]))
model.invoke()
if "output_filepath" in options:
    with open(options["output_filepath"], "wb") as stream:
        for output in model.get_output_details():
            stream.write((model.get_tensor(output["index"]) * SCALE).tobytes())
print(LOG)
print({BENCHMARK_MODEL!r})
"""

WHOLE = (
    "VERBOSE: Replacing 30 out of 30 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 "
    "partitions for subgraph 0.\n"
    "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the "
    "delegate."
)
PART = WHOLE.replace("30 out of 30", "24 out of 30").replace("completely", "partially")
NOTHING = (
    "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the "
    "delegate."
)


def litert_job(
    folder: Path, exported: Callable[..., ExportReport], backend: str, log: str, scale: str = "1.0"
) -> RunnerJob:
    tool = folder / "benchmark_model"
    tool.write_text(MODEL.replace("LOG", repr(log)).replace("SCALE", scale))
    tool.chmod(0o755)
    path = exported("tflite").artifacts[0].files[0]
    row = get_runner("benchmark-model")
    return RunnerJob(
        row, Job(read_artifact(path), backend=backend, binary=tool, timeout=60), row.runner()
    )


ONCE = Limits(seconds=60, starts=1)


@pytest.mark.parametrize(("log", "share"), [(WHOLE, 1.0), (PART, 0.8)])
def test_the_outputs_of_a_gpu_are_checked_and_its_share_is_read(
    tmp_path: Path, exported: Callable[..., ExportReport], log: str, share: float
) -> None:
    work = litert_job(tmp_path, exported, "gpu", log)
    (made,) = measure(connect("local"), [work], ONCE)
    assert made.check is not None
    assert made.check.passed
    assert "unchecked" not in made.flags
    assert made.runner["backend"] == "gpu"
    assert Row(made).delegated == share


def test_a_gpu_that_computes_something_else_is_not_timed(
    tmp_path: Path, exported: Callable[..., ExportReport]
) -> None:
    work = litert_job(tmp_path, exported, "gpu", WHOLE, scale="1.5")
    (made,) = measure(connect("local"), [work], ONCE)
    assert "wrong_output" in made.flags
    assert Row(made).median_ms is None


@pytest.mark.parametrize("log", [NOTHING, "", WHOLE.replace("GPU delegate", "XNNPACK delegate")])
def test_a_run_that_fell_back_to_the_cpu_is_no_figure_of_the_gpu(
    tmp_path: Path, exported: Callable[..., ExportReport], log: str
) -> None:
    (made,) = measure(connect("local"), [litert_job(tmp_path, exported, "gpu", log)], ONCE)
    assert "failed" in made.flags
    assert any("gave nothing to the gpu and ran on the CPU" in note for note in made.notes)
    assert Row(made).median_ms is None


TEST_RUNNER = f"""\
#!{sys.executable}
# As onnx_test_runner -I (onnxruntime/test/onnx): runs every model of a folder on the inputs of its
# test data sets by onnxruntime, and saves what comes out beside them.
import sys
from pathlib import Path
import numpy as np, onnx, onnx.numpy_helper, onnxruntime
words, root = sys.argv[1:-1], Path(sys.argv[-1])
assert words == ["-I", "-c", "1", "-j", "1", "-e", "PROVIDER"], words
(model,) = root.glob("*.onnx")
session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
for data in (one for one in root.iterdir() if one.is_dir()):
    tensor = onnx.TensorProto.FromString((data / "input_0.pb").read_bytes())
    fed = {{tensor.name: onnx.numpy_helper.to_array(tensor)}}
    for i, value in enumerate(session.run(None, fed)):
        made = onnx.numpy_helper.from_array(value * np.float32(SCALE))
        (data / f"actual_output_{{i}}.pb").write_bytes(made.SerializeToString())
"""
OLD_TEST_RUNNER = """\
#!/bin/sh
echo 'onnx_test_runner [options...] <data_root>'
echo 'Options: -j [models]: Specifies the number of models to run simultaneously.'
exit 255
"""


def perf_job(
    folder: Path, exported: Callable[..., ExportReport], tester: str, backend: str = "cpu"
) -> RunnerJob:
    """onnxruntime_perf_test that is a script, with ``tester`` beside it, on a real file."""
    log = "" if backend == "cpu" else PLACED.replace("Nnapi", "Xnnpack")
    tool = script(folder, log + PERF_TEST)
    beside = folder / "onnx_test_runner"
    beside.write_text(tester.replace("PROVIDER", backend))
    beside.chmod(0o755)
    row = get_runner("perf-test")
    path = exported("onnx").artifacts[0].files[0]
    job = Job(read_artifact(path), backend=backend, binary=tool, timeout=60)
    return RunnerJob(row, job, row.runner())


@pytest.mark.parametrize("backend", ["cpu", "xnnpack"])
def test_what_onnxruntime_computes_is_checked_by_the_other_tool_of_its_build(
    tmp_path: Path, exported: Callable[..., ExportReport], backend: str
) -> None:
    work = perf_job(tmp_path, exported, TEST_RUNNER.replace("SCALE", "1.0"), backend)
    (made,) = measure(connect("local"), [work], ONCE)
    assert made.check is not None
    assert made.check.passed
    assert "unchecked" not in made.flags
    assert Row(made).median_ms == pytest.approx(1.85021)


def test_what_onnxruntime_computes_wrongly_is_not_timed(
    tmp_path: Path, exported: Callable[..., ExportReport]
) -> None:
    work = perf_job(tmp_path, exported, TEST_RUNNER.replace("SCALE", "1.5"))
    (made,) = measure(connect("local"), [work], ONCE)
    assert "wrong_output" in made.flags
    assert Row(made).median_ms is None


@pytest.mark.parametrize(
    ("tester", "backend", "precision"),
    [(OLD_TEST_RUNNER, "cpu", None), (TEST_RUNNER.replace("SCALE", "1.0"), "nnapi", "fp16")],
)
def test_what_the_other_tool_cannot_do_is_unchecked(
    tmp_path: Path,
    exported: Callable[..., ExportReport],
    tester: str,
    backend: str,
    precision: str | None,
) -> None:
    """It saves outputs since onnxruntime 1.22, and has no option for float16 on NNAPI."""
    work = perf_job(tmp_path, exported, tester, backend)
    (tmp_path / "print.txt").write_text(PLACED + PERF_TEST)
    job = dataclasses.replace(work.job, precision=precision)
    (made,) = measure(connect("local"), [dataclasses.replace(work, job=job)], ONCE)
    assert "unchecked" in made.flags
    assert Row(made).median_ms == pytest.approx(1.85021)


@pytest.mark.parametrize(
    ("tester", "message"),
    [
        ("#!/bin/sh\necho 'Segmentation fault'; exit 139\n", "Segmentation fault"),
        (
            "#!/bin/sh\nfor last; do :; done; echo x > $last/test_data_set_0/actual_output_0.pb\n",
            "cannot be read",
        ),
    ],
)
def test_the_other_tool_that_fails_is_no_check(
    tmp_path: Path, exported: Callable[..., ExportReport], tester: str, message: str
) -> None:
    (made,) = measure(connect("local"), [perf_job(tmp_path, exported, tester)], ONCE)
    assert "failed" in made.flags
    assert any("onnx_test_runner" in note and message in note for note in made.notes)


# As onnxruntime 1.32 logs with -v; NNAPI's line as in nnapi_execution_provider.cc.
PLACED = """\
2026-11-28 15:37:05.6 [I:onnxruntime:, nnapi_execution_provider.cc:152 GetCapability] \
NnapiExecutionProvider::GetCapability, number of partitions supported by NNAPI: 2 number of nodes \
in the graph: 90 number of nodes supported by NNAPI: 72
2026-11-28 15:37:05.7 [V:onnxruntime:, session_state.cc:1601 VerifyEachNodeIsAssignedToAnEp]  \
Node(s) placed on [NnapiExecutionProvider]. Number of nodes: 2
2026-11-28 15:37:05.7 [V:onnxruntime:, session_state.cc:1604 VerifyEachNodeIsAssignedToAnEp]  \
Node(s) placed on [CPUExecutionProvider]. Number of nodes: 18
"""
ON_CPU = """\
2026-11-28 15:37:05.692248291 [V:onnxruntime:, session_state.cc:1601 \
VerifyEachNodeIsAssignedToAnEp]  All nodes placed on [CPUExecutionProvider]. Number of nodes: 149
"""


def test_what_onnxruntime_gave_to_a_provider() -> None:
    assert read_placed(PLACED, "nnapi") == {"delegated_nodes": 72, "nodes": 90}
    assert read_placed(PLACED, "xnnpack") is None
    assert read_placed(ON_CPU, "nnapi") is None
    assert read_placed(PLACED.replace("Nnapi", "Xnnpack"), "xnnpack") == {}


def on(backend: str, work: RunnerJob, **facts: bool) -> RunnerJob:
    """The same with another backend and other options."""
    return dataclasses.replace(work, job=dataclasses.replace(work.job, backend=backend, **facts))


@pytest.mark.parametrize(("log", "fails"), [(PLACED, False), (ON_CPU, True)])
def test_onnxruntime_that_ran_on_the_cpu_is_no_row_of_nnapi(
    tmp_path: Path, log: str, fails: bool
) -> None:
    """Its log is asked for in a run of its own, so that nothing is written while it is timed."""
    work = on("nnapi", tool_job(tmp_path, "perf-test", "a.onnx", log + PERF_TEST))
    (made,) = measure(connect("local"), [work], ONCE)
    assert ("failed" in made.flags) == fails
    assert Row(made).delegated == (None if fails else 0.8)
    asked = (tmp_path / "args").read_text().splitlines()
    assert asked[0].startswith("-v ")
    assert not any(words.startswith("-v ") for words in asked[1:])


# As ncnn 20261020 prints on Mesa's llvmpipe.
VULKAN = """\
[0 llvmpipe (LLVM 15.0.6, 256 bits)]  queueC=0[1]  queueT=0[1]  prefer-slm=0  rebar=1  r-score=4
[0 llvmpipe (LLVM 15.0.6, 256 bits)]  fp16-p/s/u/a=1/1/1/1  int8-p/s/u/a=1/1/1/1  bf16-p/s=1/0
"""


def test_benchncnn_without_a_vulkan_device_is_no_row_of_vulkan(tmp_path: Path) -> None:
    assert read_vulkan(VULKAN + BENCHNCNN, "vulkan") == {}
    work = on("vulkan", tool_job(tmp_path, "benchncnn", "a.ncnn.param", BENCHNCNN))
    (made,) = measure(connect("local"), [work], ONCE)
    assert any("gave nothing to the vulkan" in note for note in made.notes)


# As benchmark_model --enable_op_profiling=true prints (TensorFlow's performance guide).
OPERATORS = """\
Profiling Info for Benchmark Initialization:
============================== Summary by node type ==============================
\t            [Node type]\t [count]\t [avg ms]\t   [avg %]\t   [cdf %]\t [mem KB]\t[times called]
\tModifyGraphWithDelegate\t       1\t   14.842\t   99.317%\t   99.317%\t 3428.000\t        1

Operator-wise Profiling Info for Regular Benchmark Runs:
Number of nodes executed: 31
============================== Summary by node type ==============================
\t            [Node type]\t [count]\t [avg ms]\t   [avg %]\t   [cdf %]\t [mem KB]\t[times called]
\tConvolution (NHWC, F32) GEMM\t  15\t    1.406\t   89.270%\t   89.270%\t    0.000\t       15
\t      DEPTHWISE_CONV_2D\t      13\t    0.169\t   10.730%\t  100.000%\t    0.000\t       13

Timings (microseconds): count=50 first=81 curr=81 min=80 max=84 avg=81 std=0
"""


def test_operators_of_the_timed_runs_are_read() -> None:
    first, second = read_operators(OPERATORS)
    assert first["operator"] == "Convolution (NHWC, F32) GEMM"
    assert (first["count"], first["ms"]) == (15, 1.406)
    assert first["share"] == pytest.approx(0.8927)
    assert second["operator"] == "DEPTHWISE_CONV_2D"
    assert read_operators("Summary by node type, cut off") == []


def test_operators_are_asked_for_in_a_run_of_their_own(tmp_path: Path) -> None:
    work = tool_job(tmp_path, "benchmark-model", "a.tflite", OPERATORS + BENCHMARK_MODEL)
    (made,) = measure(connect("local"), [on("cpu", work, operators=True)], ONCE)
    asked = (tmp_path / "args").read_text().splitlines()
    assert ["--enable_op_profiling=true" in words for words in asked[:2]] == [True, False]
    lines = operators_grid([Row(made)]).lines
    assert [line[-4:] for line in lines] == [
        ("Convolution (NHWC, F32) GEMM", "15", "1.406", "89.3%"),
        ("DEPTHWISE_CONV_2D", "13", "0.169", "10.7%"),
    ]


@pytest.mark.parametrize(
    "told", [7, [7], [{}], [{"operator": "x", "count": 1e999, "ms": 1, "share": 1}], None]
)
def test_operators_of_a_store_may_be_anything(told: object) -> None:
    assert operators_grid([Row(measurement(extra={"operators": told}))]).lines == ()

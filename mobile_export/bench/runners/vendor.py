"""The vendors' own tools, which the user points at with ``--binary``: started, and what they print.

They print summaries and no raw samples; every start gives one figure. LiteRT's ``benchmark_model``
writes its outputs into a file, so they are checked like any other runner's, on the backend that is
timed; for ``onnxruntime_perf_test``, which writes none, ``onnx_test_runner`` of the same build does
(`ort_test_runner`). The other tools give none that could be compared, and a measurement with one of
them is flagged "unchecked". Each parser takes what the
tool printed on stdout and stderr together, finds its figures wherever they stand, and ignores the
rest. A tool that was cut off before its last line gives an error, whatever its exit code.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...artifacts.interface import FileInput, FileOutput
from ...artifacts.manifest import Manifest
from ...errors import RunnerError
from ..devices.device import Device
from . import ort_test_runner
from .runner import Job, Loaded, NamedOutput, RawResult

__all__ = ["TOOLS", "create"]

_MOST_OPERATORS = 200
_RUNS_OF_OPERATORS = 10
_NUMBER = r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"
_MS, _US, _S = 1e6, 1e3, 1e9  # nanoseconds
_WARM_UP = 10

Figures = dict[str, float]


def _find(text: str, pattern: str, unit: float) -> float | None:
    """The last number that ``pattern`` leads to, in nanoseconds."""
    found = re.findall(pattern + _NUMBER, text)
    return float(found[-1]) * unit if found else None


def _figures(text: str, unit: float, patterns: Mapping[str, str]) -> Figures:
    values = {key: _find(text, pattern, unit) for key, pattern in patterns.items()}
    return {key: value for key, value in values.items() if value is not None}


def read_benchmark_model(text: str) -> Figures:
    """LiteRT's ``benchmark_model``: microseconds; the line of the timed runs is the last one."""
    lines = [line for line in text.splitlines() if re.search(r"\bcount=\d+.*\bavg=", line)]
    done = re.search(rf"Inference \(avg\):\s*{_NUMBER}", text)
    if not lines or not done:
        return {}
    keys = ("first", "min", "max", "std", "p5", "median", "p95")
    figures = _figures(lines[-1], _US, {key: rf"\b{key}=\s*" for key in keys})
    count = _find(lines[-1], r"\bcount=\s*", 1.0)
    load = _find(text, r"Inference timings in us:\s*Init:\s*", _US)
    return {
        **figures,
        "mean": float(done[1]) * _US,
        **({} if count is None else {"count": count}),
        **({} if load is None else {"load": load}),
    }


def read_perf_test(text: str) -> Figures:
    """``onnxruntime_perf_test -s``: the mean in milliseconds, the rest in seconds."""
    mean = _find(text, r"Average inference time cost(?: total)?:\s*", _MS)
    if mean is None:
        return {}
    seconds = {
        "min": r"Min Latency:\s*",
        "max": r"Max Latency:\s*",
        "median": r"P50 Latency:\s*",
        "p90": r"P90 Latency:\s*",
        "p95": r"P95 Latency:\s*",
        "p99": r"P99 Latency:\s*",
        "load": r"Session creation time cost:\s*",
    }
    count = _find(text, r"Total inference requests:\s*", 1.0)
    first = {"first": r"First inference time cost:\s*"}
    found = {"mean": mean, **_figures(text, _S, seconds), **_figures(text, _MS, first)}
    return found if count is None else {**found, "count": count}


def read_min_max_avg(text: str) -> Figures:
    """``benchncnn`` (stderr) and ``TNNTest``: ``min = 1.2 ms | max = … | avg = …``."""
    found = _figures(
        text, _MS, {"min": r"\bmin\s*=\s*", "max": r"\bmax\s*=\s*", "mean": r"\bavg\s*=\s*"}
    )
    return found if "mean" in found else {}


def _asked(job: Job) -> str:
    """The precision of the arithmetic that a tool is told to use: fp32 unless the user wants less.

    Left alone, the tools choose by themselves: LiteRT's GPU delegate and TNN's ARM kernels compute
    in float16 where they can.
    """
    return job.precision or "fp32"


def _benchmark_model(tool: str, files: list[str], job: Job, count: int) -> list[str]:
    half = "true" if _asked(job) == "fp16" else "false"
    return [
        tool,
        f"--graph={files[0]}",
        f"--num_threads={job.threads}",
        f"--num_runs={count}",
        f"--warmup_runs={_WARM_UP}",
        "--min_secs=0",
        "--warmup_min_secs=0",
        *{
            "cpu": ["--use_xnnpack=true", f"--xnnpack_force_fp16={half}"],
            "gpu": ["--use_gpu=true", f"--gpu_precision_loss_allowed={half}"],
            "nnapi": ["--use_nnapi=true", f"--nnapi_allow_fp16={half}"],
        }[job.backend],
    ]


def _perf_test(tool: str, files: list[str], job: Job, count: int) -> list[str]:
    providers = {"cpu": ["cpu"], "xnnpack": ["xnnpack"], "nnapi": ["nnapi"]}
    half = ["-i", "NNAPI_FLAG_USE_FP16"] if _asked(job) == "fp16" else []
    return [
        tool, "-I", "-s", "-m", "times", "-r", str(count), "-x", str(job.threads), "-y", "1",
        "-e", *providers[job.backend], *half, files[0],
    ]  # fmt: skip


def _benchncnn(tool: str, files: list[str], job: Job, count: int) -> list[str]:
    _, channels, height, width = job.artifact.input_shape
    gpu = "0" if job.backend == "vulkan" else "-1"
    shape = f"shape=[{width},{height},{channels}]"
    return [tool, str(count), str(job.threads), "0", gpu, "0", f"param={files[0]}", shape]


def _tnn_test(tool: str, files: list[str], job: Job, count: int) -> list[str]:
    kind = {"cpu": "ARM", "opencl": "OPENCL"}[job.backend]
    precision = {"fp32": "HIGH", "fp16": "NORMAL"}[_asked(job)]
    return [
        tool, "-mp", files[0], "-dt", kind, "-th", str(job.threads),
        "-wc", str(_WARM_UP), "-ic", str(count), "-pr", precision,
    ]  # fmt: skip


_PROVIDERS = {"nnapi": "NnapiExecutionProvider", "xnnpack": "XnnpackExecutionProvider"}


def read_placed(text: str, backend: str) -> dict[str, int] | None:
    """How much of the graph ``onnxruntime_perf_test -v`` gave to a provider.

    Source: onnxruntime's verbose log, "Node(s) placed on [NnapiExecutionProvider]. Number of nodes:
    3" or "All nodes placed on […]" (inference_session.cc), where what NNAPI took is one node for
    each part; how many it took before, "number of nodes in the graph: 90 number of nodes supported
    by NNAPI: 85", is in nnapi_execution_provider.cc.

    Returns:
        None when nothing was given to it; without numbers where it prints none.
    """
    placed = rf"nodes? ?(?:\(s\))? placed on \[{_PROVIDERS[backend]}\]"
    if not re.search(placed, text, re.IGNORECASE):
        return None
    pattern = r"number of nodes in the graph: (\d+) number of nodes supported by NNAPI: (\d+)"
    found = re.search(pattern, text)
    if backend != "nnapi" or found is None:
        return {}
    return {"delegated_nodes": int(found[2]), "nodes": int(found[1])}


def read_vulkan(text: str, backend: str) -> dict[str, int] | None:
    """Whether ``benchncnn`` opened a Vulkan device; None when not.

    Source: ncnn prints what each device can when it is opened, "[0 NAME]  queueC=0[1] …" (gpu.cpp).
    """
    return {} if re.search(r"^\[\d+ .*\]\s+queueC=", text, re.MULTILINE) else None


def read_operators(text: str) -> list[dict[str, Any]]:
    """Of ``benchmark_model --enable_op_profiling=true``: time by kind of operator, per inference.

    Source: the table "Summary by node type" (stats_calculator.cc) of the timed runs, the last one.
    """
    _, found, table = text.rpartition("Summary by node type")
    line = r"^\s*(\S.*?)\s+(\d+)\s+([\d.]+)\s+([\d.]+)%\s+[\d.]+%\s+[\d.]+\s+\d+\s*$"
    rows = re.findall(line, table, re.MULTILINE) if found else []
    return [
        {"operator": name[:100], "count": int(count), "ms": float(ms), "share": float(share) / 100}
        for name, count, ms, share in rows[:_MOST_OPERATORS]
    ]


def read_delegated(text: str, backend: str) -> dict[str, int] | None:
    """How much of the graph ``benchmark_model`` gave to a delegate: nodes, of how many.

    Source: its log, "Explicitly applied GPU delegate, and the model graph will be completely
    executed by the delegate" (benchmark_tflite_model.cc), and "Replacing 85 out of 90 node(s) with
    delegate (TfLiteGpuDelegateV2) node, yielding 2 partitions" (subgraph.cc).

    Returns:
        None when nothing was delegated; without numbers where it prints none.
    """
    name = backend.upper()
    if not re.search(rf"Explicitly applied {name} delegate", text, re.IGNORECASE):
        return None
    pattern = r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w*)\)"
    found = [m for m in re.findall(pattern, text) if name.lower() in m[2].lower()]
    if not found:
        return {}
    return {"delegated_nodes": sum(int(m[0]) for m in found), "nodes": int(found[0][1])}


@dataclass(frozen=True)
class Tool:
    """How one tool is started and how its print is read.

    Attributes:
        command: (tool, files, job, number of runs) on the device to the arguments.
        read: what it printed to the figures in nanoseconds; empty when they are not all there.
        precisions: backend to the precisions that it can be told to compute in; a backend that is
            not there cannot be told, and what it computes in is unknown.
        outputs: it takes an input and writes its outputs, as ``benchmark_model`` does.
        tester: name of the tool of the same build, beside it, that does so instead.
        accelerated: (what it printed, backend) to how much of the graph a backend other than the
            CPU did, as `read_delegated`; None of what cannot be told so.
        probe: options with which it prints that, for a run that is not timed; without any it is
            always printed.
        operators: options with which it prints the time of every kind of operator, for a run that
            is not timed, and what reads them.
        weights: it reads the weights from a file whose name it derives from the network's, and
            prints figures without them, too.
    """

    title: str
    command: Callable[[str, list[str], Job, int], list[str]]
    read: Callable[[str], Figures]
    precisions: Mapping[str, tuple[str, ...]]
    weights: bool = False
    outputs: bool = False
    tester: str | None = None
    accelerated: Callable[[str, str], dict[str, int] | None] | None = None
    probe: tuple[str, ...] = ()
    operators: tuple[tuple[str, ...], Callable[[str], list[dict[str, Any]]]] | None = None

    def precision(self, job: Job) -> str:
        """Of the arithmetic: what the tool is told, or ``unknown``."""
        return _asked(job) if job.backend in self.precisions else "unknown"


_BOTH = ("fp32", "fp16")

TOOLS: Mapping[str, Tool] = {
    "benchmark-model": Tool(
        "LiteRT benchmark_model",
        _benchmark_model,
        read_benchmark_model,
        {"cpu": _BOTH, "gpu": _BOTH, "nnapi": _BOTH},
        outputs=True,
        accelerated=read_delegated,
        operators=(("--enable_op_profiling=true",), read_operators),
    ),
    "perf-test": Tool(
        "onnxruntime_perf_test",
        _perf_test,
        read_perf_test,
        {"cpu": ("fp32",), "xnnpack": ("fp32",), "nnapi": _BOTH},
        tester=ort_test_runner.NAME,
        accelerated=read_placed,
        probe=("-v",),
    ),
    "benchncnn": Tool("benchncnn", _benchncnn, read_min_max_avg, {}, accelerated=read_vulkan),
    "tnn-test": Tool(
        "TNNTest", _tnn_test, read_min_max_avg, {"cpu": _BOTH, "opencl": _BOTH}, weights=True
    ),
}
"""Name of the runner to its tool."""


_IO = "@@io"
_WITH_IO = ("sh", "-c", f'"$@"; code=$?; echo {_IO} >&2; cat /proc/$$/io >&2; exit $code', "sh")
"""Runs a command and prints what it read and wrote: the counters of a process include those of the
children that it waited for."""


def _program(path: Path) -> str:
    """A path on a device that no command there takes for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


class _Session:
    def __init__(self, device: Device, job: Job, tool: Tool) -> None:
        assert job.binary is not None, "`missing` was not asked"
        self._device, self._job, self._tool = device, job, tool
        self._binary = _program(job.binary)
        if job.binary.exists():
            self._binary = device.push(job.binary)
            device.run(["chmod", "755", self._binary], timeout=job.timeout)
        self._files = job.artifact.push_to(device)
        self._extra: dict[str, Any] = {}
        self.loaded = Loaded(tool.title, precision=tool.precision(job), resident=False)

    def outputs(self, image: np.ndarray, **others: np.ndarray) -> tuple[NamedOutput, ...] | None:
        """What it computes on the backend that is timed; None for a tool that gives none, and for
        a file whose input is no float32 or uint8, or whose outputs are no float32.

        Before that, runs that are not timed say what is asked of the tool.
        """
        if self._tool.probe and self._job.backend != "cpu":
            _, self._extra = self._figures(1, list(self._tool.probe))
        if self._job.operators and self._tool.operators is not None:
            options, read = self._tool.operators
            done = self._device.run(
                self._words(_RUNS_OF_OPERATORS, list(options)), timeout=self._job.timeout
            )
            self._extra = {**self._extra, "operators": read(f"{done.stdout}\n{done.stderr}")}
        tester = self._tester()
        if not self._tool.outputs and tester is None:
            return None
        graph = _graph_of(self._job.artifact.manifest)
        if graph is None:
            return None
        nhwc = graph.nhwc
        turned = image.transpose(0, 2, 3, 1) if nhwc else image
        fed = np.ascontiguousarray(turned, dtype=graph.dtype)
        if fed.shape != graph.shape:
            raise RunnerError(f"The file takes {graph.shape}, the input is {image.shape}.")
        if tester is None:
            values = self._written(graph, fed)
        else:
            names = [name for name, _ in graph.outputs]
            found = ort_test_runner.outputs(
                self._device, tester, self._files, self._job, graph.name, fed, len(names)
            )
            if found is None:
                return None
            values = list(zip(names, found, strict=True))
        return tuple(NamedOutput(name, value, nhwc) for name, value in values)

    def _tester(self) -> str | None:
        """The tool of the same build that writes outputs, there; None when there is none."""
        name, binary = self._tool.tester, self._job.binary
        assert binary is not None
        if name is None:
            return None
        beside = binary.with_name(name)
        if not binary.exists():
            there = _program(beside)
            found = self._device.run(["ls", "-d", there], timeout=self._job.timeout)
            return there if found.returncode == 0 and str(beside) in found.stdout else None
        if not beside.exists():
            return None
        pushed = self._device.push(beside)
        self._device.run(["chmod", "755", pushed], timeout=self._job.timeout)
        return pushed

    def _written(self, graph: _Graph, fed: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """What the tool itself writes of its outputs, as ``benchmark_model`` does: one file."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "input.f32"
            file.write_bytes(fed.tobytes())
            remote = self._device.push(file)
            written = f"{remote}-output-{self._job.backend}"
            self._figures(1, _feed(graph, remote, written))
            self._device.pull(written, file)
            data = np.fromfile(file, dtype="<f4")
        if data.size != sum(math.prod(shape) for _, shape in graph.outputs):
            raise RunnerError(f"{self._tool.title} wrote {data.size} values of its outputs.")
        found, place = [], 0
        for name, shape in graph.outputs:
            size = math.prod(shape)
            found.append((name, data[place : place + size].reshape(shape)))
            place += size
        return found

    def run(self, count: int) -> RawResult:
        figures, extra = self._figures(count, [])
        return RawResult((), summary={"count": count, **figures}, extra={**self._extra, **extra})

    def _words(self, count: int, options: list[str]) -> list[str]:
        """The command."""
        # options first: some tools end theirs at the first file
        tool, *words = self._tool.command(self._binary, self._files, self._job, count)
        command = [tool, *options, *words]
        if self._job.cores is not None:
            mask = sum(1 << core for core in self._job.cores)
            command = ["taskset", f"{mask:x}", *command]
        return [*_WITH_IO, *command] if self._tool.weights else command

    def _figures(self, count: int, options: list[str]) -> tuple[Figures, dict[str, int]]:
        """What it prints, and how much of the graph an accelerator did."""
        command = self._words(count, options)
        done = self._device.run(command, timeout=self._job.timeout)
        stderr, _, counters = done.stderr.partition(_IO)
        figures = self._tool.read(f"{done.stdout}\n{stderr}")
        if not figures:
            said = (stderr.strip() or done.stdout.strip()).splitlines()
            raise RunnerError(
                f"{self._tool.title} on {self._device.spec} printed no figures "
                f"(exit code {done.returncode}): {said[-1][:200] if said else 'nothing at all'}",
                hint=f"It was started as: {' '.join(command)}",
            )
        if self._tool.weights:
            self._require_weights(counters)
        told = not self._tool.probe or list(self._tool.probe) == options
        if self._tool.accelerated is None or self._job.backend == "cpu" or not told:
            return figures, {}
        delegated = self._tool.accelerated(f"{done.stdout}\n{stderr}", self._job.backend)
        if delegated is None:
            raise RunnerError(
                f"{self._tool.title} on {self._device.spec} gave nothing to the "
                f"{self._job.backend} and ran on the CPU.",
                hint="That is no figure of the accelerator. Does the device have it? Does the file "
                "have operators that it takes?",
            )
        return figures, delegated

    def _require_weights(self, counters: str) -> None:
        """Raise RunnerError when the tool read fewer bytes than its weights have.

        A kernel that counts no bytes proves nothing either way, and the figure stays unchecked.
        """
        read = re.search(r"^rchar:\s*(\d+)", counters, re.MULTILINE)
        expected = sum(file.stat().st_size for file in self._job.artifact.files)
        if read is not None and int(read[1]) < expected:
            raise RunnerError(
                f"{self._tool.title} on {self._device.spec} did not load the weights: it read "
                f"{int(read[1])} bytes, and the files have {expected}.",
                hint=f"Its files are {', '.join(self._files)} there.",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None


@dataclass(frozen=True)
class _Graph:
    """What a file takes and gives, in its own layout.

    Attributes:
        name, shape, dtype: of the one input's tensor; nhwc: its layout.
        outputs: name and shape, in the order of the graph.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nhwc: bool
    outputs: tuple[tuple[str, tuple[int, ...]], ...]


def _graph_of(manifest: Manifest) -> _Graph | None:
    """None when the manifest does not tell, or the file has not one input, float32 or uint8, and
    float32 outputs of known shapes."""
    told = manifest.interface
    if told is None or len(told.inputs) != 1:
        return None
    (image,) = told.inputs
    tensors: tuple[FileInput | FileOutput, ...] = (image, *told.outputs)
    shapes = [_known(one.shape) for one in tensors]
    dtype = {"float32": "<f4", "uint8": "u1"}.get(image.dtype)
    float32 = all(one.dtype == "float32" for one in told.outputs)
    if dtype is None or not float32 or None in shapes:
        return None
    taken, *given = (shape for shape in shapes if shape is not None)
    names = [one.name for one in told.outputs]
    return _Graph(
        image.tensor or image.name,
        taken,
        dtype,
        image.layout == "NHWC",
        tuple(zip(names, given, strict=True)),
    )


def _known(shape: tuple[int | None, ...]) -> tuple[int, ...] | None:
    extents = tuple(extent for extent in shape if extent is not None)
    return extents if len(extents) == len(shape) else None


def _feed(graph: _Graph, file: str, outputs: str) -> list[str]:
    """Options of ``benchmark_model``: the input from a file, the outputs into one."""
    escaped = graph.name.replace(":", r"\:")
    return [
        f"--input_layer={graph.name}",
        f"--input_layer_shape={','.join(map(str, graph.shape))}",
        f"--input_layer_value_files={escaped}:{file}",
        f"--output_filepath={outputs}",
    ]


class VendorRunner:
    """One tool of `TOOLS`."""

    def __init__(self, name: str) -> None:
        self._tool = TOOLS[name]

    def missing(self, device: Device, job: Job) -> str | None:
        if job.binary is None:
            return f"{self._tool.title} is needed; point at it with --binary PATH"
        if not job.binary.exists():
            there = device.run(["ls", "-d", _program(job.binary)], timeout=job.timeout)
            if there.returncode != 0 or str(job.binary) not in there.stdout:
                return f"there is no {job.binary}, here or on {device.spec}"
        told = self._tool.precisions.get(job.backend, ())
        if job.precision is not None and job.precision not in told:
            can = f"computes in {' or '.join(told)} only" if told else "cannot be told a precision"
            return f"{self._tool.title} {can} on the backend {job.backend}"
        return None

    def open(self, device: Device, job: Job) -> _Session:
        return _Session(device, job, self._tool)


def create(name: str) -> VendorRunner:
    """The runner of that name."""
    return VendorRunner(name)

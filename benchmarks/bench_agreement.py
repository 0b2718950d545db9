"""Do our figures agree with the native tools' on the same file?

    python benchmarks/bench_agreement.py MODEL [--threads 1] [--rounds 30] [--ort-include DIR]

MODEL's files must lie in the current folder. Each runtime is timed by `mobile-bench`'s own runner
and by a native loop, a block of each in turn, and the ratio of the medians is printed with its 95 %
interval. Native loops:

- onnxruntime: `ort_loop.c` over the C API, linked with the library of the wheel. The wheel has no
  header: give the folder of onnxruntime_c_api.h of any version with --ort-include (it is in every
  release archive of onnxruntime). Without it, a bare Python loop of `run` with bound buffers.
- LiteRT: `ai_edge_litert.tools.benchmark_litert_model`, LiteRT's own tool, of which only the median
  of each start is used.
- ncnn: our native runner in C++, where the table of runners has it and it was built.

Also printed: what our loop costs between two inferences, measured with an empty one.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mobile_export.bench.artifacts import BenchArtifact, find_artifacts
from mobile_export.bench.check import check_outputs
from mobile_export.bench.devices import connect
from mobile_export.bench.runner import Job
from mobile_export.bench.runners import RUNNERS, get_runner
from mobile_export.bench.stats import compare
from mobile_export.bench.worker import timed_runs

HERE = Path(__file__).parent
BLOCK_SECONDS = 0.2
Block = Callable[[int], Sequence[int]]


def overhead_ns() -> float:
    """Nanoseconds that the loop adds to an inference, the call of an empty function included."""
    count = 200_000
    _, wall = timed_runs(lambda: None, count)
    return wall / count


@contextlib.contextmanager
def c_loop(artifact: BenchArtifact, threads: int, include: Path) -> Iterator[Block]:
    """`ort_loop.c`, compiled into a temporary folder."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    (library,) = (Path(spec.origin).parent / "capi").glob("libonnxruntime.so.*")
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/ort_loop"
        (Path(folder) / "libonnxruntime.so.1").symlink_to(library)
        subprocess.run(
            ["cc", "-O2", f"-I{include}", str(HERE / "ort_loop.c"), str(library), "-o", program,
             f"-Wl,-rpath,{library.parent}", f"-Wl,-rpath,{folder}"],
            check=True,
        )  # fmt: skip
        loop = subprocess.Popen(
            [program, str(artifact.path), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert loop.stdin is not None
        assert loop.stdout is not None

        def run(count: int) -> list[int]:
            print(count, file=loop.stdin, flush=True)
            return [int(word) for word in loop.stdout.readline().split()]  # type: ignore[union-attr]

        yield run
        loop.stdin.close()
        loop.wait(timeout=10)


@contextlib.contextmanager
def python_loop(artifact: BenchArtifact, threads: int) -> Iterator[Block]:
    """A bare loop of ``run_with_iobinding`` in this process."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        str(artifact.path), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_cpu_input(
        session.get_inputs()[0].name, np.ones(artifact.input_shape, dtype=np.float32)
    )
    for output in session.get_outputs():
        binding.bind_output(output.name)

    def run(count: int) -> list[int]:
        found = []
        for _ in range(count):
            start = time.perf_counter_ns()
            session.run_with_iobinding(binding)
            found.append(time.perf_counter_ns() - start)
        return found

    yield run


@contextlib.contextmanager
def litert_tool(artifact: BenchArtifact, threads: int) -> Iterator[Block]:
    """LiteRT's own tool, started anew for each block."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"

        def run(count: int) -> list[int]:
            subprocess.run(
                [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model",
                 f"--model={artifact.path}", f"--num_threads={threads}", f"--num_runs={count}",
                 "--warmup_runs=10", f"--result_json={result}"],
                check=True, capture_output=True,
            )  # fmt: skip
            return [round(json.loads(result.read_text())["latency"]["median_ms"] * 1e6)]

        yield run


@contextlib.contextmanager
def runner_loop(name: str, artifact: BenchArtifact, threads: int) -> Iterator[Block]:
    """A runner of `mobile-bench`; its output is checked first."""
    device = connect("local")
    job = Job(artifact, threads=threads)
    runner = get_runner(name).runner()
    problem = runner.missing(device, job)
    if problem is not None:
        raise RuntimeError(problem)
    with runner.open(device, job) as session:
        check = check_outputs(session, artifact)
        assert check is not None
        assert check.passed, "the output is wrong"
        yield lambda count: session.run(count).samples


def native_of(
    artifact: BenchArtifact, threads: int, include: Path | None
) -> tuple[str, str, contextlib.AbstractContextManager[Block]] | None:
    """Our runner, the name of the native loop, and the loop; None without one."""
    if artifact.format == "tflite":
        tool = "benchmark_litert_model (Python)"
        return "litert", tool, litert_tool(artifact, threads)
    if artifact.path.suffix == ".onnx":
        if include is not None:
            return "onnxruntime", "C loop", c_loop(artifact, threads, include)
        return "onnxruntime", "Python loop", python_loop(artifact, threads)
    native = [row.name for row in RUNNERS if row.name == "ncnn-native"]
    if artifact.path.suffix == ".param" and native:
        return "ncnn", "C++ runner", runner_loop(native[0], artifact, threads)
    return None


def agree(ours: Block, native: Block, rounds: int) -> str:
    """Ratio of the medians, ours to native, interleaved A B B A."""
    typical = statistics.median(ours(20)[5:])
    count = max(3, round(BLOCK_SECONDS * 1e9 / typical))
    native(10)
    blocks: tuple[list[Sequence[int]], list[Sequence[int]]] = ([], [])
    for index in range(rounds):
        for which in (0, 1) if index % 2 == 0 else (1, 0):
            loop = (ours, native)[which]
            loop(1) if loop is ours else None
            blocks[which].append(loop(count))
    result = compare(*blocks, paired=True)
    medians = [statistics.median(s for b in side for s in b) / 1e6 for side in blocks]
    interval = f"[{result.low:.3f}, {result.high:.3f}]" if result.low and result.high else ""
    return f"{medians[0]:8.3f} ms {medians[1]:8.3f} ms  {result.ratio:.3f} {interval}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--ort-include", type=Path)
    options = parser.parse_args()
    print(f"the loop itself: {overhead_ns() / 1e3:.2f} µs per inference (allowed are 20)")
    for artifact in find_artifacts(options.models, None):
        native = native_of(artifact, options.threads, options.ort_include)
        if native is None:
            continue
        runner, tool, loop = native
        try:
            with runner_loop(runner, artifact, options.threads) as ours, loop as theirs:
                line = agree(ours, theirs, options.rounds)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            line = f"not measured: {error}"
        print(f"{artifact.path.name:28} {runner} / {tool:32} {line}", flush=True)


if __name__ == "__main__":
    main()

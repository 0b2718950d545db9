"""Do our figures agree with native loops on the same files?

    cd FOLDER_OF_THE_FILES && python .../bench_agreement.py emo_2m --json agreement.json

Each file is timed by `mobile-bench`'s own runner and by a loop without Python, in turns, and the
ratio of the medians, ours to native, is printed with its 95 % interval: of wall time, and of the
processor time of all threads. Nothing but a C compiler is needed:

- onnxruntime: `ort_loop.c` over the C API in the wheel's libonnxruntime.so (no headers needed);
- LiteRT: `litert_loop.c` over the C API in the wheel's libLiteRt.so. The wheel has no
  `benchmark_model`, only a tool in Python;
- ncnn: our C++ runner on this machine (`mobile-bench build-runner --arch x86_64`).

Two processes of the same program may differ in speed, for one by where their memory lies, so both
sides are started anew `--starts` times, and the interval is over starts.

Also printed: what our loop costs beside an inference, of an empty one and around those measured.
Exit code 1: a ratio is further than 3 % from 1, a cost is above 20 µs, or a file was not measured.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mobile_export.bench.check import check_outputs
from mobile_export.bench.devices import connect
from mobile_export.bench.files import BenchArtifact, find_artifacts
from mobile_export.bench.runners import get_runner
from mobile_export.bench.runners.runner import Job
from mobile_export.bench.stats import Comparison, compare
from mobile_export.bench.worker import timed_runs
from mobile_export.errors import MobileExportError

HERE = Path(__file__).parent
BLOCK_SECONDS = 0.2
ALLOWED_RATIO = 0.03
ALLOWED_NS = 20_000


@dataclass(frozen=True)
class Timed:
    """One block of runs: nanoseconds of each, processor time and (of our runner) time of all."""

    samples: Sequence[int]
    cpu_ns: int
    wall_ns: int | None = None


Block = Callable[[int], Timed]
Loop = contextlib.AbstractContextManager[Block]


@dataclass(frozen=True)
class Row:
    """What is known about one file; times in nanoseconds of one inference."""

    file: str
    runner: str
    native: str
    threads: int
    ours_ns: float
    native_ns: float
    wall: Comparison
    cpu: Comparison
    beside_ns: float

    def verdict(self) -> str:
        """In words, of wall time: the ratio decides, its interval says how certain that is."""
        inside = abs(self.wall.ratio - 1) <= ALLOWED_RATIO
        edges = [edge for edge in (self.wall.low, self.wall.high) if edge is not None]
        sure = bool(edges) and all((abs(edge - 1) <= ALLOWED_RATIO) == inside for edge in edges)
        return ("yes" if inside else "NO") + ("" if sure else ", not certain")


# ---- native loops -----------------------------------------------------------------------------


def library_of(module: str, pattern: str) -> Path:
    """A shared library of an installed wheel.

    Raises:
        RuntimeError: the wheel is not installed, or has none.
    """
    spec = importlib.util.find_spec(module)
    found = sorted(Path(spec.origin).parent.glob(pattern)) if spec and spec.origin else []
    if not found:
        raise RuntimeError(f"{module} is not installed here, or has no {pattern}")
    return found[0]


@contextlib.contextmanager
def c_loop(source: str, library: Path, artifact: BenchArtifact, threads: int) -> Iterator[Block]:
    """A C file of this folder, compiled into a temporary folder and started."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("there is no C compiler, cc; run: apt-get install gcc")
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/loop"
        subprocess.run([compiler, "-O2", str(HERE / source), "-ldl", "-o", program], check=True)
        loop = subprocess.Popen(
            [program, str(library), str(artifact.path), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,  # as ours is: Linux shares the cores among sessions
        )  # fmt: skip
        assert loop.stdin is not None
        assert loop.stdout is not None
        assert loop.stderr is not None

        def run(count: int) -> Timed:
            with contextlib.suppress(BrokenPipeError):
                print(count, file=loop.stdin, flush=True)
            cpu, *samples = (int(word) for word in loop.stdout.readline().split() or ["0"])
            if len(samples) != count:
                said = loop.stderr.read().strip().splitlines()
                raise RuntimeError(f"{source} failed: {said[-1] if said else 'it said nothing'}")
            return Timed(samples, cpu)

        try:
            yield run
        finally:
            with contextlib.suppress(BrokenPipeError):
                loop.stdin.close()
            loop.wait(timeout=10)


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
        if check is None or not check.passed:
            raise RuntimeError(f"the output of {name} is wrong")

        def run(count: int) -> Timed:
            result = session.run(count)
            assert result.cpu_ns is not None
            return Timed(result.samples, result.cpu_ns, result.wall_ns)

        yield run


def onnxruntime_loop(artifact: BenchArtifact, threads: int) -> Loop:
    library = library_of("onnxruntime", "capi/libonnxruntime.so.*")
    return c_loop("ort_loop.c", library, artifact, threads)


def litert_loop(artifact: BenchArtifact, threads: int) -> Loop:
    library = library_of("ai_edge_litert", "libLiteRt.so")
    return c_loop("litert_loop.c", library, artifact, threads)


def ncnn_loop(artifact: BenchArtifact, threads: int) -> Loop:
    return runner_loop("ncnn-native", artifact, threads)


NATIVE: dict[str, tuple[str, str, Callable[[BenchArtifact, int], Loop]]] = {
    ".onnx": ("onnxruntime", "C loop", onnxruntime_loop),
    ".tflite": ("litert", "C loop", litert_loop),
    ".param": ("ncnn", "C++ runner", ncnn_loop),
}
"""Ending of a file -> our runner, what the native loop is, the loop."""


# ---- measuring --------------------------------------------------------------------------------


def start(ours: Block, native: Block, rounds: int) -> tuple[list[Timed], list[Timed]]:
    """Blocks of one start of both, taken in turns A B B A; the first run of a block is left out."""
    typical = statistics.median(ours(20).samples[5:])
    native(10)
    count = max(3, round(BLOCK_SECONDS * 1e9 / typical))
    taken: tuple[list[Timed], list[Timed]] = ([], [])
    for index in range(rounds):
        for which in (0, 1) if index % 2 == 0 else (1, 0):
            loop = (ours, native)[which]
            loop(1)
            taken[which].append(loop(count))
    return taken


def _medians(sides: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
    """Of every start of every side."""
    return [[statistics.median(start) for start in side] for side in sides]


def measure(artifact: BenchArtifact, threads: int, starts: int, rounds: int) -> Row:
    """The row of one file."""
    runner, name, native = NATIVE[artifact.path.suffix]
    sides: tuple[list[list[Timed]], list[list[Timed]]] = ([], [])
    for _ in range(starts):
        with runner_loop(runner, artifact, threads) as ours, native(artifact, threads) as theirs:
            for side, blocks in zip(sides, start(ours, theirs, rounds), strict=True):
                side.append(blocks)
    wall = [[[s for block in one for s in block.samples] for one in side] for side in sides]
    cpu = [[[b.cpu_ns // len(b.samples) for b in one] for one in side] for side in sides]
    medians = [statistics.median(s for one in side for s in one) for side in wall]
    beside = statistics.median(
        ((block.wall_ns or 0) - sum(block.samples)) / len(block.samples)
        for one in sides[0]
        for block in one
    )
    return Row(
        file=artifact.path.name,
        runner=runner,
        native=name,
        threads=threads,
        ours_ns=medians[0],
        native_ns=medians[1],
        wall=compare(*_medians(wall), paired=True),
        cpu=compare(*_medians(cpu), paired=True),
        beside_ns=beside,
    )


def overhead_ns() -> float:
    """Nanoseconds that the loop adds to an inference, the call of an empty function included."""
    count = 200_000
    _, wall = timed_runs(lambda: None, count)
    return wall / count


# ---- printing ---------------------------------------------------------------------------------

HEADER = (
    f"{'file':26} {'ours / native':24} {'ours ms':>8} {'native':>8}  {'wall':22} "
    f"{'processor':22} {'µs':>6}  within {ALLOWED_RATIO:.0%}"
)


def ratio_of(comparison: Comparison) -> str:
    if comparison.low is None or comparison.high is None:
        return f"{comparison.ratio:.3f}"
    return f"{comparison.ratio:.3f} [{comparison.low:.3f}, {comparison.high:.3f}]"


def line_of(row: Row) -> str:
    return (
        f"{row.file:26} {row.runner + ' / ' + row.native:24} {row.ours_ns / 1e6:8.3f} "
        f"{row.native_ns / 1e6:8.3f}  {ratio_of(row.wall):22} {ratio_of(row.cpu):22} "
        f"{row.beside_ns / 1e3:6.2f}  {row.verdict()}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="+", help="models whose files lie here, or files")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--starts", type=int, default=10, help="of both processes (10)")
    parser.add_argument("--rounds", type=int, default=6, help="in turns, of each start (6)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    try:
        found = find_artifacts(options.models, None)
    except MobileExportError as error:
        print(error, file=sys.stderr)
        return 2
    empty = overhead_ns()
    print(f"the loop itself: {empty / 1e3:.2f} µs per inference ({ALLOWED_NS // 1000} allowed)")
    print(HEADER)
    rows, failures = [], {}
    for artifact in found:
        if artifact.path.suffix not in NATIVE:
            continue
        try:
            row = measure(artifact, options.threads, options.starts, options.rounds)
        except (MobileExportError, RuntimeError, subprocess.CalledProcessError) as error:
            failures[artifact.path.name] = str(error)
            print(f"{artifact.path.name:26} not measured: {error}", flush=True)
        else:
            rows.append(row)
            print(line_of(row), flush=True)
    if options.json:
        content = {
            "loop_ns": empty,
            "rows": [{**asdict(row), "verdict": row.verdict()} for row in rows],
            "not_measured": failures,
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    slow = max([empty, *(row.beside_ns for row in rows)]) > ALLOWED_NS
    return int(bool(failures) or slow or any(row.verdict().startswith("NO") for row in rows))


if __name__ == "__main__":
    sys.exit(main())

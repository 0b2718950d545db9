"""Our files against the vendor's own conversion of the same module, timed side by side.

    python benchmarks/vs_vendor.py emo_2m timm/mobileone_s0 --format onnx tflite ncnn

The vendor's file is the straight path that its documentation shows, from the module in training
form: ``torch.onnx.export(module, x, dynamo=True)`` and onnxsim, ``litert_torch.convert(module,
x)``, or pnnx (``pip install pnnx``), where its file loads. Ours is what ``mobile-export`` writes
(fp32). Both run in one process on one thread, in turn, A B B A …, so that a slow moment of the
machine meets both; ncnn with float32 options. The ratio is the median of ours/vendor over pairs,
with a 95 % interval by bootstrap; beside it stand the seconds of both exports (ours from the traced
program, passes included) and the number of ops that move data.

    --keep DIR    keep the files there, and take the vendor's from there when they exist
    --cpu         time what the thread computes, not what passes on the wall: for a busy machine
    --json FILE   append one JSON object per row

With ``--arm`` nothing is timed: both files run in the runtimes' aarch64 builds under qemu
(``mobile-bench prepare-qemu``), and what is compared are the instructions of one inference and the
lines that miss the second cache. Every pair is written to ``--json`` as soon as it is counted; the
same command goes on there. ``--table`` prints what the file has as Markdown, with the milliseconds
that docs/arm-cost.md predicts for a Snapdragon 865, and counts nothing. Large models take an hour.

    python benchmarks/vs_vendor.py --arm --json arm.jsonl --keep files
    python benchmarks/vs_vendor.py --arm --json arm.jsonl --table
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from mobile_export.graph.program import Program
    from mobile_export.parity.reference import Reference
    from mobile_export.sources.table import Source

REACH = (
    *("timm/repghostnet_080", "timm/mobilenetv3_large_100", "emo_1m", "timm/mobileone_s0"),
    *("timm/levit_128s", "timm/efficientformerv2_s0", "timm/starnet_s1", "emo_2m"),
    *("timm/convnext_atto", "timm/edgenext_x_small", "timm/fastvit_t8", "timm/mobileone_s1"),
    *("emo_5m", "emo_6m", "timm/repvit_m1_0", "timm/mobileone_s2", "timm/efficientformer_l1"),
    *("timm/repvgg_a0", "timm/fastvit_sa12", "timm/mobileone_s3", "timm/tiny_vit_11m_224"),
    *("timm/mobileone_s4", "timm/repvgg_b1"),
)
"""The models of docs/speed.md, small ones first."""


@dataclass(frozen=True)
class Row:
    """One comparison: milliseconds are medians, the ratio is ours / vendor."""

    model: str
    format: str
    ours_ms: float
    vendor_ms: float
    ratio: float
    low: float
    high: float
    max_rel: float
    ours_export_s: float
    vendor_export_s: float | None
    ours: dict[str, int]
    vendor: dict[str, int]


def vendor_onnx(module: torch.nn.Module, x: torch.Tensor, path: Path) -> None:
    """torch.onnx.export and onnxsim."""
    import onnx
    import onnxsim

    converted = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
    assert converted is not None
    model, _ = onnxsim.simplify(converted.model_proto)
    onnx.save(model, str(path))


def vendor_tflite(module: torch.nn.Module, x: torch.Tensor, path: Path) -> None:
    """litert_torch.convert."""
    import litert_torch

    path.write_bytes(litert_torch.convert(module, (x,)).model_content())


def vendor_ncnn(module: torch.nn.Module, x: torch.Tensor, path: Path) -> None:
    """torch.jit.trace and pnnx, float32 weights."""
    import subprocess

    import pnnx

    script = path.with_suffix(".pt")
    torch.jit.trace(module, x).save(str(script))
    words = [pnnx.EXEC_PATH, script.name, f"inputshape={list(x.shape)}".replace(" ", ""), "fp16=0"]
    words += [f"ncnnparam={path.name}", f"ncnnbin={path.with_suffix('.bin').name}"]
    subprocess.run(words, cwd=path.parent, check=True, capture_output=True)


def session_onnx(path: Path, x: np.ndarray) -> Callable[[], np.ndarray]:
    """A call of onnxruntime on ``x``, on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: np.asarray(session.run(None, {name: x})[0])


def session_tflite(path: Path, x: np.ndarray) -> Callable[[], np.ndarray]:
    """A call of LiteRT with XNNPACK on ``x``, on one thread.

    A file is given the layout that it takes, laid out before the clock starts.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    given = x if tuple(entry["shape"]) == x.shape else x.transpose(0, 2, 3, 1).copy()

    def run() -> np.ndarray:
        interpreter.set_tensor(entry["index"], given)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(out["index"]))

    return run


def session_ncnn(path: Path, x: np.ndarray) -> Callable[[], np.ndarray]:
    """A call of ncnn on ``x``, on one thread, with float32 options."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
        raise ValueError(f"ncnn cannot load {path.name}")
    entry, out = net.input_names()[0], net.output_names()[0]
    image = ncnn.Mat(np.ascontiguousarray(x[0])).clone()

    def run() -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input(entry, image)
        status, result = extractor.extract(out)
        if status:
            raise ValueError(f"ncnn cannot run {path.name}")
        return np.array(result).reshape(1, -1)

    return run


def count_onnx(path: Path) -> dict[str, int]:
    """Ops that move data, and the highest rank."""
    import onnx

    model = onnx.load(str(path))
    found = Counter(node.op_type for node in model.graph.node)
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    ranks = [len(value.type.tensor_type.shape.dim) for value in inferred]
    return _counts(found, "Transpose", "Reshape", max(ranks, default=0))


def count_tflite(path: Path) -> dict[str, int]:
    """Ops that move data, and the highest rank."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    found = Counter(op["op_name"] for op in interpreter._get_ops_details())
    ranks = [len(tensor["shape"]) for tensor in interpreter.get_tensor_details()]
    return _counts(found, "TRANSPOSE", "RESHAPE", max(ranks, default=0))


def count_ncnn(path: Path) -> dict[str, int]:
    """Layers, and those of them that move data."""
    found = Counter(line.split()[0] for line in path.read_text().splitlines()[2:])
    return {
        "ops": sum(found.values()),
        "transpose": found["Permute"],
        "reshape": found["Reshape"],
    }


def _counts(found: Counter[str], transpose: str, reshape: str, rank: int) -> dict[str, int]:
    return {
        "ops": sum(found.values()),
        "transpose": found[transpose],
        "reshape": found[reshape],
        "rank": rank,
    }


PATHS: dict[str, tuple[Any, Any, Any]] = {
    "onnx": (vendor_onnx, session_onnx, count_onnx),
    "tflite": (vendor_tflite, session_tflite, count_tflite),
    "ncnn": (vendor_ncnn, session_ncnn, count_ncnn),
}


def interleaved(
    ours: Callable[[], Any],
    vendor: Callable[[], Any],
    pairs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """Seconds of each call by ``clock``, in the order A B B A A B B A …, after a warm-up."""
    for _ in range(5):
        ours()
        vendor()
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(pairs):
        for which in (0, 1) if index % 2 else (1, 0):
            start = clock()
            (ours, vendor)[which]()
            times[which].append(clock() - start)
    return times


def interval(ratios: list[float], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    values = np.asarray(ratios)
    picks = np.random.default_rng(seed).integers(0, len(values), (2000, len(values)))
    low, high = np.quantile(np.median(values[picks], axis=1), [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Model:
    """A model and what all its formats share."""

    name: str
    source: Source
    traced: Program
    reference: Reference
    x: torch.Tensor


def load(name: str) -> Model:
    """The model in training form, traced."""
    from mobile_export.graph.capture import trace
    from mobile_export.parity.reference import make_reference
    from mobile_export.parity.samples import parity_samples
    from mobile_export.sources.table import ModelRequest, load_source

    source = load_source(ModelRequest(name))
    reference = make_reference(source.module, parity_samples(source.input)[:1])
    x = torch.randn(source.input.shape, generator=torch.Generator().manual_seed(0))
    return Model(name, source, trace(source), reference, x)


@dataclass(frozen=True)
class Files:
    """Both files of one model in one format, and what writing them took in seconds.

    Attributes:
        vendor_export_s: None for a file that was there already.
    """

    ours: Path
    vendor: Path
    ours_export_s: float
    vendor_export_s: float | None


def write_files(model: Model, name: str, keep: Path) -> Files:
    """Write both files of one format; the vendor's is kept where it exists."""
    from mobile_export.exporters.config import ExportConfig
    from mobile_export.exporters.interface import Prepared, writer_of
    from mobile_export.exporters.table import get_format
    from mobile_export.lowering.lower import lower
    from mobile_export.passes import run_passes, select_passes

    row = get_format(name)
    stem = model.name.replace("/", "_")
    theirs, mine = keep / f"{stem}.vendor{row.suffix}", keep / f"{stem}.ours{row.suffix}"
    vendor_seconds = None
    if not theirs.exists():
        start = time.perf_counter()
        PATHS[name][0](model.source.module, model.x, theirs)
        vendor_seconds = time.perf_counter() - start
    start = time.perf_counter()
    passes = select_passes(row.passes.without, row.passes.add)
    program, _ = run_passes(model.traced, model.reference, passes)
    job = ExportConfig(precision="fp32").job(row)
    if row.made_from == "layers":
        prepared = Prepared(program, lower(program))
    else:
        prepared = Prepared(writer_of(row).adapt(program, job).program)
    writer_of(row).write(prepared, mine, job)
    return Files(mine, theirs, time.perf_counter() - start, vendor_seconds)


def compare(model: Model, name: str, pairs: int, keep: Path, clock: Callable[[], float]) -> Row:
    """Write both files of one format, check them against each other, and time them."""
    from mobile_export.system.quiet import quiet

    _, session, count = PATHS[name]
    with quiet():
        files = write_files(model, name, keep)
        x = model.x.numpy()
        ours, vendor = session(files.ours, x), session(files.vendor, x)
        a, b = ours(), vendor()
        max_rel = float(np.abs(a - b.reshape(a.shape)).max() / np.abs(b).max())
        first, second = interleaved(ours, vendor, pairs, clock)
    ratios = [p / q for p, q in zip(first, second, strict=True)]
    low, high = interval(ratios)
    return Row(
        model.name,
        name,
        statistics.median(first) * 1e3,
        statistics.median(second) * 1e3,
        statistics.median(ratios),
        low,
        high,
        max_rel,
        files.ours_export_s,
        files.vendor_export_s,
        count(files.ours),
        count(files.vendor),
    )


def show(row: Row) -> str:
    """One line of the table."""
    moves = " ".join(f"{key} {row.vendor[key]}->{row.ours[key]}" for key in row.ours)
    exports = "" if row.vendor_export_s is None else f"{row.vendor_export_s:.1f}->"
    return (
        f"{row.model:28} {row.format:7} {row.ours_ms:7.2f} ms {row.vendor_ms:7.2f} ms  "
        f"{row.ratio:.3f} [{row.low:.3f}, {row.high:.3f}]  diff {row.max_rel:.0e}  "
        f"export {exports}{row.ours_export_s:.1f} s  {moves}"
    )


def count_on_arm(options: argparse.Namespace, keep: Path) -> None:
    """Count every pair under qemu that ``options.json`` does not have."""
    from arm_pairs import count_pairs, read_pairs, summary

    from mobile_export.system.quiet import quiet

    at_hand: dict[str, Model] = {}

    def write(name: str, kind: str) -> tuple[Path, Path, tuple[int, ...]]:
        if name not in at_hand:
            at_hand.clear()
            at_hand[name] = load(name)
        with quiet():
            files = write_files(at_hand[name], kind, keep)
        return files.ours, files.vendor, tuple(at_hand[name].x.shape)

    todo = [(name, kind) for name in options.models for kind in options.format]
    count_pairs(todo, write, options.json, options.qemu)
    print("\n".join(summary(read_pairs(options.json))))


def time_here(options: argparse.Namespace, keep: Path) -> None:
    """Time every pair on this machine, and print the ratios."""
    clock = time.thread_time if options.cpu else time.perf_counter
    ratios: dict[str, list[float]] = {}
    for name in options.models:
        model: Model | None = None
        for kind in options.format:
            try:
                model = model or load(name)
                row = compare(model, kind, options.pairs, keep, clock)
            except Exception as error:  # noqa: BLE001 (a sweep goes on; the row says what failed)
                message = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
                print(f"{name:28} {kind:7} {message}", flush=True)
                continue
            print(show(row), flush=True)
            ratios.setdefault(kind, []).append(row.ratio)
            if options.json:
                with options.json.open("a") as stream:
                    stream.write(json.dumps(asdict(row)) + "\n")
    for name, values in ratios.items():
        mean = statistics.geometric_mean(values)
        print(f"{name}: geometric mean {mean:.3f}, worst {max(values):.3f}, {len(values)} models")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", default=REACH)
    parser.add_argument("--format", nargs="+", default=list(PATHS), choices=list(PATHS))
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", action="store_true", help="count under qemu; needs --json")
    parser.add_argument("--qemu", type=Path, help="folder of prepare-qemu, for --arm")
    parser.add_argument("--table", action="store_true", help="print what --json has of --arm")
    options = parser.parse_args()
    if (options.arm or options.table) and not options.json:
        parser.error("--arm needs --json FILE, which keeps what was counted")
    if options.table:
        from arm_pairs import markdown, read_pairs, summary

        pairs = read_pairs(options.json)
        print(markdown(pairs, "snapdragon-865"), *summary(pairs), sep="\n")
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        keep = options.keep or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        (count_on_arm if options.arm else time_here)(options, keep)


if __name__ == "__main__":
    sys.exit(main())

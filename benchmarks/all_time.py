"""What `all` costs against the vendors' own straight conversions of the same modules.

    python benchmarks/all_time.py [--only resnet18,yolo11n] [--json FILE]

Models are those of `reach.py`, by name. Each runs in a process of its own: first
``torch.onnx.export(dynamo=True)``, ``coremltools.convert`` and ``litert_torch.convert``, without
executing what they made; then one `mobile_export.export` to all five formats, with every file
executed and judged. Seconds are those of processors, the children's included, for other work runs
beside; imports are done before. "passes" is the share of ours that all graph passes take together
with their proof in float64, "checks" that of the float64 reference and of executing and judging the
files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from reach import _CONVERTERS, FORMATS, ROWS, Row, built

MODELS = (
    *("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_y_400mf"),
    *("hf vit", "hf segformer", "hf swinv2", "hf mobilevit", "hf cvt", "hf levit"),
)


def spent() -> float:
    """Seconds of processors so far, of this process and of its children that have ended."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def vendors(row: Row) -> dict[str, float]:
    """Seconds of each straight conversion; none of one that failed."""
    from mobile_export.sources.request import ModelRequest
    from mobile_export.sources.table import load_source

    source = load_source(ModelRequest.of(built(row), **row.options))
    given = tuple(torch.randn(spec.shape) for spec in source.inputs)
    found = {}
    for format_, convert in _CONVERTERS.items():
        start = spent()
        with contextlib.suppress(Exception):
            convert(source.module, given)
            found[format_] = spent() - start
    return found


@contextlib.contextmanager
def counted(total: dict[str, float], owner: Any, method: str, name: str) -> Iterator[None]:
    """Add what calls of a function or method cost to ``total[name]``."""
    function = getattr(owner, method)
    depth = 0

    def timed(*arguments: Any, **options: Any) -> Any:
        nonlocal depth
        start, depth = spent(), depth + 1
        try:
            return function(*arguments, **options)
        finally:
            depth -= 1
            if not depth:
                total[name] = total.get(name, 0.0) + spent() - start

    setattr(owner, method, timed)
    try:
        yield
    finally:
        setattr(owner, method, function)


def ours(row: Row) -> dict[str, float]:
    """Seconds of one export to all formats, and what of it are passes and checks."""
    import mobile_export
    from mobile_export.passes.run import PassRunner
    from mobile_export.pipeline import captured, write

    total: dict[str, float] = {}
    model = built(row)
    with (
        tempfile.TemporaryDirectory() as folder,
        counted(total, PassRunner, "run", "passes"),
        counted(total, captured, "make_reference", "checks"),
        counted(total, write, "_load", "checks"),
        counted(total, write, "check_parity", "checks"),
    ):
        start = spent()
        report = mobile_export.export(
            model, FORMATS, folder, name="m", precision="fp32", **row.options
        )
        total["all"] = spent() - start
    total["files"] = len(report.artifacts)
    return total


def child(name: str) -> None:
    """Measure one model and print it."""
    import coremltools  # noqa: F401
    import litert_torch  # noqa: F401
    import ncnn  # noqa: F401
    import onnxruntime  # noqa: F401

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    row = next(each for each in ROWS if each.name == name)
    with contextlib.redirect_stdout(sys.stderr):
        found = {"name": name, "vendors": vendors(row), "ours": ours(row)}
    print(json.dumps(found), flush=True)


def line(found: dict[str, Any]) -> str:
    """A row of the table."""
    theirs, mine = found["vendors"], found["ours"]
    parts = " + ".join(f"{theirs[f]:.1f}" if f in theirs else "failed" for f in _CONVERTERS)
    total, all_ = sum(theirs.values()), mine["all"]
    return (
        f"| {found['name']} | {parts} | {total:.1f} | {all_:.1f} | {all_ / total:.2f} | "
        f"{mine['passes'] / all_:.0%} | {mine['checks'] / all_:.0%} |"
    )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", help="names of reach.py with commas between them")
    parser.add_argument("--json", type=Path, help="a line for each model is added here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child)
        return
    print("| model | ONNX + Core ML + TFLite, s | sum | `all`, s | ratio | passes | checks |")
    print("| --- " * 7 + "|", flush=True)
    for name in asked.only.split(",") if asked.only else MODELS:
        words = [sys.executable, __file__, "--child", name]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        lines = [each for each in done.stdout.splitlines() if each[:1] == b"{"]
        if not lines:
            print(f"| {name} | exit code {done.returncode} |" + " |" * 5, flush=True)
            continue
        print(line(json.loads(lines[-1])), flush=True)
        if asked.json:
            with asked.json.open("a") as file:
                file.write(lines[-1].decode() + "\n")


if __name__ == "__main__":
    main()

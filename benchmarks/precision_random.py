"""How much noise int8 adds to networks with random weights, in every format that has it.

    python benchmarks/precision_random.py run --json rows.jsonl
    python benchmarks/precision_random.py table rows.jsonl

Random weights (seed 0), small images and synthetic calibration: the table tells nothing of trained
networks, but that the files compute what the plan says, and how a format's scheme compares with
the others on the same network. A row is written as soon as its file was judged, and rows that are
there are not made again.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobile_export.api import export_request
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import FORMATS
from mobile_export.pipeline import ArtifactReport, Failure
from mobile_export.quantization.options import QuantizationOptions
from mobile_export.sources.request import ModelRequest

MODELS = ("emo_1m", "seaformer_tiny", "mobile_former_96m", "freenet_s1")
PRECISION = "int8"


def row_of(model: str, size: int, result: ArtifactReport | Failure) -> dict[str, Any]:
    """What a row says of one file, or why there is none."""
    row: dict[str, Any] = {"model": model, "size": size, "format": result.format}
    if isinstance(result, Failure):
        return {**row, "error": result.error.message}
    notes = " ".join(result.parity.notes)
    ratio = re.search(r"SQNR (-?\d+(?:\.\d+)?) dB", notes)
    steps = re.search(r"all (\d+) computed tensors are within (\d+) steps, ([\d.]+)%", notes)
    return {
        **row,
        "faithful": result.parity.faithful,
        "off": result.parity.max_rel,
        "allowed": result.parity.tolerance,
        "sqnr": float(ratio[1]) if ratio else None,
        "tensors": int(steps[1]) if steps else None,
        "steps": int(steps[2]) if steps else None,
        "equal": float(steps[3]) if steps else None,
        "bytes": result.bytes,
        "notes": list(result.parity.notes),
    }


def run(path: Path, models: list[str], formats: list[str], size: int, count: int) -> None:
    """Append the rows that ``path`` has not."""
    known = {(row["model"], row["format"], row["size"]) for row in rows(path)}
    for model in models:
        wanted = [each for each in formats if (model, each, size) not in known]
        if not wanted:
            continue

        def keep(result: ArtifactReport | Failure, model: str = model) -> None:
            row = row_of(model, size, result)
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            print(model, row["format"], row.get("sqnr", row.get("error")), file=sys.stderr)

        quantization = QuantizationOptions(calibration="synthetic", calibration_samples=count)
        with tempfile.TemporaryDirectory() as folder:
            config = ExportConfig(
                out_dir=Path(folder), precision=PRECISION, quantization=quantization
            )
            request = ModelRequest(model, size=(size, size))
            export_request(request, wanted, config, finished=keep)


def rows(path: Path) -> list[dict[str, Any]]:
    """Those of a file; none where there is no file yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    """As docs/precision.md has it."""
    yield "| model | format | SQNR | faithful: off, allowed | tensors within | MB |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in found:
        name = f"{row['model']} ({row['size']})"
        if "error" in row:
            yield f"| {name} | {row['format']} | not written: {row['error']} | | | |"
            continue
        off = f"{row['off']:.2g}, {row['allowed']:.2g}"
        held = f"{'yes' if row['faithful'] else 'no'}: {off}"
        steps = "" if row["tensors"] is None else f"{row['steps']} steps, {row['tensors']} of them"
        noise = "" if row["sqnr"] is None else f"{row['sqnr']:.0f} dB"
        size = f"{row['bytes'] / 1e6:.2f}"
        yield f"| {name} | {row['format']} | {noise} | {held} | {steps} | {size} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    commands = parser.add_subparsers(dest="command", required=True)
    having = [row.name for row in FORMATS if PRECISION in {each.name for each in row.precisions}]
    go = commands.add_parser("run")
    go.add_argument("--json", type=Path, required=True)
    go.add_argument("--models", nargs="+", default=list(MODELS))
    go.add_argument("--formats", nargs="+", choices=having, default=having)
    go.add_argument("--size", type=int, default=64)
    go.add_argument("--samples", type=int, default=8)
    show = commands.add_parser("table")
    show.add_argument("rows", type=Path)
    given = parser.parse_args()
    if given.command == "table":
        print("\n".join(table(rows(given.rows))))
    else:
        run(given.json, given.models, given.formats, given.size, given.samples)


if __name__ == "__main__":
    main()

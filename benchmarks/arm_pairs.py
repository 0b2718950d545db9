"""Our file and the vendor's on an emulated ARM core, for ``vs_vendor.py --arm``.

Counts are exact and repeat (docs/arm-cost.md); milliseconds are predicted from them with the prices
of `mobile_export.bench.arm.prices`, which were fitted on onnxruntime's counts. One pair is one line
of a JSON file, written as soon as it is counted: a run that was ended goes on where it was.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mobile_export.artifacts.content import sha256_of
from mobile_export.artifacts.expected import expected_facts, seeded_input
from mobile_export.artifacts.manifest import Manifest
from mobile_export.bench.arm.counts import ArmCount
from mobile_export.bench.arm.prices import calibrate, get_soc
from mobile_export.bench.devices.qemu import QemuDevice, connect
from mobile_export.bench.files import BenchArtifact
from mobile_export.bench.runners import runners_for
from mobile_export.bench.runners.runner import Job
from mobile_export.errors import SourceError

__all__ = ["count_pairs", "markdown", "read_pairs", "summary"]

_PROBE = 2e-3
"""Largest difference of the two files' outputs, of the output's range, for them to be one model."""

_COUNTED_BY = ("qemu", "plugin", "libc6")
"""What a count depends on beside the runtime; see `mobile_export.bench.arm.stored`."""

Pair = dict[str, Any]


def read_pairs(file: Path) -> list[Pair]:
    """The pairs that were counted or cannot be; none when there is no file yet."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def count_pairs(
    todo: Sequence[tuple[str, str]],
    write: Callable[[str, str], tuple[Path, Path, tuple[int, ...]]],
    file: Path,
    folder: Path | None = None,
) -> None:
    """Count every pair that ``file`` does not have, appending each.

    Args:
        todo: models and formats.
        write: of one of them, our file, the vendor's, and the shape of their input, (1, C, H, W).
        folder: that ``mobile-bench prepare-qemu`` made; None is its default.
    """
    known = {(pair["model"], pair["format"]) for pair in read_pairs(file)}
    machine = connect("qemu" if folder is None else f"qemu:{folder}")
    try:
        for model, kind in todo:
            if (model, kind) in known:
                continue
            try:
                pair = _count_pair(machine, kind, *write(model, kind))
            except (ImportError, SourceError) as error:  # of this machine or a name, not the pair
                print(f"{model:28} {kind:7} not counted: {error}", flush=True)
                continue
            except Exception as error:  # noqa: BLE001 (a sweep goes on; the line says what failed)
                pair = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"}
            with file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"model": model, "format": kind, **pair}) + "\n")
            print(_line({"model": model, "format": kind, **pair}), flush=True)
    finally:
        machine.close()


def _count_pair(
    machine: QemuDevice, kind: str, ours: Path, vendor: Path, shape: tuple[int, ...]
) -> Pair:
    """Raises ValueError when the two files do not compute the same."""
    mine, of_mine, runtime = _count(machine, kind, ours, shape)
    theirs, of_theirs, _ = _count(machine, kind, vendor, shape)
    difference = np.abs(of_mine.ravel() - of_theirs.ravel()).max() / np.abs(of_theirs).max()
    if not difference <= _PROBE:
        raise ValueError(f"the outputs of the two files differ by {difference:.1e}")
    return {
        "runtime": runtime,
        "versions": {name: machine.prepared.versions[name] for name in _COUNTED_BY},
        "max_rel": float(difference),
        "ours": mine.to_dict(),
        "vendor": theirs.to_dict(),
    }


def _count(
    machine: QemuDevice, kind: str, file: Path, shape: tuple[int, ...]
) -> tuple[ArmCount, np.ndarray, str]:
    """What the second inference of a file did, its output, and the runtime."""
    runner = runners_for(machine.kind, kind)[0].runner()
    with runner.open(machine, Job(_artifact(kind, file, shape))) as session:
        outputs = session.outputs(seeded_input(shape, 0))
        assert outputs, "every runtime under qemu gives its outputs"
        counted = session.run(1).extra
        count = ArmCount(**{name: values[0] for name, values in counted.items()})
        return count, outputs[0].value, session.loaded.version


def _artifact(kind: str, file: Path, shape: tuple[int, ...]) -> BenchArtifact:
    """A file as the runners take it; the vendor's has no manifest that could be read."""
    image = seeded_input(shape, 0)
    weights = file.with_suffix(".bin")
    files = (file, weights) if kind == "ncnn" else (file,)
    facts = {
        "schema": 1,
        "format": kind,
        "file": file.name,
        "sha256": sha256_of(file),
        "companions": [{"file": one.name, "sha256": sha256_of(one)} for one in files[1:]],
        "source": file.stem,
        "input": {"shape": shape},
        "outputs": [{"name": "y", "shape": shape}],
        "expected": expected_facts("noise-0", [image], [image], ["y"], {"fp32": 1e-5}),
    }
    return BenchArtifact(file, files, msgspec.convert(facts, Manifest))


def _ratios(pair: Pair) -> tuple[float, float]:
    """Ours / vendor: instructions, and lines that miss the second cache."""
    ours, vendor = pair["ours"], pair["vendor"]
    return (
        ours["instructions"] / vendor["instructions"],
        ours["l2_misses"] / vendor["l2_misses"],
    )


def _line(pair: Pair) -> str:
    name = f"{pair['model']:28} {pair['format']:7}"
    if "error" in pair:
        return f"{name} {pair['error']}"
    instructions, misses = _ratios(pair)
    counted = " / ".join(f"{pair[side]['instructions'] / 1e6:.1f}" for side in ("ours", "vendor"))
    return f"{name} {instructions:.3f} · {misses:.3f}  {counted} M  diff {pair['max_rel']:.0e}"


def markdown(pairs: Sequence[Pair], soc: str) -> str:
    """One row per model: for every format the two ratios and both predictions in milliseconds."""
    prices = calibrate(get_soc(soc)).model
    kinds = list(dict.fromkeys(pair["format"] for pair in pairs))
    titles = [
        word for kind in kinds for word in (f"{kind}: instructions · misses", "ms, ours / vendor")
    ]
    lines = [f"| model | {' | '.join(titles)} |", "| --- |" + " --- |" * len(titles)]
    for model in dict.fromkeys(pair["model"] for pair in pairs):
        cells = [f"`{model.removeprefix('timm/')}`"]
        for kind in kinds:
            found = [p for p in pairs if (p["model"], p["format"]) == (model, kind)]
            if not found or "error" in found[-1]:
                cells += ["not counted" if not found else "no pair", ""]
                continue
            instructions, misses = _ratios(found[-1])
            ours, vendor = (
                prices.milliseconds(ArmCount(**found[-1][side])) for side in ("ours", "vendor")
            )
            cells += [f"{instructions:.3f} · {misses:.3f}", f"{ours:.1f} / {vendor:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def summary(pairs: Sequence[Pair]) -> list[str]:
    """For every format the geometric means of both ratios, and the worst."""
    lines = []
    for kind in dict.fromkeys(pair["format"] for pair in pairs):
        found = [_ratios(p) for p in pairs if p["format"] == kind and "error" not in p]
        if not found:
            continue
        instructions, misses = zip(*found, strict=True)
        lines.append(
            f"{kind}, {len(found)} pairs: "
            f"instructions {statistics.geometric_mean(instructions):.3f} (worst "
            f"{max(instructions):.3f}), misses {statistics.geometric_mean(misses):.3f} (worst "
            f"{max(misses):.3f})"
        )
    return lines

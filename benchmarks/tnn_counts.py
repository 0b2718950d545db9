"""Counts of TNN itself under qemu, as rows of ``mobile_export/bench/arm/data/tnn_counts.csv``.

    python benchmarks/tnn_counts.py ./tnn_count out/*.tnnproto --table counts.csv

TNN is in no package registry: ``tnn_count.cc`` says how the program is compiled against a libTNN.a
that you built, and docs/tnn.md where TNN's sources are. The files are what ``mobile-export tnn``
writes, their outputs in TNN are compared with the manifest's before anything is kept, and a file
that the table has is left out. Needs ``mobile-bench prepare-qemu``.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mobile_export.artifacts.expected import compare_expected, expected_inputs
from mobile_export.bench.arm.counts import read_counts
from mobile_export.bench.arm.prepare import find
from mobile_export.bench.arm.stored import StoredCount, append_counts
from mobile_export.bench.devices.qemu import CPU
from mobile_export.bench.files import BenchArtifact

_FURTHEST = 1e-3
"""Of the output's range: TNN's ARM kernels approximate exp and tanh, which is more than the 1e-5
that a manifest allows, and far less than what a wrong file is off."""


def count(program: Path, artifact: BenchArtifact, runtime: str, libc: str) -> StoredCount:
    """The second inference of ``artifact`` in TNN.

    Args:
        program: ``tnn_count.cc``, compiled.
        runtime, libc: versions of TNN and of the C library in ``program``.

    Raises:
        ValueError: TNN computes something else than the manifest expects.
        subprocess.CalledProcessError: TNN cannot run it.
    """
    facts = artifact.manifest
    (image,) = expected_inputs(facts.expected, facts.inputs)
    prepared = find()
    with tempfile.TemporaryDirectory() as scratch:
        given, got, counts = (Path(scratch) / name for name in ("in", "out", "counts"))
        image.tofile(given)
        weights = artifact.path.with_suffix(".tnnmodel")
        emulator = [str(prepared.qemu), "-plugin", f"{prepared.plugin},out={counts}", "-cpu", CPU]
        subprocess.run(
            [*emulator, *map(str, (program, artifact.path, weights, given, got))], check=True
        )
        _, shape = artifact.outputs[0]
        output = np.fromfile(got, np.float32).reshape(shape)
        (counted,) = read_counts(counts.read_text("utf-8").splitlines(keepends=True))
    error = compare_expected(facts.expected, [output]).max_rel
    if not error <= _FURTHEST:
        raise ValueError(f"{artifact.path}: TNN is {error:.1e} off")
    height, width = artifact.input_shape[-2:]
    versions = (prepared.versions["qemu"], prepared.versions["plugin"], libc)
    return StoredCount(
        artifact.model, height, width, runtime, facts.sha256, *versions, count=counted
    )


def extend(table: Path, program: Path, files: Sequence[Path], runtime: str, libc: str) -> None:
    """Count the files that ``table`` does not have, appending each as soon as it is counted."""
    known = set()
    if table.exists():
        with table.open(encoding="utf-8", newline="") as stream:
            known = {row["sha256"] for row in csv.DictReader(stream)}
    append_counts(table, files, lambda artifact: count(program, artifact, runtime, libc), known)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--runtime", default="TNN f0cb0812", help="with the commit it is built of")
    parser.add_argument("--libc", default="2.36", help="linked into the program")
    options = parser.parse_args()
    extend(options.table, options.program, options.files, options.runtime, options.libc)


if __name__ == "__main__":
    main()

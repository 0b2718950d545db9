"""Counts that were taken once and stored, so that ranking models needs neither qemu nor an hour.

``python -m mobile_export.bench.arm.stored FILE…`` extends ``data/arm_counts.csv`` with files that
``mobile-export`` wrote; a test of the matrix counts a sample again. ``data/tnn_counts.csv`` is of
TNN, which no registry has: docs/arm-cost.md says how it was counted.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Container, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path

from ...errors import RunnerError
from ..devices.qemu import QemuDevice, connect
from ..files import BenchArtifact, read_artifact
from ..runners import runners_for
from ..runners.runner import Job
from .counts import COUNTERS, ArmCount

__all__ = ["RUNTIMES", "StoredCount", "append_counts", "count_artifact", "stored_counts"]

_FILE = "arm_counts.csv"

RUNTIMES = {"onnxruntime": _FILE, "TNN": "tnn_counts.csv"}
"""Runtimes that were counted, and the file of each."""


@dataclass(frozen=True)
class StoredCount:
    """One inference of one file, and everything that its count depends on.

    Attributes:
        model: the source as `mobile-export` names it; height, width: of its input.
        runtime: with its version; sha256: of the file.
        qemu: version; plugin: first digits of the hash of its source; libc: version in the guest.
        count: of the second inference after loading.
    """

    model: str
    height: int
    width: int
    runtime: str
    sha256: str
    qemu: str
    plugin: str
    libc: str
    count: ArmCount


_COLUMNS = tuple(field.name for field in fields(StoredCount))[:-1]


@cache
def stored_counts(runtime: str = "onnxruntime") -> tuple[StoredCount, ...]:
    """All of a runtime of `RUNTIMES`, in the order in which they were counted."""
    folder = resources.files("mobile_export.bench.arm.data")
    text = folder.joinpath(RUNTIMES[runtime]).read_text("utf-8")
    return tuple(_read(record) for record in csv.DictReader(text.splitlines()))


def _read(record: dict[str, str]) -> StoredCount:
    return StoredCount(
        model=record["model"],
        height=int(record["height"]),
        width=int(record["width"]),
        runtime=record["runtime"],
        sha256=record["sha256"],
        qemu=record["qemu"],
        plugin=record["plugin"],
        libc=record["libc"],
        count=ArmCount(*(int(record[name]) for name in COUNTERS)),
    )


def count_artifact(device: QemuDevice, artifact: BenchArtifact) -> StoredCount:
    """Count the second inference of a fixed random image.

    Raises:
        RunnerError: the runtime cannot run the file, or there is none for it.
    """
    import numpy as np

    image = np.random.default_rng(0).standard_normal(artifact.input_shape, dtype=np.float32)
    rows = runners_for(device.kind, artifact.format)
    if not rows:
        raise RunnerError(f"Nothing under qemu runs {artifact.path.name} ({artifact.format}).")
    with rows[0].runner().open(device, Job(artifact)) as session:
        session.outputs(image)
        counted = session.run(1).extra
        runtime = session.loaded.version
    versions = device.prepared.versions
    height, width = artifact.input_shape[-2:]
    return StoredCount(
        model=artifact.model,
        height=height,
        width=width,
        runtime=runtime,
        sha256=artifact.manifest.sha256,
        qemu=versions["qemu"],
        plugin=versions["plugin"],
        libc=versions["libc6"],
        count=ArmCount(**{name: samples[0] for name, samples in counted.items()}),
    )


def append_counts(
    table: Path,
    files: Sequence[Path],
    count: Callable[[BenchArtifact], StoredCount],
    known: Container[str],
) -> None:
    """Count ``files``, appending each to ``table`` as soon as it is counted.

    Args:
        known: SHA-256 of the files that are left out.
    """
    new = not table.exists()
    with table.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if new:
            writer.writerow((*_COLUMNS, *COUNTERS))
        for file in files:
            artifact = read_artifact(file)
            if artifact.manifest.sha256 in known:
                continue
            row = count(artifact)
            writer.writerow((*astuple(row)[: len(_COLUMNS)], *row.count.values()))
            stream.flush()
            print(row.model, row.height, row.count.instructions, flush=True)


def _extend(table: Path, files: Sequence[Path]) -> None:
    """Count ``files`` that ``table`` does not have by this plugin."""
    device = connect(QemuDevice.kind)
    plugin = device.prepared.versions["plugin"]
    rows = stored_counts() if table.exists() else ()
    known = {row.sha256 for row in rows if row.plugin == plugin}
    append_counts(table, files, lambda artifact: count_artifact(device, artifact), known)


if __name__ == "__main__":
    _extend(Path(__file__).parent / "data" / _FILE, [Path(argument) for argument in sys.argv[1:]])

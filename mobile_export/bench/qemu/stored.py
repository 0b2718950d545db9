"""Counts that were taken once and stored, so that ranking models needs neither qemu nor an hour.

``data/arm_counts.csv`` is extended by ``python -m mobile_export.bench.qemu.stored FILE…`` with files
that ``mobile-export`` wrote; a test of the matrix counts a sample again.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path

from ..artifacts import BenchArtifact, read_artifact
from ..runners import runners_for
from .counts import COUNTERS, ArmCount
from .guest import WARM_UPS, Guest
from .prepare import Prepared, find

__all__ = ["StoredCount", "count_artifact", "stored_counts"]

_FILE = "arm_counts.csv"


@dataclass(frozen=True)
class StoredCount:
    """One inference of one file, and everything that its count depends on.

    Attributes:
        model: the source as `mobile-export` names it; height, width: of its input.
        runtime: with its version; sha256: of the file.
        qemu: version; plugin: first digits of the hash of its source; libc: version in the guest.
        count: of one inference after the warm-ups.
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
def stored_counts() -> tuple[StoredCount, ...]:
    """All of them, in the order in which they were counted."""
    text = resources.files("mobile_export.data").joinpath(_FILE).read_text("utf-8")
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


def count_artifact(prepared: Prepared, artifact: BenchArtifact, runner: str) -> StoredCount:
    """Count one inference of a fixed random image.

    Args:
        runner: the row of `bench.runners.RUNNERS`.

    Raises:
        RunnerError: the runtime cannot run the file.
    """
    import numpy as np

    image = np.random.default_rng(0).standard_normal(artifact.input_shape, dtype=np.float32)
    engine = runner.removeprefix("arm-")
    with Guest(prepared, engine, artifact.files) as guest:
        guest.outputs(image)
        count = guest.count(WARM_UPS)[-1]
        version = guest.version
    return StoredCount(
        artifact.model,
        *artifact.input_shape[-2:],
        version,
        str(artifact.manifest["sha256"]),
        prepared.versions["qemu"],
        prepared.versions["plugin"],
        prepared.versions["libc6"],
        count,
    )


def _extend(table: Path, files: Sequence[Path]) -> None:
    """Count ``files`` that ``table`` does not have, appending each as soon as it is counted."""
    prepared = find()
    new = not table.exists()
    known = set() if new else {(row.sha256, row.plugin) for row in stored_counts()}
    with table.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if new:
            writer.writerow((*_COLUMNS, *COUNTERS))
        for file in files:
            artifact = read_artifact(file)
            if (artifact.manifest["sha256"], prepared.versions["plugin"]) in known:
                continue
            row = count_artifact(prepared, artifact, runners_for("qemu", artifact.format)[0].name)
            writer.writerow((*astuple(row)[: len(_COLUMNS)], *row.count.values()))
            stream.flush()
            print(row.model, row.height, row.count.instructions, flush=True)


if __name__ == "__main__":
    _extend(
        Path(__file__).parents[2] / "data" / _FILE, [Path(argument) for argument in sys.argv[1:]]
    )

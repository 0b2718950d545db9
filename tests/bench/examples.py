"""Measurements, devices and runners made up for tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from mobile_export.artifacts.content import sha256_of
from mobile_export.artifacts.expected import expected_facts, seeded_input
from mobile_export.artifacts.manifest import Manifest
from mobile_export.bench.devices.device import Cluster, Completed, DeviceInfo, State
from mobile_export.bench.files import BenchArtifact, read_artifact
from mobile_export.bench.measure import RunnerJob
from mobile_export.bench.record import Check, Measurement
from mobile_export.bench.runners import RunnerRow
from mobile_export.bench.runners.runner import Job, Loaded, NamedOutput, RawResult
from mobile_export.exporters.table import FORMATS

INFO = DeviceInfo(
    spec="local",
    kind="local",
    name="bench",
    soc="SoC & Co",
    arch="aarch64",
    os="Linux 6",
    memory_mb=4096,
    clusters=(Cluster((0, 1), 1800.0, "Cortex-A55"), Cluster((2, 3), 2400.0, "Cortex-A76")),
    features=("asimddp",),
)


def measurement(**changes: Any) -> Measurement:
    """A trusted one: 60 runs of 5 ms in 12 blocks of 6 starts."""
    rng = np.random.Generator(np.random.PCG64(changes.pop("seed", 0)))
    median = changes.pop("median_ms", 5.0)
    facts: dict[str, Any] = {
        "time": "2026-11-21T00:00:00.000+00:00",
        "run": "run-1",
        "model": "emo_2m",
        "artifact": {
            "file": "emo_2m.onnx", "format": "onnx", "precision": "fp32", "sha256": "0" * 64,
            "companions": {}, "bytes": 1, "input_shape": [1, 3, 224, 224], "weights": "random",
        },
        "device": INFO,
        "runner": {
            "name": "onnxruntime", "version": "onnxruntime 1.31.1", "threads": 1, "cores": None,
            "backend": "cpu", "precision": "fp32", "features": [],
        },
        "samples": tuple(int(v) for v in rng.normal(median * 1e6, 2e4, 60)),
        "blocks": (5,) * 12,
        "starts": (2,) * 6,
        "check": Check(True, 1e-6, 1e-5, 1000),
        "load_ns": 12_000_000,
        "peak_memory": 100 * 2**20,
        "before": State(mhz={0: 1800.0}, temperature_c=40.0),
    }  # fmt: skip
    return Measurement(**facts | changes)


def artifact(folder: Path, *, name: str = "tiny.onnx", scale: float = 1.0) -> BenchArtifact:
    """A file that no runtime reads, with a manifest that expects (1, 4) of its input's sums."""
    path = folder / name
    path.write_text(name)
    image = seeded_input((1, 3, 8, 8), 0)
    write_manifest(path, make_manifest(path, image, {"logits": answer(image) * scale}))
    return read_artifact(path)


def make_manifest(
    path: Path, image: np.ndarray, outputs: Mapping[str, np.ndarray], **changes: Any
) -> Manifest:
    """Of a file that computes ``outputs`` for ``image``, which is `seeded_input` of seed 0."""
    facts = {
        "schema": 1,
        "format": next((row.name for row in FORMATS if path.name.endswith(row.suffix)), ""),
        "file": path.name,
        "sha256": sha256_of(path),
        "source": path.stem,
        "input": {"shape": image.shape},
        "outputs": [{"name": name, "shape": value.shape} for name, value in outputs.items()],
        "expected": expected_facts(
            "noise-0", [image], list(outputs.values()), list(outputs), {"fp32": 1e-5, "fp16": 1e-2}
        ),
    }
    return msgspec.convert(facts | changes, Manifest)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Beside the artifact ``path``."""
    path.with_name(f"{path.name}.manifest.json").write_text(json.dumps(manifest.to_dict()))


def answer(image: np.ndarray) -> np.ndarray:
    """What the made-up model computes, float64 (1, 4)."""
    rows = image.astype(np.float64).sum(axis=(1, 3)).reshape(1, -1)
    return np.asarray(rows[:, :4])


class FakeDevice:
    """A device that only tells states, one after the other, the last for ever."""

    spec = "local"
    kind = "local"
    here = True

    def __init__(self, states: Sequence[State] = ()) -> None:
        self.states = list(states) or [State()]
        self.fixed: list[str] = []

    def describe(self) -> DeviceInfo:
        return INFO

    def state(self) -> State:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def push(self, local: Path, name: str | None = None, *, sha256: str | None = None) -> str:
        return str(local)

    def pull(self, remote: str, local: Path) -> None: ...

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        raise NotImplementedError

    @contextmanager
    def fixed_performance(self) -> Iterator[None]:
        self.fixed.append("on")
        try:
            yield
        finally:
            self.fixed.append("off")

    def reconnect(self) -> None: ...

    def close(self) -> None: ...


class FakeSession:
    """Runs that last what ``latency(index)`` says, in nanoseconds."""

    def __init__(self, latency: Callable[[int], float], **options: Any) -> None:
        self.latency = latency
        self.options = options
        self.index = 0
        self.closed = False
        self.loaded = options.get("loaded", Loaded("fake 1.0", load_ns=1000))

    def outputs(self, image: np.ndarray) -> tuple[NamedOutput, ...] | None:
        if self.options.get("silent"):
            return None
        return (NamedOutput("logits", answer(image).astype(np.float32)),)

    def run(self, count: int) -> RawResult:
        samples = tuple(int(self.latency(self.index + i)) for i in range(count))
        self.index += count
        wall = sum(samples) + 100 * count
        time.sleep(min(0.002, wall / 1e9))
        unit = self.options.get("unit", "ns")
        waited = int(wall * self.options.get("waited", 0.0))
        return RawResult(samples, unit, wall_ns=wall, cpu_ns=0, waited_ns=waited, peak_memory=2**20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.closed = True


class FakeRow(RunnerRow):
    """A row of the table of runners whose sessions are given."""

    def __init__(self, session: FakeSession | Exception) -> None:
        super().__init__("fake", "fake", "python", ("local",))
        object.__setattr__(self, "session", session)

    def runner(self) -> Any:
        return self

    def missing(self, device: Any, job: Job) -> str | None:
        return None

    def open(self, device: Any, job: Job) -> Any:
        session = self.__dict__["session"]
        if isinstance(session, Exception):
            raise session
        return session


def work(session: FakeSession | Exception, made: BenchArtifact) -> RunnerJob:
    row = FakeRow(session)
    return RunnerJob(row, Job(made), row)

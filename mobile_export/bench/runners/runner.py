"""What a runner is: the interface that every module of ``bench.runners`` implements.

A runner executes one artifact on one device. `open` brings it there and loads it; the session that
it gives computes outputs for the correctness check and then as many timed runs as it is asked for,
as often as it is asked: that is how models are interleaved and how the number of runs adapts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import numpy as np

    from ..devices.device import Device
    from ..files import BenchArtifact

__all__ = ["Job", "Loaded", "NamedOutput", "RawResult", "Runner", "RunnerSession"]


@dataclass(frozen=True)
class Job:
    """What to execute, and how.

    Attributes:
        threads: of the CPU.
        cores: core mask: the only cores it may use; None leaves that to the scheduler.
        backend: of the runner, e.g. ``cpu``, ``gpu``; each runner lists its own, the default first.
        precision: of the arithmetic, ``fp32`` or ``fp16``, for runners that have the choice; None
            is that of the file.
        binary: the tool on this machine or on the device, for runners that need one.
        model: the source that the user named, for runners that build the model from its code; a
            manifest names no code.
        weights: checkpoint of ``model`` that the user named.
        operators: also ask for the time of every kind of operator, where the runner can tell it.
        timeout: seconds after which a step that does not answer is given up.
    """

    artifact: BenchArtifact
    threads: int = 1
    cores: tuple[int, ...] | None = None
    backend: str = "cpu"
    precision: str | None = None
    binary: Path | None = None
    timeout: float = 300.0
    model: str | None = None
    weights: Path | None = None
    operators: bool = False


@dataclass(frozen=True)
class NamedOutput:
    """One output tensor as the runner returned it, in the file's own layout.

    Attributes:
        name: empty when the runner does not tell.
        nhwc: the file takes, and may give, (N, H, W, C).
    """

    name: str
    value: np.ndarray
    nhwc: bool = False


@dataclass(frozen=True)
class Loaded:
    """What is known once a file is loaded.

    Attributes:
        version: of the runtime, with its name: ``onnxruntime 1.31.1``.
        load_ns: from the file to ready for the first inference.
        precision: of the arithmetic, which decides what error is allowed.
        features: that the runtime found in the CPU or was built with.
        resident: it stays loaded between two calls of ``run``; False for a tool that is started
            anew each time, and then warms up by itself.
        nodes: of the graph that an accelerator does, and of how many; None where that is unknown.
        left: operators that stay on the CPU, and how often.
        device: name of the accelerator, where the runtime tells it.
    """

    version: str
    load_ns: int | None = None
    precision: str = "fp32"
    features: tuple[str, ...] = ()
    resident: bool = True
    nodes: tuple[int, int] | None = None
    left: Mapping[str, int] = field(default_factory=dict)
    device: str = ""


@dataclass(frozen=True)
class RawResult:
    """One block of timed runs.

    Attributes:
        samples: one per run, in the order of execution; integers of ``unit``. Empty for a tool that
            prints a summary only.
        unit: ``ns``, or ``instructions`` for a device that counts instead of timing.
        summary: what a tool printed, in ``unit``, under the keys ``count``, ``min``, ``max``,
            ``mean``, ``median``, ``p5``, ``p90``, ``p95``, ``p99``, ``std``, ``first``, ``load``,
            as far as it has them.
        peak_memory: resident, of the whole process so far, bytes.
        switches: involuntary context switches while this block ran.
        wall_ns: of the whole block; more than the sum of the samples by the overhead of the loop.
        cpu_ns: processor time of the whole process meanwhile.
        waited_ns: how long its threads were ready meanwhile and had no core.
        extra: what else it told.
    """

    samples: tuple[int, ...]
    unit: str = "ns"
    summary: Mapping[str, float] = field(default_factory=dict)
    peak_memory: int | None = None
    switches: int | None = None
    wall_ns: int | None = None
    cpu_ns: int | None = None
    waited_ns: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class RunnerSession(Protocol):
    """An artifact loaded on a device. All methods raise RunnerError or DeviceError.

    Attributes:
        loaded: version, load time, features.
    """

    loaded: Loaded

    def outputs(self, image: np.ndarray, **others: np.ndarray) -> tuple[NamedOutput, ...] | None:
        """The outputs for ``image``, float32 (1, C, H, W); None when the tool cannot give them.

        Args:
            image: or another first input of the model.
            others: its other inputs by name, of a runner whose row has ``any_inputs``.
        """

    def run(self, count: int) -> RawResult:
        """``count`` timed runs, back to back."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None:
        """End the process and remove its files."""


class Runner(Protocol):
    """What ``create(name)`` of a module of ``bench.runners`` gives."""

    def missing(self, device: Device, job: Job) -> str | None:
        """Why it cannot run there (a sentence that says what to do), or None."""

    def open(self, device: Device, job: Job) -> RunnerSession:
        """Bring the artifact to the device and load it.

        Raises:
            RunnerError: it cannot be loaded.
            DeviceError: the device is gone or full.
        """

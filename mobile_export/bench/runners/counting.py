"""The runtimes' aarch64 builds under qemu: every "sample" is a number of instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ...errors import UsageError
from ..devices.qemu import QemuDevice
from ..qemu.guest import CPU, Guest
from ..runner import Loaded, NamedOutput, RawResult

if TYPE_CHECKING:
    import numpy as np

    from ..device import Device
    from ..runner import Job

__all__ = ["CountingRunner", "CountingSession", "create"]

_SLOWER = 50
"""How much slower than a chip qemu is with the plugin, roughly: its steps get more patience."""


def create(name: str) -> CountingRunner:
    """The runner of the row ``name``: ``arm-`` and a key of `qemu.worker.ENGINES`."""
    return CountingRunner(name.removeprefix("arm-"))


class CountingRunner:
    """A `bench.runner.Runner`; see there for the methods."""

    def __init__(self, engine: str) -> None:
        self._engine = engine

    def missing(self, device: Device, job: Job) -> str | None:
        """One thread only: the order in which several run is not the same twice."""
        if job.threads != 1:
            return f"qemu counts one thread; use --threads 1 instead of {job.threads}."
        return None

    def open(self, device: Device, job: Job) -> CountingSession:
        """Load the file in the guest."""
        if not isinstance(device, QemuDevice):
            raise UsageError(f"{device.spec} is not a qemu device.", hint="Use --device qemu.")
        return CountingSession(self._engine, device, job)


class CountingSession:
    """A `bench.runner.RunnerSession`; see there for the methods."""

    def __init__(self, engine: str, device: QemuDevice, job: Job) -> None:
        precision = job.precision or "fp32"
        self._guest = Guest(
            device.prepared,
            engine,
            job.artifact.files,
            precision=precision,
            timeout=_SLOWER * job.timeout,
        )
        self.loaded = Loaded(self._guest.version, precision=precision, features=(CPU,))

    def outputs(self, image: np.ndarray) -> tuple[NamedOutput, ...]:
        """What the ARM code computes."""
        return tuple(NamedOutput(*pair) for pair in self._guest.outputs(image).items())

    def run(self, count: int) -> RawResult:
        """Instructions of every inference; the other counters in ``extra``, a list for each."""
        counts = self._guest.count(count)
        facts = [one.to_dict() for one in counts]
        return RawResult(
            samples=tuple(one.instructions for one in counts),
            unit="instructions",
            extra={name: [fact[name] for fact in facts] for name in facts[0]} if facts else {},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._guest.close()

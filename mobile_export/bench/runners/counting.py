"""The runtimes' aarch64 builds under qemu: every "sample" is a number of instructions.

The worker and the conversation with it are those of every device that has Python; only the clock is
replaced, by the plugin's counters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from ...errors import RunnerError, UsageError
from ..arm.counts import ArmCount, read_counts
from ..devices.qemu import QemuDevice
from .python import PythonRunner
from .runner import RawResult

if TYPE_CHECKING:
    import numpy as np

    from ..devices.device import Device
    from .runner import Job, NamedOutput, RunnerSession

__all__ = ["CountingRunner", "CountingSession", "create"]

_SLOWER = 50
"""How much slower than a chip qemu is with the plugin, roughly: its steps get more patience."""


def create(name: str) -> CountingRunner:
    """The runner of the row ``name``: ``arm-`` and a key of `worker.RUNTIMES`."""
    return CountingRunner(PythonRunner(name.removeprefix("arm-")))


class CountingRunner:
    """A `bench.runner.Runner`; see there for the methods."""

    def __init__(self, python: PythonRunner) -> None:
        self._python = python

    def missing(self, device: Device, job: Job) -> str | None:
        """One thread only: the order in which several run is not the same twice."""
        if job.threads != 1:
            return f"qemu counts one thread: use --threads 1 instead of {job.threads}."
        return None

    def open(self, device: Device, job: Job) -> CountingSession:
        """Load the file in the guest, in single precision unless the job says otherwise."""
        if not isinstance(device, QemuDevice):
            raise UsageError(f"{device.spec} cannot count.", hint="Use --device qemu.")
        patient = replace(job, precision=job.precision or "fp32", timeout=_SLOWER * job.timeout)
        return CountingSession(device, self._python.open(device, patient))


class CountingSession:
    """A `bench.runner.RunnerSession`; see there for the methods."""

    def __init__(self, device: QemuDevice, session: RunnerSession) -> None:
        self._session = session
        self._counts = device.counts
        self.loaded = replace(session.loaded, load_ns=None)  # of the emulator, not of a phone

    def outputs(self, image: np.ndarray, **others: np.ndarray) -> tuple[NamedOutput, ...] | None:
        """What the ARM code computes."""
        return self._session.outputs(image, **others)

    def count(self, runs: int) -> list[ArmCount]:
        """What each of ``runs`` inferences did; `outputs` comes first."""
        self._session.run(runs)
        with self._counts.open(encoding="utf-8") as stream:
            counts = read_counts(stream)[-runs:]
        if len(counts) != runs:
            raise RunnerError(f"qemu counted {len(counts)} of {runs} inferences.")
        return counts

    def run(self, count: int) -> RawResult:
        """Instructions of every inference; all counters in ``extra``, a list for each."""
        counts = self.count(count)
        facts = [one.to_dict() for one in counts]
        return RawResult(
            samples=tuple(one.instructions for one in counts),
            unit="instructions",
            extra={name: [fact[name] for fact in facts] for name in facts[0]} if facts else {},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.__exit__(*exception)

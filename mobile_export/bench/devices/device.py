"""What a device is: the interface that every module of ``bench.devices`` implements.

A device runs commands, takes and gives back files, and says what it is and in what state. What is
executed there is the business of a runner (`bench.runner`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any, Protocol, TypeVar, runtime_checkable

from msgspec import Meta

from ...artifacts.fields import Count, Name, Number

__all__ = [
    "Cluster",
    "Completed",
    "Conversation",
    "Device",
    "DeviceInfo",
    "Interactive",
    "Starter",
    "State",
    "asked_once",
]


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind.

    Attributes:
        cores: numbers as the kernel counts them.
        max_mhz: highest clock, where the kernel tells.
        name: of the core, e.g. ``Cortex-A77``, where it is known.
    """

    cores: Annotated[tuple[Count, ...], Meta(max_length=65536)]
    max_mhz: Number | None = None
    name: Name | None = None


@dataclass(frozen=True)
class DeviceInfo:
    """What does not change while a device is measured.

    Attributes:
        spec: as the user names it, with everything that makes it unique (``adb:R58M123``).
        kind: the row of `bench.devices.DEVICES`.
        name: maker and model for people, e.g. ``Xiaomi Mi 10``.
        soc: e.g. ``SM8250`` or the name of the CPU; None where nothing tells.
        arch: ``aarch64``, ``x86_64``, …
        os: with its version, e.g. ``Android 13 (API 33)``.
        memory_mb: physical memory in MiB.
        clusters: the slowest first; empty where the kernel hides it.
        features: of the CPU, those that kernels of neural networks use (``asimddp``, ``avx2``).
    """

    spec: Name
    kind: Name
    name: Name
    soc: Name | None
    arch: Name
    os: Name
    memory_mb: Count | None
    clusters: Annotated[tuple[Cluster, ...], Meta(max_length=1000)] = ()
    features: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()

    @property
    def cores(self) -> int:
        """Number of cores of all clusters."""
        return sum(len(cluster.cores) for cluster in self.clusters)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return vars(self) | {"clusters": [dict(vars(cluster)) for cluster in self.clusters]}


@dataclass(frozen=True)
class State:
    """What changes while a device is measured; None where the device does not tell.

    Attributes:
        mhz: current clock per core.
        governor: of the clocks, the names of all cores joined by a comma when they differ.
        temperature_c: the hottest sensor of the CPU or SoC, degrees Celsius.
        thermal_status: Android's 0 (none) to 6 (shutdown).
        throttled: the device itself says that it lowers its clocks because of heat or power.
        battery_percent: of its capacity; None without a battery.
        charging: on external power.
        load: running processes, 1-minute average.
        core_ticks: busy ones of each core since boot, in `ticks_per_second`.
        busy_ticks, steal_ticks: since boot, all cores, in `ticks_per_second`; the difference of two
            states says what others did meanwhile.
        extra: what else the device tells, for people.
    """

    mhz: Mapping[int, Number] = field(default_factory=dict)
    governor: Name | None = None
    temperature_c: Number | None = None
    thermal_status: int | None = None
    throttled: bool | None = None
    battery_percent: Number | None = None
    charging: bool | None = None
    load: Number | None = None
    busy_ticks: Count | None = None
    steal_ticks: Count | None = None
    ticks_per_second: Count | None = None
    core_ticks: Mapping[int, Count] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what the device does not tell is left out."""
        facts = {key: value for key, value in vars(self).items() if value not in (None, {})}
        for name in ("mhz", "core_ticks"):
            if facts.get(name):
                facts[name] = {str(core): value for core, value in facts[name].items()}
        return facts


@dataclass(frozen=True)
class Completed:
    """A command that ended on the device; text is decoded with replacement characters.

    Attributes:
        returncode: of the command; not to be trusted alone, see docs/bench.md (adb).
    """

    returncode: int
    stdout: str
    stderr: str


_D = TypeVar("_D")


def asked_once(describe: Callable[[_D], DeviceInfo]) -> Callable[[_D], DeviceInfo]:
    """A ``describe`` that asks the device the first time only: what it tells does not change."""

    @functools.wraps(describe)
    def remembered(device: _D) -> DeviceInfo:
        known: DeviceInfo | None = vars(device).get("_description")
        if known is None:
            known = vars(device)["_description"] = describe(device)
        return known

    return remembered


class Device(Protocol):
    """One device, connected. All methods raise DeviceError when it is gone or refuses.

    Attributes:
        spec: as `DeviceInfo.spec`.
        kind: as `DeviceInfo.kind`.
        here: it is this machine, whose processor time is also this process's.
    """

    spec: str
    kind: str
    here: bool

    def describe(self) -> DeviceInfo:
        """What it is; the device is asked the first time only (`asked_once`)."""

    def state(self) -> State:
        """Its state now: cheap enough to be asked before and after every block of runs."""

    def push(self, local: Path, name: str | None = None, *, sha256: str | None = None) -> str:
        """Bring a file or folder there unless it is there already (by hash); returns its path.

        Args:
            name: file name there; None makes one from the hash and the name of ``local``.
            sha256: of ``local``, where it is known; None lets it be hashed.
        """

    def pull(self, remote: str, local: Path) -> None:
        """Bring a file from there."""

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        """Run a command to its end; each item is one argument, whatever characters it has.

        Raises:
            DeviceError: it took longer than ``timeout`` seconds (and was ended), or the device
                died meanwhile.
        """

    def fixed_performance(self) -> AbstractContextManager[None]:
        """Keep the clocks steady inside the block, and restore them whatever happens.

        Raises:
            DeviceError: on entering, when the device has no such mode; says what it has instead.
        """

    def reconnect(self) -> None:
        """Connect again after the connection was lost; what was pushed before is still there, or
        is pushed again when it is needed.

        Raises:
            DeviceError: it is not back.
        """

    def close(self) -> None:
        """Remove what was left there and end the connection; never raises."""


class Conversation(Protocol):
    """A process on a device with open pipes, as `subprocess.Popen` has them."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """

    def kill(self) -> None:
        """End it."""


@runtime_checkable
class Starter(Protocol):
    """A device that can keep a process running and talk to it."""

    def start(self, argv: Sequence[str]) -> Conversation:
        """Start a command with open pipes."""


@runtime_checkable
class Interactive(Starter, Protocol):
    """A device that can also run Python (local, ssh)."""

    python: str
    """The interpreter there that has the runtimes."""

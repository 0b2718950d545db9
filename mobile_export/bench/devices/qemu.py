"""``qemu[:FOLDER]``: an emulated ARM core that counts instructions and can tell no time.

FOLDER is where ``mobile-bench prepare-qemu`` put everything; its default is in the user's cache.
The guest sees this machine's files, so pushing and pulling copy nothing that is there already.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ...errors import DeviceError, UsageError
from ..arm import marking
from ..arm.prepare import Prepared, default_folder
from ..arm.prepare import find as find_prepared
from . import Found
from .device import Cluster, Completed, DeviceInfo, State, asked_once
from .local import LocalDevice

__all__ = ["CPU", "QemuDevice", "connect", "find", "require_spec"]

CPU = "cortex-a76"
"""What qemu emulates: ARMv8.2 with half precision and dot products, as in phones since 2019."""

_ENVIRONMENT = {
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
"""All that the guest gets: the user's own would change its stack, and so the modelled caches.

onnxruntime would send telemetry from threads of its own, whose instructions would be counted too.
"""


class QemuDevice(LocalDevice):
    """The guest; it shares the files of this machine.

    Attributes:
        prepared: the folder with everything.
        counts: what the plugin writes for the process that was started last.
    """

    kind = "qemu"

    def __init__(self, spec: str, prepared: Prepared) -> None:
        self.spec = spec
        self.prepared = prepared
        self.python = str(prepared.root / "usr/bin/python3.11")
        self._scratch = tempfile.TemporaryDirectory(prefix="mobile-bench-qemu-")
        self._started = 0

    @property
    def counts(self) -> Path:
        return Path(self._scratch.name) / f"counts-{self._started}"

    @asked_once
    def describe(self) -> DeviceInfo:
        """The emulated core and what emulates it."""
        versions = self.prepared.versions
        return DeviceInfo(
            spec=self.spec,
            kind=self.kind,
            name=f"{CPU} emulated by qemu {versions['qemu']}, counting plugin {versions['plugin']}",
            soc=None,
            arch="aarch64",
            os=f"Linux user space with glibc {versions['libc6']}",
            memory_mb=None,
            clusters=(Cluster((0,), name=CPU),),
            features=("asimddp", "asimdhp"),
        )

    def state(self) -> State:
        """Nothing about it changes."""
        return State()

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        """Run an aarch64 program, named by its path, without counting."""
        return super().run([*self._emulator(), *argv], timeout=timeout)

    def start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a Python worker (`bench.worker`) that makes marks around its runs, and count.

        Args:
            argv: `python`, options, and the worker's file.
        """
        self._started += 1
        plugin = ["-plugin", f"{self.prepared.plugin},out={self.counts}"]
        return super().start(
            [*self._emulator(*plugin), *argv[:-1], str(Path(marking.__file__)), argv[-1]]
        )

    def _emulator(self, *options: str) -> list[str]:
        environment = _ENVIRONMENT | {"PYTHONPATH": str(self.prepared.site)}
        words = [f"{name}={value}" for name, value in environment.items()]
        qemu = [str(self.prepared.qemu), *options, "-cpu", CPU, "-L", str(self.prepared.root)]
        return ["env", "-i", *words, *qemu]

    def fixed_performance(self) -> AbstractContextManager[None]:
        """Refused: there are no clocks."""
        raise DeviceError("qemu counts instructions and has no clocks to keep steady.")

    def close(self) -> None:
        """Remove what the plugin wrote."""
        self._scratch.cleanup()


def require_spec(spec: str) -> None:
    """Raise UsageError where qemu would take part of the folder for an option of the plugin."""
    if "," in spec:
        raise UsageError(f"{spec!r} names a folder with a comma.", hint="Use another folder.")


def connect(spec: str) -> QemuDevice:
    """The prepared machine.

    Raises:
        DeviceError: it is not prepared; says with which command it is.
    """
    _, _, folder = spec.partition(":")
    return QemuDevice(spec, find_prepared(Path(folder).absolute() if folder else None))


def find() -> list[Found]:
    """The machine in the default folder, when there is one."""
    if not default_folder().exists():
        return []
    try:
        find_prepared()
    except DeviceError as error:
        return [Found(QemuDevice.kind, str(error))]
    return [Found(QemuDevice.kind)]

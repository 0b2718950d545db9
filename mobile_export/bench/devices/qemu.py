"""``qemu[:FOLDER]``: an emulated ARM core that counts instructions and can tell no time.

FOLDER is where ``mobile-bench prepare-qemu`` put everything; its default is in the user's cache.
The guest sees this machine's files, so pushing and pulling copy nothing that is there already.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ...errors import DeviceError
from ..device import Cluster, Completed, DeviceInfo, State
from ..qemu.guest import CPU, command
from ..qemu.prepare import Prepared, default_folder, find
from . import Found

__all__ = ["QemuDevice", "connect", "find_devices"]


def connect(spec: str) -> QemuDevice:
    """The prepared machine.

    Raises:
        DeviceError: it is not prepared; says with which command it is.
    """
    _, _, folder = spec.partition(":")
    return QemuDevice(spec, find(Path(folder) if folder else None))


def find_devices() -> list[Found]:
    """The machine in the default folder, when it was prepared."""
    if not default_folder().exists():
        return []
    try:
        find()
    except DeviceError as error:
        return [Found("qemu", str(error))]
    return [Found("qemu")]


class QemuDevice:
    """A `bench.device.Device` whose runners count; see there for the methods."""

    kind = "qemu"

    def __init__(self, spec: str, prepared: Prepared) -> None:
        self.spec = spec
        self.prepared = prepared

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

    def push(self, local: Path, name: str | None = None) -> str:
        """Where the file is: the guest sees it there."""
        return str(local.resolve())

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file of this machine."""
        try:
            shutil.copyfile(remote, local)
        except OSError as error:
            raise DeviceError(f"{remote} cannot be copied: {error.strerror or error}.") from error

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        """Run an aarch64 program, named by its path, without counting."""
        try:
            done = subprocess.run(
                command(self.prepared, argv), capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{argv[0]} took longer than {timeout} s under qemu.") from error
        out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
        return Completed(done.returncode, out, err)

    def fixed_performance(self) -> AbstractContextManager[None]:
        """Refused: there are no clocks."""
        raise DeviceError("qemu counts instructions and has no clocks to keep steady.")

    def close(self) -> None:
        """Nothing is left there."""

"""``local``: the machine that `mobile-bench` runs on."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ...errors import DeviceError, UsageError
from . import Found
from .device import Completed, DeviceInfo, State, asked_once
from .linux import (
    INFO_FILES,
    STATE_FILES,
    clusters_of,
    cpu_name,
    features_of,
    memory_mb,
    os_name,
    state_of,
)

__all__ = ["LocalDevice", "connect", "find", "require_spec"]


class LocalDevice:
    """This machine; files are used where they are."""

    spec = "local"
    kind = "local"
    here = True
    python = sys.executable

    @asked_once
    def describe(self) -> DeviceInfo:
        files = _read(INFO_FILES)
        return DeviceInfo(
            spec=self.spec,
            kind=self.kind,
            name=platform.node() or "this machine",
            soc=cpu_name(files) or platform.processor() or None,
            arch=platform.machine(),
            os=_os_name(files),
            memory_mb=memory_mb(files),
            clusters=clusters_of(files),
            features=features_of(files),
        )

    def state(self) -> State:
        return state_of(_read(STATE_FILES))

    def push(self, local: Path, name: str | None = None, *, sha256: str | None = None) -> str:
        return str(local.resolve())

    def pull(self, remote: str, local: Path) -> None:
        try:
            shutil.copy2(remote, local)
        except OSError as error:
            raise DeviceError(f"Cannot copy {remote}: {error.strerror or error}.") from error

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        try:
            done = subprocess.run(
                argv, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{argv[0]} took longer than {timeout:g} s and was ended.") from error
        except OSError as error:
            raise DeviceError(f"Cannot run {argv[0]}: {error.strerror or error}.") from error
        return Completed(
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    def start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        return start_process(argv)

    def fixed_performance(self) -> AbstractContextManager[None]:
        raise DeviceError(
            "This machine has no mode of fixed performance that a user may switch on.",
            hint="As root: cpupower frequency-set -g performance; and leave out "
            "--fixed-performance.",
        )

    def reconnect(self) -> None:
        return None

    def close(self) -> None:
        return None


def start_process(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """A process with open pipes, which Ctrl-C in the terminal does not reach by itself."""
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise DeviceError(f"Cannot run {argv[0]}: {error.strerror or error}.") from error


def require_spec(spec: str) -> None:
    """Raise UsageError where something follows ``local``."""
    if spec != LocalDevice.spec:
        raise UsageError(
            f"{spec!r} is no device.", hint="This machine is --device local, with nothing behind."
        )


def connect(spec: str) -> LocalDevice:
    """This machine."""
    return LocalDevice()


def find() -> list[Found]:
    """Always there."""
    return [Found(LocalDevice.spec)]


def _read(patterns: Iterable[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for pattern in patterns:
        for path in sorted(Path("/").glob(pattern.lstrip("/"))):
            try:
                files[str(path)] = path.read_text(errors="replace").strip("\n\0 ")
            except OSError:  # a sensor that is off; what it would tell is left out
                continue
    return files


def _os_name(files: dict[str, str]) -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return os_name(files, f"{platform.system()} {platform.release()}")

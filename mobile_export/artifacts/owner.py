"""Who works in a folder: runs on this machine can be told from all others.

A folder may be shared by machines and containers, whose process numbers mean nothing here. So the
hidden folder of a run is named after the machine, its start and its space of process numbers, all
in one hash, and after the process and the time of its start. It also holds a lock in that folder
while it lives: on a file system of this machine, a lock that nobody holds belonged to a run that is
gone, whatever start of the machine or container it was of.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..system.folders import is_local
from ..system.locks import lock

__all__ = ["PREFIX", "Owner", "hold", "is_released", "owner_of", "this_process"]

PREFIX = ".mobile-export-"
_NAME = re.compile(re.escape(PREFIX) + r"([0-9a-f]{16})-(\d{1,10})-(\d{1,20})-\w+")
_START_FIELD = 19  # of /proc/PID/stat, counted behind the name of the program


@dataclass(frozen=True)
class Owner:
    """A process: ``machine`` is a hash, ``started`` the clock ticks of its start, 0 if unknown."""

    machine: str
    pid: int
    started: int

    @property
    def prefix(self) -> str:
        """How the names of its folders begin."""
        return f"{PREFIX}{self.machine}-{self.pid}-{self.started}-"

    @property
    def is_gone(self) -> bool:
        """Whether it certainly has ended: it ran on this machine, and no longer does."""
        if self.machine != _machine():
            return False
        started = _start_of(self.pid)
        return not _is_running(self.pid) or (self.started > 0 and started not in (0, self.started))


def this_process() -> Owner:
    """The process that asks."""
    return Owner(_machine(), os.getpid(), _start_of(os.getpid()))


def owner_of(folder: Path) -> Owner | None:
    """The process that made a hidden folder, by its name; None where the name is none of ours."""
    found = _NAME.fullmatch(folder.name)
    return None if found is None else Owner(found[1], int(found[2]), int(found[3]))


_LOCK = "lock"


def hold(folder: Path) -> IO[bytes] | None:
    """Say in a hidden folder that its run lives, until the file is closed or the process ends.

    Returns:
        the open file; None where the system has no such locks.
    """
    stream = (folder / _LOCK).open("xb")
    if lock(stream, wait=False):
        return stream
    stream.close()
    (folder / _LOCK).unlink(missing_ok=True)
    return None


def is_released(folder: Path) -> bool:
    """Whether a hidden folder was held by a run, on a file system of this machine, and no longer
    is: the machine was started again, or the run was of a container that ended."""
    if os.name != "posix":
        return False
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return is_local(folder) and lock(descriptor, wait=False) is True
    finally:
        os.close(descriptor)


@functools.cache
def _machine() -> str:
    facts = [platform.node(), _text(Path("/proc/sys/kernel/random/boot_id"))]
    try:
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        facts.append("")
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


def _start_of(pid: int) -> int:
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(fields[_START_FIELD]) if len(fields) > _START_FIELD else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True

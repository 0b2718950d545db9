"""Work in a copy of this process, which may die without this one (Linux).

A copy has all that was loaded and computed so far, and costs some milliseconds. Only threads are
not copied: what holds a lock in one would hold it for ever. So whoever copies a process must know
that no library has started threads of its own in it.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["CAN_FORK", "Died", "from_a_copy"]

CAN_FORK = sys.platform == "linux"
"""macOS's own libraries do not survive it, and Windows has no such thing."""

_PARENT_DEATH = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


class Died(Exception):
    """A copy ended before it had said all."""


def from_a_copy(work: Callable[[Callable[[Any], None]], None]) -> Iterator[Any]:
    """What ``work`` sends, executed in a copy of this process.

    Args:
        work: is given a function that sends a value that can be pickled.

    Raises:
        Died: the copy ended in another way than by the end of ``work``; in words, how.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    parent, child = os.getpid(), os.fork()
    if not child:
        _work(work, sender, parent)
    sender.close()
    status: int | None = None
    try:
        while True:
            try:
                yield receiver.recv()
            except EOFError:
                break
        status = os.waitpid(child, 0)[1]
    finally:
        receiver.close()
        if status is None:  # Ctrl-C, or nobody wants the rest
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if status:
        raise Died(_how(os.waitstatus_to_exitcode(status)))


def _work(work: Callable[[Callable[[Any], None]], None], sender: Connection, parent: int) -> None:
    """The life of the copy."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PARENT_DEATH, *map(ctypes.c_ulong, (signal.SIGKILL, 0, 0, 0)))
        if os.getppid() == parent:
            work(sender.send)
            code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sender.close()
        os._exit(code)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    names = {each.value: each.name for each in signal.Signals}
    name = names.get(-code, f"signal {-code}")
    if -code == signal.SIGKILL:
        return f"{name}: perhaps the machine had no memory left"
    return name

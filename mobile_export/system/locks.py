"""Locks on open files, which end with the process that holds them, whatever ends it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO

__all__ = ["exclusive", "lock"]

_LOCKED_BYTE = 2**40


def lock(file: IO[bytes] | int, *, wait: bool = True) -> bool | None:
    """Lock a file or folder against every other process that locks it, until it is closed.

    Args:
        file: open, or its descriptor.
        wait: until the process that holds it lets go.

    Returns:
        Whether it is ours now; None where the system or the file system has no such locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return None
    return True


@contextlib.contextmanager
def exclusive(stream: IO[bytes]) -> Iterator[None]:
    """Hold a file while it is written; what was written is flushed before others may go on.

    Windows locks bytes, not files: one far behind the end stands for all.
    """
    try:
        import msvcrt
    except ImportError:
        lock(stream)
        try:
            yield
        finally:
            stream.flush()
            _release(stream)
        return
    stream.seek(_LOCKED_BYTE)
    msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
    try:
        yield
    finally:
        stream.flush()
        stream.seek(_LOCKED_BYTE)
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]


def _release(stream: IO[bytes]) -> None:
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.flock(stream, fcntl.LOCK_UN)

"""How much memory this process may use at most, and how often Python looks for what it can free."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["collecting_rarely", "memory_here"]

_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@cache
def memory_here() -> int | None:
    """Bytes of physical memory, or of the container's limit; None where the system does not say."""
    found = []
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for place in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            found.append(int(place.read_text()))
    return min((size for size in found if size > 0), default=None)


_ALLOCATED = 50_000
"""Objects made and not freed from which Python's collector looks at the young; its own is 700."""


@contextlib.contextmanager
def collecting_rarely() -> Iterator[None]:
    """Let Python's garbage collector stop the program less often meanwhile.

    A graph of 10,000 nodes is some hundred thousand objects that point at each other, and a pass
    makes another one: with Python's own threshold, as much time went to looking through them as to
    the passes. Where the host has set a higher threshold, or none at all, that stays.
    """
    before = gc.get_threshold()
    if 0 < before[0] < _ALLOCATED:
        gc.set_threshold(_ALLOCATED, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)

"""How much memory this process may use at most."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from pathlib import Path

__all__ = ["memory_here"]

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

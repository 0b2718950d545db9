"""Runs inside the guest: `bench.worker` as on every other device, with marks instead of a clock.

    python marking.py WORKER

The guest has Python 3.11, NumPy and the runtimes, not this package: nothing of it is imported here.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["MARK", "marked_runs"]

MARK = 0x4D420001
"""The request of ``prctl`` that ``native/insncount.c`` takes for a mark."""


def marked_runs(call: Callable[[], Any], count: int) -> tuple[list[int], int]:
    """Call ``count`` times between two marks each; instead of times, zeros.

    Mark 2 n begins the call n of this block, mark 2 n + 1 ends it. What is counted beside the call
    itself are the few thousand instructions of Python's calls of it and of ``prctl``.
    """
    prctl = ctypes.CDLL(None).prctl
    tags = [ctypes.c_ulong(tag) for tag in range(2 * count)]
    gc.disable()
    for index in range(count):
        prctl(MARK, tags[2 * index])
        call()
        prctl(MARK, tags[2 * index + 1])
    return [0] * count, 0


class _NoClock:
    """In place of ``time``: the length of a number read from a clock would move what is allocated
    after it, and so the lines of the modelled caches.
    """

    @staticmethod
    def perf_counter_ns() -> int:
        return 0

    process_time_ns = perf_counter_ns


def main() -> None:
    """Load the worker from its file, and let it answer."""
    spec = importlib.util.spec_from_file_location("worker", sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    worker: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    worker.timed_runs = marked_runs
    worker.time = _NoClock
    worker._switches = worker._waited = worker._peak_memory = lambda: None  # read from the host
    worker.main()


if __name__ == "__main__":
    main()

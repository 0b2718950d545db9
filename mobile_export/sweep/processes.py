"""The processes of cells: each with its limits, and all of them ended when the sweep is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..system.children import limited_words

__all__ = ["Done", "Processes"]

_PROGRAM = "mobile_export"


@dataclass(frozen=True)
class Done:
    """How a process ended: its exit code (minus the signal), and what it printed."""

    code: int
    stdout: str
    stderr: str


class Processes:
    """The processes that run now, so that all of them end when the run does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(
        self,
        words: Sequence[str],
        *,
        module: str = _PROGRAM,
        until: float,
        memory: int | None = None,
        folder: str | Path | None = None,
    ) -> Done:
        """Run ``python -m module words`` on one thread to its end.

        Args:
            until: that moment of `time.monotonic`.
            memory: bytes that it may write to, or None.
            folder: in which it runs; the current one by default.

        Raises:
            subprocess.TimeoutExpired: it was not done in time, and was killed.
        """
        left = max(until - time.monotonic(), 0.0)
        command = limited_words(module, words, seconds=left, memory=memory)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self._start(command, environment, folder) as process:
            stdout, stderr = process.communicate(timeout=left)
            return Done(process.returncode, stdout, stderr)

    @contextlib.contextmanager
    def _start(
        self, words: list[str], environment: dict[str, str], folder: str | Path | None
    ) -> Iterator[subprocess.Popen[str]]:
        with self._lock:
            if self._stopped:
                raise RuntimeError("the sweep was stopped")
            process = subprocess.Popen(
                words, text=True, errors="replace", start_new_session=True, env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=folder,
            )  # fmt: skip
            self._running.add(process)
        try:
            yield process
        finally:
            _kill(process)
            process.wait()
            self._running.discard(process)

    def kill(self) -> None:
        """End all of them, and let none begin."""
        with self._lock:
            self._stopped = True
            for process in list(self._running):
                _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process and, where the system has process groups, its children."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()

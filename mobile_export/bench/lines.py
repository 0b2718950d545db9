"""Read the lines of a process with a time limit, whatever it prints."""

from __future__ import annotations

import collections
import queue
import threading
import time
from typing import IO

__all__ = ["LineReader", "Tail"]

_LONGEST_LINE = 1 << 26
_MOST_LINES_AHEAD = 10_000


class LineReader:
    """Lines of a pipe, read by a thread of its own."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: queue.Queue[bytes | None] = queue.Queue(_MOST_LINES_AHEAD)
        self._closed = False
        threading.Thread(target=self._pump, args=(stream,), daemon=True).start()

    def _pump(self, stream: IO[bytes]) -> None:
        try:
            while line := stream.readline(_LONGEST_LINE):
                self._lines.put(line)
        except (OSError, ValueError):  # closed by the other thread
            pass
        self._lines.put(None)

    def read(self, deadline: float) -> str | None:
        """The next line, without its end; None after the last.

        Args:
            deadline: of `time.monotonic`.

        Raises:
            TimeoutError: there was none before ``deadline``.
        """
        if self._closed:
            return None
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        self._closed = line is None
        return None if line is None else line.decode(errors="replace").rstrip("\r\n")


class Tail:
    """The last lines of a pipe that nobody else reads, so that it never fills up."""

    def __init__(self, stream: IO[bytes], lines: int = 30) -> None:
        self._lines: collections.deque[bytes] = collections.deque(maxlen=lines)
        self._thread = threading.Thread(target=self._pump, args=(stream,), daemon=True)
        self._thread.start()

    def _pump(self, stream: IO[bytes]) -> None:
        try:
            while line := stream.readline(4096):
                self._lines.append(line)
        except (OSError, ValueError):  # closed by the other thread
            pass

    def text(self, wait: float = 1.0) -> str:
        """What was said last; waits up to ``wait`` seconds for the end of the pipe."""
        self._thread.join(wait)
        return b"".join(self._lines).decode(errors="replace").strip()

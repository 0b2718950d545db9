"""Read the lines of a process with a time limit, whatever it prints."""

from __future__ import annotations

import collections
import threading
import time
from typing import IO

__all__ = ["LineReader", "Tail"]

_LONGEST_LINE = 1 << 26
_MOST_LINES = 10_000


class LineReader:
    """Lines of a pipe, read by a thread of its own.

    Of a flood that nobody reads, only the last `_MOST_LINES` are kept.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: collections.deque[bytes] = collections.deque(maxlen=_MOST_LINES)
        self._ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._pump, args=(stream,), daemon=True).start()

    def _pump(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(_LONGEST_LINE):
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify()
        with self._changed:
            self._ended = True
            self._changed.notify()

    def read(self, deadline: float) -> str | None:
        """The next line, without its end; None after the last.

        Args:
            deadline: of `time.monotonic`.

        Raises:
            TimeoutError: there was none before ``deadline``.
        """
        with self._changed:
            patience = max(0.0, deadline - time.monotonic())
            if not self._changed.wait_for(lambda: self._lines or self._ended, patience):
                raise TimeoutError
            line = self._lines.popleft() if self._lines else None
        return None if line is None else line.decode(errors="replace").rstrip("\r\n")


class Tail:
    """The last lines of a pipe that nobody else reads, so that it never fills up."""

    def __init__(self, stream: IO[bytes], lines: int = 30) -> None:
        self._lines: collections.deque[bytes] = collections.deque(maxlen=lines)
        self._thread = threading.Thread(target=self._pump, args=(stream,), daemon=True)
        self._thread.start()

    def _pump(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(4096):
                self._lines.append(line)

    def text(self, wait: float = 1.0) -> str:
        """What was said last; waits up to ``wait`` seconds for the end of the pipe."""
        self._thread.join(wait)
        return b"".join(self._lines).decode(errors="replace").strip()

"""Keep vendor libraries' chatter off the user's terminal.

    with quiet():
        import coremltools
        package = coremltools.convert(...)

coremltools, TensorFlow and their C++ cores greet the user with pages of warnings that say nothing
about the user's model. ``quiet`` captures everything that is printed meanwhile, from Python and
from C++ alike, and throws it away, unless an exception leaves the block: then the last lines are
attached to the exception, which is otherwise unchanged, as a note (PEP 678).

Only the command lines use ``quiet``: it redirects the file descriptors of the process, which belong
to the host when this is a library. ``unwarned`` is what a library may do: it filters warnings and
the vendors' loggers, and touches no stream.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator

__all__ = ["NOTE_LINES", "drop_stdout", "open_closed_streams", "quiet", "unwarned"]

NOTE_LINES = 20
"""How many of the captured lines an exception takes with it."""

_lock = threading.RLock()
_depth = 0
_silence: _Silence | None = None


class _Silence:
    """The streams of this process, sent to one temporary file until ``close``.

    File descriptors, ``sys.stdout``, warning filters and ``logging.disable`` belong to the process,
    not to a thread. So there is one of these at a time: nested and concurrent blocks share it.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        self._text = io.TextIOWrapper(
            os.fdopen(os.dup(self._file.fileno()), "wb", buffering=0),
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )
        _flush()
        self._streams = (sys.stdout, sys.stderr)
        self._saved = {fd: copy for fd in (1, 2) if (copy := _duplicate(fd)) is not None}
        self._disabled = logging.root.manager.disable
        self._warnings = warnings.catch_warnings()

        for fd in self._saved:
            os.dup2(self._file.fileno(), fd)
        sys.stdout, sys.stderr = self._text, self._text
        logging.disable(logging.CRITICAL)
        self._warnings.__enter__()
        warnings.simplefilter("ignore")

    def close(self) -> None:
        _flush()
        self._warnings.__exit__(None, None, None)
        logging.disable(self._disabled)
        sys.stdout, sys.stderr = self._streams
        for fd, copy in self._saved.items():
            os.dup2(copy, fd)
            os.close(copy)
        # `_text` is left to the garbage collector: a library may have kept it as its stream.
        self._file.close()

    def tail(self) -> str:
        """The last lines captured so far."""
        _flush()
        size = os.fstat(self._file.fileno()).st_size
        start = max(0, size - 65536)
        captured = _read_at(self._file.fileno(), start, size - start)
        lines = captured.decode(errors="replace").rstrip().splitlines()
        return "\n".join(lines[-NOTE_LINES:])


@contextlib.contextmanager
def quiet(enabled: bool = True) -> Iterator[None]:
    """Silence warnings, logging, and everything written to stdout and stderr, C++ included.

    Args:
        enabled: ``False`` makes the block an ordinary one.
    """
    if not enabled:
        yield
        return
    silence = _enter()
    try:
        yield
    except Exception as error:  # re-raised, with a note
        tail = silence.tail()
        if tail:
            error.add_note(f"The last lines printed before this error:\n{tail}")
        raise
    finally:
        _leave()


VENDORS = (
    "coremltools", "jax", "litert_torch", "onnx_ir", "onnxruntime", "onnxscript", "tensorflow",
    "torch", "torch.export", "torch.onnx", "torchao",
)  # fmt: skip
"""Loggers that warn of what says nothing about the user's model"""


@contextlib.contextmanager
def unwarned(enabled: bool = True) -> Iterator[None]:
    """Leave out warnings, and what the vendors log below an error; streams stay as they are.

    Args:
        enabled: ``False`` makes the block an ordinary one.
    """
    if not enabled:
        yield
        return
    loggers = [logging.getLogger(name) for name in VENDORS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(max(logger.level, logging.ERROR))
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def open_closed_streams() -> None:
    """Give a program that was started without stdout or stderr (``>&-``) something in their place.

    Otherwise the next file that is opened would have their number, and what vendors print would go
    into it. What is printed on this stdout fails, as on a full disk; stderr goes nowhere.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


def drop_stdout() -> None:
    """Send what is printed from now on nowhere: stdout is full, or nobody reads it any more."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _enter() -> _Silence:
    global _depth, _silence
    with _lock:
        if _silence is None:
            _silence = _Silence()
        _depth += 1
        return _silence


def _leave() -> None:
    global _depth, _silence
    with _lock:
        _depth -= 1
        if _depth == 0 and _silence is not None:
            _silence.close()
            _silence = None


def _read_at(fd: int, start: int, count: int) -> bytes:
    """Bytes of a file whose offset is shared with those who write to it."""
    if hasattr(os, "pread"):
        return os.pread(fd, count, start)
    try:  # Windows
        os.lseek(fd, start, os.SEEK_SET)
        return os.read(fd, count)
    finally:
        os.lseek(fd, 0, os.SEEK_END)


def _duplicate(fd: int) -> int | None:
    """A copy of a file descriptor, or None when the process was started without it."""
    try:
        return os.dup(fd)
    except OSError:
        return None


def _flush() -> None:
    """Push out what Python and the C library still buffer, so that it lands where it was meant."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).fflush(None)

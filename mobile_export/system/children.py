"""Python in a child process, with limits of time, memory and output.

Libraries written in C++ may crash on a damaged file, fill the memory, or never end; a child does
that in their place.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

from .files import GIB, MIB
from .memory import memory_here

__all__ = [
    "Asked",
    "Ended",
    "Gone",
    "Limits",
    "answering",
    "limited_words",
    "run_module",
    "serve",
]

_BOOT = """
import ctypes, json, os, runpy, sys
limits = json.loads(sys.argv[1])
if sys.platform == "linux":
    try:
        prctl = ctypes.CDLL(None).prctl
        prctl(38, *map(ctypes.c_ulong, (1, 0, 0, 0)))  # PR_SET_NO_NEW_PRIVS
        if limits.get("parent"):
            prctl(1, *map(ctypes.c_ulong, (9, 0, 0, 0)))  # PR_SET_PDEATHSIG: SIGKILL
            if os.getppid() != limits["parent"]:
                os._exit(70)  # it was gone before that
    except (AttributeError, OSError):
        pass
try:
    import resource
    spent = int(limits["seconds"] * (os.cpu_count() or 1)) + 1  # of all threads together
    for name, most in (("AS", limits["memory"]), ("DATA", limits["data"]),
                       ("FSIZE", limits["output"]), ("CORE", 0), ("CPU", spent)):
        try:
            kind = getattr(resource, "RLIMIT_" + name)
            hard = resource.getrlimit(kind)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))
        except (AttributeError, OSError, ValueError):
            pass  # this system has no such limit
except ImportError:
    pass
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        seconds: of wall time. The system itself ends the child when all cores together were busy
            for so long, which matters when this process is gone.
        memory: bytes of address space (Linux), which counts libraries and reserved room too. What
            it may write to is no more than the machine or container has.
        output: bytes of its standard output, and of any file that it writes.
    """

    seconds: float = 600.0
    memory: int = 32 * GIB
    output: int = 64 * MIB


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit code, minus the signal that ended it, or None when its time was over.
        output: what it wrote to standard output.
        last_line: of what it wrote to standard error, or "".
    """

    code: int | None
    output: bytes
    last_line: str

    @property
    def crash(self) -> str | None:
        """In words, why it did not end by itself; None when it did."""
        if self.code is None:
            return "it did not end in time"
        if self.code >= 0:
            return None
        names = {s.value: s.name for s in signal.Signals}
        return f"it crashed ({names.get(-self.code, f'signal {-self.code}')})"


_LEAST = 4 * GIB
"""Bytes that a child may always write to: threads reserve room that they hardly use."""


def run_module(
    module: str, arguments: Sequence[str], *, limits: Limits | None = None, text: str = ""
) -> Ended:
    """Run ``python -m module arguments`` in a child and wait for it.

    The current folder is not on the child's path. Ctrl-C ends the child too. On Linux a program
    that the child starts gets no more rights than it has (no set-user-ID).

    Args:
        limits: None takes those of `Limits`.
        text: its standard input.
    """
    limits = limits or Limits()
    words = _words(module, arguments, _own(limits))
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, \
            tempfile.TemporaryFile() as err:  # fmt: skip
        given.write(text.encode())
        given.seek(0)
        child = subprocess.Popen(
            words, stdin=given, stdout=out, stderr=err, start_new_session=os.name == "posix"
        )
        try:
            code: int | None = child.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if child.poll() is None:
                _end(child)
        lines = [line.strip() for line in _tail(err).splitlines() if line.strip()]
        out.seek(0)
        return Ended(code, out.read(limits.output), lines[-1][:300] if lines else "")


class Gone(Exception):
    """A child that was asked something ended, or did not answer in time; in words, why."""


class Asked:
    """A module in a child process that answers messages, one after the other (`serve`).

    It lives until this object is closed or forgotten, or this process ends.
    """

    def __init__(
        self, module: str, arguments: Sequence[str] = (), *, limits: Limits | None = None
    ) -> None:
        """Start it.

        Args:
            limits: of its whole life; of seconds, each answer may take as many. None takes those
                of `Limits`.
        """
        limits = limits or Limits()
        self._seconds = limits.seconds
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the child)
        self._child = subprocess.Popen(
            _words(module, arguments, _own(limits)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=os.name == "posix",
        )
        self.close = weakref.finalize(self, _leave, self._child, self._said)

    def ask(self, message: bytes) -> bytes:
        """What it answers.

        Raises:
            Gone: it ended, or it did not answer in time and was ended.
        """
        given, answered = self._child.stdin, self._child.stdout
        assert given is not None
        assert answered is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            _end(self._child)

        clock = threading.Timer(self._seconds, end)
        clock.start()
        try:
            _send(given, message)
            answer = _received(answered)
        except OSError:
            answer = None
        finally:
            clock.cancel()
        if answer is None:
            raise Gone(self._how(late=late.is_set()))
        return answer

    def _how(self, *, late: bool) -> str:
        """In words, how the child ended."""
        if not late:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_LEAVING)
        code = None if late else self._child.poll()
        lines = [line.strip() for line in _tail(self._said).splitlines() if line.strip()]
        last = lines[-1][:300] if lines else ""
        how = Ended(code, b"", last).crash or f"it ended with exit code {code}"
        return f"{how}; last it said: {last}" if last else how


_LEAVING = 10.0
"""Seconds that a child is given to end by itself when its pipes are closed."""


def serve(answer: Callable[[bytes], bytes]) -> None:
    """Answer every message of whoever started this process (`Asked`), until there are no more.

    What libraries print is no answer: it goes to standard error.
    """
    with os.fdopen(os.dup(0), "rb") as given, os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        while (message := _received(given)) is not None:
            _send(answers, answer(message))


_LENGTH = struct.Struct("<Q")
"""In front of every message: how many bytes it has."""


def _send(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _received(pipe: IO[bytes]) -> bytes | None:
    """The next message; None when its sender is gone."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    message = pipe.read(length)
    return message if len(message) == length else None


def _leave(child: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    """Close what a child reads, at which it ends by itself, and end it where it does not."""
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):  # what was not sent yet, nobody reads
            if pipe is not None:
                pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_LEAVING)
    if child.poll() is None:
        _end(child)
    said.close()


@contextlib.contextmanager
def answering() -> Iterator[IO[str]]:
    """Standard output for the answer of a child, whose main program this is called by.

    What libraries print is no answer: from here on it goes to standard error.
    """
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        yield answer


def limited_words(
    module: str, arguments: Sequence[str], *, seconds: float, memory: int | None
) -> list[str]:
    """The command line of ``python -m module arguments`` that ends when the thread that starts it
    does, whatever ends that (Linux).

    Args:
        seconds: of wall time that it is given: the system ends it after as many of all cores.
        memory: bytes that it may write to (Linux); None for what the system gives.
    """
    most = sys.maxsize
    limits = {"seconds": seconds, "memory": most, "output": most, "parent": os.getpid()}
    return _words(module, arguments, {**limits, "data": most if memory is None else memory})


def _own(limits: Limits) -> dict[str, Any]:
    """Limits of a child, with what it may write to."""
    most = min(limits.memory, max(_LEAST, memory_here() or limits.memory))
    return {**asdict(limits), "data": most}


def _words(module: str, arguments: Sequence[str], limits: dict[str, Any]) -> list[str]:
    return [sys.executable, "-P", "-c", _BOOT, json.dumps(limits), module, *arguments]


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and what it started."""
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()


def _tail(stream: IO[bytes]) -> str:
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - 4096))
    return stream.read().decode(errors="replace")

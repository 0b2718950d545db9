"""The store: a file of JSON lines that is only ever appended to.

One measurement is one line. A writer holds an exclusive lock while it appends and returns after
fsync, so several may write at once, and a measurement that was reported is on the disk. A process
that is killed in the middle of a line leaves a torn one: the next reader leaves it out and says
so, and the next writer moves it to ``STORE.torn`` before it appends. A line that cannot be read is
left out, counted and never touched. A file that is not a store is neither read to its end nor
written to.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import msgspec
from msgspec import Meta

from ..errors import StoreError
from ..system.files import GIB, MIB, read_regular_file
from ..system.locks import exclusive
from .record import Measurement

__all__ = ["Contents", "append", "free_name", "read", "require_store", "run_of"]

_MOST_BYTES = 2 * GIB
_LONGEST_LINE = 64 * MIB


@dataclass(frozen=True)
class Contents:
    """What a store holds.

    Attributes:
        notes: what could not be read, one sentence for all of it.
    """

    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...] = ()


class _Ours(msgspec.Struct):
    """What every record has had since the first version, and will have."""

    schema: Annotated[int, Meta(ge=1)]
    time: str
    run: str
    model: str
    device: dict[str, object]
    runner: dict[str, object]


def require_store(path: Path) -> None:
    """Check, before anything is measured, that measurements can be appended to ``path``.

    Raises:
        StoreError: it is not a store of ours, no regular file, or its folder does not exist.
    """
    if path.exists():
        with _opened(path):
            return
    if path.is_symlink():
        raise _cannot_write(path, "it is a link to a file that does not exist")
    if not path.parent.is_dir():
        raise _cannot_write(path, "its folder does not exist")


def append(path: Path, measurement: Measurement) -> tuple[str, ...]:
    """Add one measurement; on return it is on the disk.

    Returns:
        Notes: that a torn last line was moved aside.
    Raises:
        StoreError: the folder does not exist, the file cannot be written or is not a store of
            ours, or the disk is full.
    """
    line = json.dumps(measurement.to_dict(), allow_nan=False).encode() + b"\n"
    with _opened(path) as stream:
        try:
            notes = _move_torn_line(path, stream)
            end = stream.seek(0, os.SEEK_END)
            try:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(end)
                raise
        except OSError as error:
            raise _cannot_write(path, error.strerror or str(error)) from error
    return notes


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A store of ours, or a new one, locked; a pipe is not waited for."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _cannot_write(path, "it is not a regular file")
    with os.fdopen(descriptor, "a+b") as stream, exclusive(stream):
        _require_ours(path, stream)
        yield stream


def _cannot_write(path: Path, why: str) -> StoreError:
    return StoreError(
        f"Cannot write the measurement to {path}: {why}.",
        hint="Choose another file with --store FILE.",
    )


def _require_ours(path: Path, stream: IO[bytes]) -> None:
    """Refuse a file whose first line is not one of our records, whole; an empty one is fine."""
    stream.seek(0)
    first = stream.readline(_LONGEST_LINE)
    if first and run_of(first) is None:
        raise _cannot_write(path, "its first line is not a measurement of mobile-bench")


def run_of(line: bytes) -> str | None:
    """The run of a record that we wrote, in any version; None for anything else."""
    if not line.endswith(b"\n"):
        return None
    try:
        return msgspec.json.decode(line, type=_Ours).run
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def read(path: Path) -> Contents:
    """Everything in a store that can be read; an absent file holds nothing.

    Raises:
        StoreError: the file itself cannot be read.
    """
    if not path.exists():
        return Contents(())
    *lines, rest = read_regular_file(path, limit=_MOST_BYTES, error=StoreError).split(b"\n")
    found: list[Measurement] = []
    bad: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(Measurement.from_json(line))
            except StoreError as error:
                bad.append(f"line {number} {error.message}")
    notes = [f"{path}: the last line is torn and was left out"] if rest else []
    if bad:
        count = "1 line" if len(bad) == 1 else f"{len(bad)} lines"
        were = "was" if len(bad) == 1 else "were"
        notes.append(f"{count} of {path} could not be read and {were} left out: {bad[0]}")
    return Contents(tuple(found), tuple(notes))


def _move_torn_line(path: Path, stream: IO[bytes]) -> tuple[str, ...]:
    """Move what follows the last line break to ``STORE.torn``."""
    if stream.seek(0, os.SEEK_END) == 0:
        return ()
    stream.seek(-1, os.SEEK_END)
    if stream.read(1) == b"\n":
        return ()
    stream.seek(0)
    data = stream.read()
    whole = data.rfind(b"\n") + 1
    torn = free_name(path, "torn")
    with torn.open("xb") as aside:
        aside.write(data[whole:] + b"\n")
        aside.flush()
        os.fsync(aside.fileno())
    stream.truncate(whole)
    return (f"the last line of {path} was torn; it is in {torn} now",)


def free_name(path: Path, what: str) -> Path:
    """``STORE.WHAT``, or with a number where there is one already."""
    free, number = path.with_name(f"{path.name}.{what}"), 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{what}{number}")
    return free

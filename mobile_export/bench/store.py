"""The store: a file of JSON lines that is only ever appended to.

One measurement is one line. A writer holds an exclusive lock while it appends and returns after
fsync, so several may write at once, and a measurement that was reported is on the disk. A process
that is killed in the middle of a line leaves a torn one: the next reader leaves it out and says
so, and the next writer moves it to ``STORE.torn`` before it appends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import StoreError
from .record import Measurement

__all__ = ["DEFAULT_STORE", "Contents", "append", "read"]

DEFAULT_STORE = Path("mobile-bench.jsonl")
_LOCKED_BYTE = 2**40


@dataclass(frozen=True)
class Contents:
    """What a store holds.

    Attributes:
        notes: what could not be read, one sentence each.
    """

    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...] = ()


def append(path: Path, measurement: Measurement) -> tuple[str, ...]:
    """Add one measurement; on return it is on the disk.

    Returns:
        Notes: that a torn last line was moved aside.
    Raises:
        StoreError: the folder does not exist, the file cannot be written, or the disk is full.
    """
    line = json.dumps(measurement.to_dict(), allow_nan=False).encode() + b"\n"
    try:
        with path.open("a+b") as stream, _locked(stream):
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
        raise StoreError(
            f"Cannot write the measurement to {path}: {error.strerror or error}.",
            hint="Choose another file with --store FILE.",
        ) from error
    return notes


def read(path: Path) -> Contents:
    """Everything in a store; an absent file holds nothing.

    Raises:
        StoreError: it cannot be read, or a line other than a torn last one is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Contents(())
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error
    *lines, rest = data.split(b"\n")
    notes = () if not rest else (f"{path}: the last line is torn and was left out",)
    found = [_parse(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
    return Contents(tuple(found), notes)


def _parse(line: bytes, path: Path, number: int) -> Measurement:
    try:
        facts = json.loads(line)
    except ValueError as error:
        raise StoreError(
            f"{path}:{number} is no JSON: {error}.",
            hint="Remove or restore that line; the others are not touched.",
        ) from None
    if not isinstance(facts, dict):
        raise StoreError(f"{path}:{number} is no measurement.", hint="Remove that line.")
    try:
        return Measurement.from_dict(facts)
    except StoreError as error:
        raise StoreError(f"{path}:{number}: {error.message}", hint=error.hint) from error


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
    torn = path.with_name(path.name + ".torn")
    with torn.open("ab") as aside:
        aside.write(data[whole:] + b"\n")
        aside.flush()
        os.fsync(aside.fileno())
    stream.truncate(whole)
    return (f"the last line of {path} was torn; it is in {torn} now",)


@contextmanager
def _locked(stream: IO[bytes]) -> Iterator[None]:
    """Exclusive among processes; closing the file releases it, whatever happens."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
        try:
            yield
        finally:
            stream.flush()
            fcntl.flock(stream.fileno(), fcntl.LOCK_UN)
        return
    import msvcrt  # Windows locks bytes, not files: one far behind the end stands for all

    stream.seek(_LOCKED_BYTE)
    msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
    try:
        yield
    finally:
        stream.flush()
        stream.seek(_LOCKED_BYTE)
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]

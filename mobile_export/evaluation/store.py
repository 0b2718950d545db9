"""The file of an evaluation: what each machine said of each picture, a line each.

A run adds a line when it has an answer, so one that was killed goes on where it was, and one with
another file, or with more pictures, computes only what is not there. An answer counts as long as
machine and picture are those of the line: a machine is a hash of its file and of how pictures are
prepared for it, a picture its name, size and time of change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from ..artifacts.fields import Name, Text
from ..errors import UsageError
from ..system.files import GIB, regular_file
from ..system.locks import lock
from .judge import Item

__all__ = ["Store"]

_SCHEMA = 1
_MOST_BYTES = 8 * GIB


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """The first line."""

    mobile_export_evaluation: int
    kind: Name
    settings: dict[Name, bool | int | str]


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """An answer."""

    machine: Name
    item: Text
    stamp: tuple[int, ...]
    record: Any


class Store:
    """Records by machine and item; a context.

    Args:
        kind: of the data; ``settings``: what the user asked for that changes a record.
        anew: forget what the file holds.

    Raises:
        UsageError: the file is there and no evaluation, or one of other data; or it is in use.
    """

    def __init__(
        self, path: Path, kind: str, settings: Mapping[str, Any], *, anew: bool = False
    ) -> None:
        self.path = path
        self._records: dict[tuple[str, str], tuple[tuple[int, ...], Any]] = {}
        wanted = _Head(_SCHEMA, kind, dict(settings))
        self._stream = _opened(path)
        try:
            end = 0 if os.fstat(self._stream.fileno()).st_size == 0 else self._read(wanted, anew)
            self._stream.seek(end)
            if end == 0 or anew:
                self._records.clear()
                self._stream.seek(0)
                self._stream.write(msgspec.json.encode(wanted) + b"\n")
            self._stream.truncate()
            self._stream.flush()
        except OSError as problem:
            self._stream.close()
            raise _cannot_write(path, problem) from problem
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def find(self, machine: str, item: Item) -> Any:
        """What a machine said of an item as it is now; None where it was not asked."""
        stamp, record = self._records.get((machine, item.name), (None, None))
        return record if stamp == item.stamp else None

    def add(self, machine: str, item: Item, record: Any) -> None:
        """Keep what a machine said.

        Raises:
            UsageError: the disk is full.
        """
        self._records[machine, item.name] = (item.stamp, record)
        facts = {"machine": machine, "item": item.name, "stamp": item.stamp, "record": record}
        try:
            self._stream.write(json.dumps(facts, allow_nan=False).encode() + b"\n")
            self._stream.flush()
        except OSError as problem:
            raise _cannot_write(self.path, problem) from problem

    def _read(self, wanted: _Head, anew: bool) -> int:
        """Read all lines; the length of those that are whole.

        The last one may be torn: the run was killed while it was written.
        """
        end = 0
        for number, line in enumerate(self._stream, 1):
            if number == 1:
                self._check_head(line, wanted, anew)
            elif not line.endswith(b"\n"):
                break
            elif not anew:
                try:
                    found = msgspec.json.decode(line, type=_Line)
                except (msgspec.MsgspecError, RecursionError, UnicodeError):
                    raise UsageError(
                        f"Line {number} of {self.path} is not one of an evaluation.",
                        hint="Choose another file with -o FILE.jsonl.",
                    ) from None
                self._records[found.machine, found.item] = (found.stamp, found.record)
            end += len(line)
        return end

    def _check_head(self, line: bytes, wanted: _Head, anew: bool) -> None:
        try:
            head = msgspec.json.decode(line[:65536], type=_Head)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            raise UsageError(
                f"{self.path} exists and is not the result of mobile-export evaluate.",
                hint="Choose another file with -o FILE.jsonl.",
            ) from None
        if head != wanted and not anew:
            raise UsageError(
                f"{self.path} is an evaluation of other data or with other options "
                f"({head.kind}, {head.settings}).",
                hint="Choose another file with -o FILE.jsonl, or begin anew with `force=True`.",
            )


def _opened(path: Path) -> IO[bytes]:
    """The file for reading and writing, made if it is not there, and ours alone."""
    if path.is_symlink():
        raise UsageError(
            f"{path} is a link; it is not written to.", hint="Choose another file with -o."
        )
    if os.path.lexists(path):
        regular_file(path, limit=_MOST_BYTES, error=UsageError)
    elif not path.parent.is_dir():
        raise UsageError(f"Cannot write {path}: its folder does not exist.", hint="Make it first.")
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        stream = os.fdopen(os.open(path, flags, 0o666), "r+b")
    except OSError as problem:
        raise _cannot_write(path, problem) from problem
    if lock(stream, wait=False) is False:
        stream.close()
        raise UsageError(
            f"Another run of mobile-export evaluate writes {path}.",
            hint="Wait for it, or choose another file with -o FILE.jsonl.",
        )
    return stream


def _cannot_write(path: Path, problem: OSError) -> UsageError:
    return UsageError(
        f"Cannot write {path}: {problem.strerror or problem}.",
        hint="Free some space, or choose another file with -o.",
    )

"""What a run has finished so far, so that no signal and no error loses it.

While a run measures, every finished block is one line of a journal beside the store,
``STORE.part-RUN``. A run that ends, also by an error or a signal that can be caught, moves its
measurements to the store and removes the journal. One that was killed leaves it: nobody holds its
lock, so whoever reads the store finds the measurements in it, flagged as interrupted, and the next
run moves them into the store. A file of such a name is ours if its first line is a record of the
run in its name; any other is left alone. One of ours with lines that are not understood is kept, as
``STORE.unread``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from ..artifacts.fields import Count, Name, Number
from ..errors import StoreError
from ..system.files import GIB, MIB, read_regular_file
from ..system.locks import lock
from .record import Measurement, Sample
from .runners.runner import RawResult
from .store import Contents, append, free_name, read, run_of

__all__ = ["Journal", "read_all", "recover"]

_MOST_BYTES = GIB
_LONGEST_LINE = 64 * MIB
_DAY = 86400.0


class _Block(msgspec.Struct):
    """One line: a finished block of one measurement, in the start of its process."""

    entry: Count
    start: Count
    samples: tuple[Sample, ...]
    unit: Name
    summary: dict[Name, Number]


class Journal:
    """The journal of one run beside ``store``; a context."""

    def __init__(self, store: Path, run: str) -> None:
        self._path = store.with_name(f"{store.name}.part-{run}")
        self._stream: IO[bytes] | None = None

    def begin(self, measurements: Sequence[Measurement]) -> None:
        """Write what is known before the first run; also proves that there can be written.

        Args:
            measurements: of this run, without samples.
        Raises:
            StoreError: the folder cannot be written, or is full.
        """
        try:
            self._stream = self._path.open("xb")
            lock(self._stream)
            for measurement in measurements:
                self._write(measurement.to_dict())
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise _cannot_write(self._path, error) from error

    def add(self, entry: int, start: int, result: RawResult) -> None:
        """Write one finished block.

        Args:
            entry: index in what `begin` was given; start: of its process, from 0.
        """
        try:
            self._write(
                {
                    "entry": entry,
                    "start": start,
                    "samples": result.samples,
                    "unit": result.unit,
                    "summary": dict(result.summary),
                }
            )
        except OSError as error:
            raise _cannot_write(self._path, error) from error

    def _write(self, facts: dict[str, Any]) -> None:
        assert self._stream is not None
        self._stream.write(json.dumps(facts, allow_nan=False).encode() + b"\n")
        self._stream.flush()

    def end(self) -> None:
        """Remove it: the store has everything."""
        if self._stream is not None:
            with suppress(OSError):
                self._path.unlink()
            self._stream.close()
            self._stream = None


def _cannot_write(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"Cannot write the measurement to {path}: {error.strerror or error}.",
        hint="Choose another file with --store FILE.",
    )


def read_all(store: Path) -> Contents:
    """What is in ``store``, and what killed runs had finished that is not in it yet.

    Raises:
        StoreError: the store cannot be read.
    """
    contents = read(store)
    left = [made for journal in _abandoned(store) for made in _read(journal)[0]]
    return Contents((*contents.measurements, *left), contents.notes)


def recover(store: Path) -> tuple[str, ...]:
    """Move what killed runs had finished into ``store``; notes that say so."""
    notes: list[str] = []
    for journal in _abandoned(store):
        made, unread = _read(journal)
        for measurement in made:
            notes.extend(append(store, measurement))
        with suppress(OSError):
            if unread:
                aside = free_name(store, "unread")
                journal.rename(aside)
                notes.append(f"{unread} lines of a run that was killed are not understood: {aside}")
            else:
                journal.unlink()
        if made:
            notes.append(f"{len(made)} measurements of a run that was killed are in {store} now")
    return tuple(notes)


def _abandoned(store: Path) -> list[Path]:
    """Journals beside ``store`` whose run is dead."""
    found = sorted(store.parent.glob(f"{_escaped(store.name)}.part-*"))
    return [path for path in found if _is_ours(path) and not _is_held(path)]


def _is_ours(path: Path) -> bool:
    """A regular file whose first line is a record of the run in its name."""
    if path.is_symlink() or not path.is_file():
        return False
    with suppress(OSError), path.open("rb") as stream:
        run = run_of(stream.readline(_LONGEST_LINE))
        return run is not None and path.name.endswith(f".part-{run}")
    return False


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _is_held(path: Path) -> bool:
    """A process still writes to it. Where a file cannot be locked, a day must have passed."""
    try:
        with path.open("rb") as stream:
            free = lock(stream, wait=False)
        return time.time() - path.stat().st_mtime < _DAY if free is None else not free
    except OSError:
        return True


def _read(journal: Path) -> tuple[list[Measurement], int]:
    """Its measurements that have a block, and how many lines are not understood.

    A torn last line is left out.
    """
    lines = read_regular_file(journal, limit=_MOST_BYTES, error=StoreError).split(b"\n")[:-1]
    begun: list[Measurement | None] = []
    blocks: dict[int, list[_Block]] = {}
    unread = 0
    for line in lines:
        is_block = line.startswith(b'{"entry": ')
        try:
            if is_block:
                block = msgspec.json.decode(line, type=_Block)
                blocks.setdefault(block.entry, []).append(block)
            else:
                begun.append(Measurement.from_json(line))
        except (msgspec.MsgspecError, StoreError, RecursionError, UnicodeError):
            unread += 1
            if not is_block:
                begun.append(None)  # blocks name the others by their place
    known = {place: record for place, record in enumerate(begun) if record is not None}
    made = [_finished(known[entry], found) for entry, found in blocks.items() if entry in known]
    return made, unread + sum(len(found) for i, found in blocks.items() if i not in known)


def _finished(begun: Measurement, blocks: Sequence[_Block]) -> Measurement:
    starts: dict[int, int] = {}
    for block in blocks:
        starts[block.start] = starts.get(block.start, 0) + 1
    printed = tuple(block.summary for block in blocks if block.summary)
    return msgspec.structs.replace(
        begun,
        unit=blocks[0].unit,
        samples=tuple(sample for block in blocks for sample in block.samples),
        blocks=tuple(len(block.samples) for block in blocks),
        starts=tuple(starts.values()),
        summary=printed[-1] if printed else {},
        printed=printed,
        flags=tuple(sorted({*begun.flags, "interrupted"})),
        notes=(*begun.notes, "interrupted: the run was killed; what it had finished is kept"),
    )

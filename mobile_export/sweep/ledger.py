"""The store of sweeps: an SQLite file that results are only added to.

A result is added in a transaction of its own batch, so that whatever ends the process, what was
added before is there and nothing is there by half. A cell has at most one result an attempt.

Somebody else may have made the file. It is data: it is read with SQLite's schema distrusted, its
tables must be exactly those that are made here (no views, no triggers), and every record is decoded
with its limits. Nothing in it is run; only a specification that the user names is.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..artifacts.fields import Name, Sha256, explain
from ..errors import SweepError
from ..system.files import GIB, MIB, regular_file
from ..system.locks import lock
from .job import Job, Result, decode_result

__all__ = ["Entry", "Facts", "Ledger", "Sweep", "open_ledger", "split_run"]

_MARK = 0x4D455357
"""SQLite's application id of such a file: MESW."""
_SCHEMA = 1
_TABLES = (
    "CREATE TABLE sweeps (run INTEGER PRIMARY KEY, facts TEXT NOT NULL)",
    "CREATE TABLE cells (cell TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE wanted (run INTEGER NOT NULL, place INTEGER NOT NULL, cell TEXT NOT NULL, "
    "PRIMARY KEY (run, place)) WITHOUT ROWID",
    "CREATE TABLE results (cell TEXT NOT NULL, attempt INTEGER NOT NULL, status TEXT NOT NULL, "
    "result TEXT NOT NULL, PRIMARY KEY (cell, attempt)) WITHOUT ROWID",
)
_MOST_BYTES = 64 * GIB
_MOST_TEXT = 4 * MIB
_HINT = "Choose another file with --store FILE."


class Facts(msgspec.Struct, frozen=True):
    """What is shown of a cell; ``kind`` is the same in other versions (`Job.kind`)."""

    kind: Sha256
    model: Name
    size: Name | None
    format: Name
    precision: Name | None
    device: Name | None
    steps: Annotated[tuple[Name, ...], Meta(max_length=10)]
    options: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()

    @property
    def column(self) -> str:
        """``onnx:fp16 on local``."""
        precision = f":{self.precision}" if self.precision else ""
        return f"{self.format}{precision}" + (f" on {self.device}" if self.device else "")

    @property
    def row(self) -> str:
        """``emo_1m 64 --seed=1``."""
        return " ".join(filter(None, (self.model, self.size, *self.options)))


class Sweep(msgspec.Struct, frozen=True):
    """One run: when it began, of which specification."""

    name: Name
    started: Name
    mobile_export: Name


@dataclass(frozen=True)
class Entry:
    """A cell that a run wanted, and its latest result."""

    cell: str
    facts: Facts
    result: Result | None


def _facts_of(job: Job) -> Facts:
    sized = ("--size", job.size)
    words = job.model_words[:-2] if job.model_words[-2:] == sized else job.model_words
    return Facts(
        job.kind, job.model, job.size, job.format, job.precision, job.device, job.steps, words
    )


def split_run(text: str) -> tuple[Path, int | None]:
    """``store.sqlite@3`` as the file and the number of a run; without one, its last."""
    path, mark, number = text.rpartition("@")
    if mark and number.isdecimal() and len(number) < 10:
        return Path(path), int(number)
    return Path(text), None


class Ledger:
    """An open store; `open_ledger` makes one."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._db = path, connection

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except sqlite3.Error as problem:
            raise SweepError(
                f"{self.path}: {problem}.",
                hint="What was stored before is kept: free some space and run again, or choose "
                "another file with --store FILE.",
            ) from problem

    def begin(self, name: str, jobs: Sequence[Job], versions: str) -> int:
        """Note a run and the cells that it wants; its number."""
        started = datetime.now(UTC).isoformat(timespec="seconds")
        said = msgspec.json.encode(Sweep(name, started, versions)).decode()
        with self._told(), self._db:
            run = self._db.execute("INSERT INTO sweeps (facts) VALUES (?)", (said,)).lastrowid
            assert run is not None
            self._db.executemany(
                "INSERT OR IGNORE INTO cells VALUES (?, ?)",
                ((job.cell, msgspec.json.encode(_facts_of(job)).decode()) for job in jobs),
            )
            self._db.executemany(
                "INSERT INTO wanted VALUES (?, ?, ?)",
                ((run, place, job.cell) for place, job in enumerate(jobs)),
            )
        return run

    def last(self) -> dict[str, tuple[int, str]]:
        """Attempt and status of the latest result of every cell."""
        with self._told():
            rows = self._db.execute("SELECT cell, max(attempt), status FROM results GROUP BY cell")
            return {str(cell): (int(attempt), str(status)) for cell, attempt, status in rows}

    def add(self, results: Iterable[Result]) -> None:
        """Add results, all or none of them; an attempt that is there stays as it is.

        Raises:
            SweepError: the disk is full, or the file cannot be written.
        """
        rows = [
            (each.cell, each.attempt, each.status, msgspec.json.encode(each).decode())
            for each in results
        ]
        with self._told(), self._db:
            self._db.executemany("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?)", rows)

    def runs(self) -> dict[int, Sweep]:
        """All runs, the first one first."""
        with self._told():
            rows = self._db.execute("SELECT run, facts FROM sweeps ORDER BY run").fetchall()
        return {run: self._decoded(facts, Sweep) for run, facts in rows}

    def chosen(self, run: int | None) -> int:
        """That run, or the last one.

        Raises:
            SweepError: there is none.
        """
        with self._told():
            rows = self._db.execute("SELECT run FROM sweeps ORDER BY run").fetchall()
        known = [found for (found,) in rows]
        if not known or (run is not None and run not in known):
            said = f"run {run}" if run is not None else "a run"
            raise SweepError(
                f"{self.path} does not have {said}.",
                hint=f"It has {len(known)}: see mobile-export sweep status {self.path}",
            )
        return known[-1] if run is None else run

    def entries(self, run: int) -> Iterator[Entry]:
        """The cells that a run wanted, each with its latest result, in their order."""
        with self._told():
            rows = self._db.execute(
                "SELECT wanted.cell, cells.facts, results.result, max(results.attempt) "
                "FROM wanted JOIN cells USING (cell) LEFT JOIN results USING (cell) "
                "WHERE run = ? GROUP BY wanted.place ORDER BY wanted.place",
                (run,),
            )
            for cell, facts, result, _ in rows:
                found = None if result is None else self._decoded(result, Result)
                yield Entry(cell, self._decoded(facts, Facts), found)

    def _decoded(self, text: object, kind: type[Any]) -> Any:
        try:
            if kind is Result:
                return decode_result(str(text))
            return msgspec.json.decode(str(text), type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as problem:
            raise SweepError(
                f"{self.path} has a damaged record: {explain(problem)}.", hint=_HINT
            ) from None

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


@contextlib.contextmanager
def open_ledger(path: Path, *, write: bool = False) -> Iterator[Ledger]:
    """Open a store; with ``write``, make it where there is none, and be the only one to add to it.

    Raises:
        SweepError: there is none, it is none of ours, or another sweep is adding to it.
    """
    with contextlib.ExitStack() as stack:
        if write:
            stack.enter_context(_claimed(path))
        elif not os.path.lexists(path):
            raise SweepError(
                f"There is no store {path}.", hint="Run: mobile-export sweep SPEC.toml"
            )
        if os.path.lexists(path):
            _require_ours(path, write=write)
        try:
            mode = "rwc" if write else "ro"
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            connection = sqlite3.connect(uri, uri=True, isolation_level="DEFERRED")
        except (sqlite3.Error, ValueError) as problem:
            raise SweepError(f"Cannot open {path}: {problem}.", hint=_HINT) from problem
        ledger = Ledger(path, connection)
        stack.callback(ledger.close)
        _prepare(ledger, connection, write=write)
        yield ledger


def _prepare(ledger: Ledger, db: sqlite3.Connection, *, write: bool) -> None:
    """Set limits, make the tables of an empty file, and check those of any other."""
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_TEXT)
    try:
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("PRAGMA synchronous = FULL")
        if write and db.execute("PRAGMA page_count").fetchone()[0] == 0:
            with db:
                db.execute("BEGIN IMMEDIATE")
                for table in _TABLES:
                    db.execute(table)
                db.execute(f"PRAGMA application_id = {_MARK}")
                db.execute(f"PRAGMA user_version = {_SCHEMA}")
        found = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT 100")
        tables = {str(sql) for (sql,) in found}
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as problem:
        hint = _HINT
        if not write and os.path.lexists(f"{ledger.path}-journal"):
            hint = "The sweep that wrote it was killed: run it again, and it goes on."
        raise SweepError(f"Cannot read {ledger.path}: {problem}.", hint=hint) from problem
    if tables != set(_TABLES) or version != _SCHEMA:
        raise SweepError(
            f"{ledger.path} has other tables than a store of this version.", hint=_HINT
        )


def _require_ours(path: Path, *, write: bool) -> None:
    """Raise SweepError unless a file begins as one of ours: nothing else is opened or changed.

    Args:
        write: an empty one is filled: a sweep that was killed at its beginning may leave it.
    """
    if path.is_symlink():
        raise SweepError(f"{path} is a link; it is not written to.", hint=_HINT)
    regular_file(path, limit=_MOST_BYTES, error=SweepError)
    try:
        with path.open("rb") as stream:
            head = stream.read(100)
    except OSError as problem:
        raise SweepError(f"{path} cannot be read: {problem.strerror}.", hint=_HINT) from problem
    if write and not head:
        return
    mark = int.from_bytes(head[68:72], "big")
    if not head.startswith(b"SQLite format 3\0") or mark != _MARK:
        raise SweepError(f"{path} exists and is no store of a sweep.", hint=_HINT)


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """Be the only sweep at work on a store.

    Raises:
        SweepError: another one is, or nothing can be written there.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        held = os.open(beside, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as problem:
        raise SweepError(
            f"Cannot write {beside}: {problem.strerror or problem}.", hint=_HINT
        ) from problem
    try:
        if lock(held, wait=False) is False:
            raise SweepError(
                f"Another sweep is adding to {path}.",
                hint="Wait until it is done, or choose another file with --store FILE.",
            )
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()
    finally:
        os.close(held)

"""The matrix: many models times many formats, each cell an export in a process of its own.

A cell is one run of ``mobile-export FORMAT MODEL --json`` in a temporary folder, so a converter
that crashes, hangs or eats the memory costs one row of the table and nothing else. Every finished
cell is written to the result file at once; a run that is started again goes on where the last one
stopped.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from ..errors import MobileExportError, UsageError
from ..sources.table import require_name
from ..system.files import MIB, read_regular_file
from .cell import Cell, Row, outcome, row_of
from .store import Matrix

__all__ = ["full_name", "read_models", "run_matrix"]

_MOST_MODELS = 4096


def read_models(path: Path) -> list[tuple[str, str | None]]:
    """(model, size) of each line of a list: ``NAME [SIZE]``, ``#`` begins a comment.

    A name without ``timm/`` that the zoo does not know is timm's. The size is written ``224``,
    ``512x1024`` (height x width) or, as timm does, ``3x224x224``.

    A list is a file, which may be somebody else's: it cannot name code to run, as
    ``package.module:factory`` does; only the command line can.

    Raises:
        UsageError: the file cannot be read, or a line is not of that form.
    """
    try:
        lines = read_regular_file(path, limit=MIB, error=UsageError).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"Cannot read the list of models {path}: {error}.", hint="One model a line."
        ) from error
    found = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if ":" in words[0] or words[0].startswith("-"):
            raise UsageError(
                f"Line {number} of {path} is {line.strip()[:200]!r}: a list names no code.",
                hint="Name your own models on the command line: mobile-export matrix "
                "package.module:factory.",
            )
        size = words[1].removeprefix("3x") if len(words) == 2 else None
        if len(words) > 2 or (size is not None and not re.fullmatch(r"\d+(x\d+)?", size)):
            raise UsageError(
                f"Line {number} of {path} is {line.strip()!r}.",
                hint="Write NAME, NAME 224 or NAME 512x1024.",
            )
        found.append((full_name(words[0]), size))
        if len(found) > _MOST_MODELS:
            raise UsageError(
                f"{path} names more than {_MOST_MODELS:,} models.",
                hint="Make several lists of it.",
            )
    if not found:
        raise UsageError(f"{path} names no model.", hint="One model a line.")
    return found


def full_name(name: str) -> str:
    """A model as the other commands know it: ``timm/`` is put before what the zoo does not have."""
    from ..models import table as registry

    is_spec = "/" in name or ":" in name or name.endswith(".pt2")
    return name if is_spec or name.split("?")[0] in registry.names() else f"timm/{name}"


def run_matrix(
    cells: Sequence[Cell],
    matrix: Matrix,
    *,
    jobs: int = 1,
    time_limit: float = 900.0,
    retry: bool = False,
    finished: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Run the cells that ``matrix`` has no row for, and write each result into it.

    Args:
        jobs: processes at once; each keeps to one thread.
        time_limit: seconds of one cell.
        retry: run those again whose row did not pass.
        finished: told every new row.

    Returns:
        The rows of ``cells``, in their order.

    Raises:
        KeyboardInterrupt: running cells were killed, finished ones are kept.
    """
    matrix.expect(cells)
    due = [cell for cell in cells if _is_due(matrix.find(cell), retry)]
    refused = _unknown(due)
    if refused:
        matrix.add_all(refused.values())
        for row in refused.values():
            finished(row)
    waiting = [cell for cell in due if cell not in refused]
    processes = _Processes()
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        running: set[Future[Row]] = {
            pool.submit(_run_cell, cell, time_limit, processes) for cell in waiting
        }
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                matrix.add(future.result())
                finished(future.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        processes.kill()
        pool.shutdown()
    rows = (matrix.find(cell) for cell in cells)
    return [row for row in rows if row is not None]


def _unknown(cells: Sequence[Cell]) -> dict[Cell, Row]:
    """The rows of cells whose model nobody has: a process for each would take seconds to say so."""
    said: dict[str, str] = {}
    for model in dict.fromkeys(cell.model for cell in cells):
        try:
            require_name(model)
        except MobileExportError as error:
            said[model] = " ".join(str(error).splitlines())
    return {
        cell: row_of(cell, time.monotonic(), status="refused", reason=said[cell.model])
        for cell in cells
        if cell.model in said
    }


def _is_due(row: Row | None, retry: bool) -> bool:
    return row is None or (retry and row.status != "passed")


class _Processes:
    """The processes that run now, so that all of them end when the run does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    @contextlib.contextmanager
    def start(self, words: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
        with self._lock:
            if self._stopped:
                raise RuntimeError("the matrix was stopped")
            process = subprocess.Popen(words, text=True, start_new_session=True, **options)
            self._running.add(process)
        try:
            yield process
        finally:
            _kill(process)
            self._running.discard(process)

    def kill(self) -> None:
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


def _run_cell(cell: Cell, time_limit: float, processes: _Processes) -> Row:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mobile-export-matrix-") as folder:
        words = [sys.executable, "-P", "-m", "mobile_export", cell.format, cell.model, "--json"]
        words += ["-o", folder]
        words += ["--size", cell.size] if cell.size else []
        words += ["--precision", cell.precision] if cell.precision else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with processes.start(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=time_limit)
            except subprocess.TimeoutExpired:
                return row_of(
                    cell, started, status="timeout", reason=f"not done in {time_limit:g} s"
                )
        return row_of(cell, started, **outcome(process.returncode, stdout, stderr))

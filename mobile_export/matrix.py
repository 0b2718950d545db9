"""The matrix: many models times many formats, each cell an export in a process of its own.

A cell is one run of ``mobile-export FORMAT MODEL --json`` in a temporary folder, so a converter
that crashes, hangs or eats the memory costs one row of the table and nothing else. Every finished
cell is written to the result file at once; a run that is started again goes on where the last one
stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .errors import BUG, ArtifactError, UsageError
from .specs import VERDICTS
from .targets import get_target

__all__ = [
    "STATUSES",
    "Cell",
    "Matrix",
    "Row",
    "cells_of",
    "full_name",
    "read_models",
    "run_matrix",
]

STATUSES = ("passed", "failed", "inconclusive", "refused", "crashed", "timeout")
"""What can become of a cell: parity held; it did not; PyTorch's own float32 is too far off to
judge; an error with a message (exit code 2); the process died, or met a bug of ours; the time
limit."""

_SCHEMA = 1


@dataclass(frozen=True)
class Cell:
    """One export: a model at a size (None is its own), a format and a precision (None likewise)."""

    model: str
    size: str | None
    format: str
    precision: str | None = None


@dataclass(frozen=True)
class Row:
    """What became of a cell.

    Attributes:
        size: as asked for; None is the model's own.
        precision: as asked for; None is the format's default.
        status: one of `STATUSES`.
        error: largest absolute error over the range of the reference (`ParityReport.max_rel`).
        tolerance: that was allowed.
        runtime: what executed the file, with its version.
        emulated: by one of our evaluators.
        reason: of a cell that did not pass.
        bytes: of the file.
        export_seconds: in the exporter and its vendor's converter.
        seconds: of the whole process.
    """

    model: str
    size: str | None
    format: str
    precision: str | None
    status: str
    error: float | None = None
    tolerance: float | None = None
    runtime: str | None = None
    emulated: bool | None = None
    reason: str | None = None
    bytes: int | None = None
    export_seconds: float | None = None
    seconds: float = 0.0

    @property
    def cell(self) -> Cell:
        """The cell that this row is about."""
        return Cell(self.model, self.size, self.format, self.precision)


class Matrix:
    """Rows on disk: one JSON file, replaced atomically after every cell.

    Args:
        path: of the JSON file; read when it exists.

    Raises:
        ArtifactError: the file exists and is not a matrix.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = _read(path) if path.exists() else []
        self._rows: dict[Cell, Row | None] = {row.cell: row for row in rows}

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in the order in which their cells were first asked for."""
        return tuple(row for row in self._rows.values() if row is not None)

    def find(self, cell: Cell) -> Row | None:
        """The row of a cell, or None when it has not run yet."""
        return self._rows.get(cell)

    def expect(self, cells: Iterable[Cell]) -> None:
        """Keep a place for the rows of ``cells``, which may come in any order."""
        for cell in cells:
            self._rows.setdefault(cell, None)

    def add(self, row: Row) -> None:
        """Put a row in the place of the cell's last one, and write the file."""
        self._rows[row.cell] = row
        self.write()

    def write(self) -> None:
        """Replace the file by the rows of now."""
        from . import __version__

        facts = {
            "schema": _SCHEMA,
            "mobile_export": __version__,
            "rows": [asdict(row) for row in self.rows],
        }
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
            temporary.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise ArtifactError(
                f"Cannot write {self.path}: {error.strerror or error}.",
                hint="Choose another file with -o FILE.json.",
            ) from error


def _read(path: Path) -> list[Row]:
    try:
        facts = json.loads(path.read_text("utf-8"))
        schema = facts["schema"]
        known = {field.name for field in fields(Row)}
        rows = [Row(**{k: v for k, v in row.items() if k in known}) for row in facts["rows"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} exists and is not the result of mobile-export matrix.",
            hint="Choose another file with -o FILE.json.",
        ) from error
    if schema != _SCHEMA:
        raise ArtifactError(
            f"{path} has schema {schema}; this version reads schema {_SCHEMA}.",
            hint="Move it away and run again.",
        )
    return rows


def read_models(path: Path) -> list[tuple[str, str | None]]:
    """(model, size) of each line of a list: ``NAME [SIZE]``, ``#`` begins a comment.

    A name without ``timm/`` that the zoo does not know is timm's. The size is written ``224``,
    ``512x1024`` (height x width) or, as timm does, ``3x224x224``.

    Raises:
        UsageError: the file cannot be read, or a line is not of that form.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"Cannot read the list of models {path}: {error}.", hint="One model a line."
        ) from error
    found = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        size = words[1].removeprefix("3x") if len(words) == 2 else None
        if len(words) > 2 or (size is not None and not re.fullmatch(r"\d+(x\d+)?", size)):
            raise UsageError(
                f"Line {number} of {path} is {line.strip()!r}.",
                hint="Write NAME, NAME 224 or NAME 512x1024.",
            )
        found.append((full_name(words[0]), size))
    if not found:
        raise UsageError(f"{path} names no model.", hint="One model a line.")
    return found


def full_name(name: str) -> str:
    """A model as the other commands know it: ``timm/`` is put before what the zoo does not have."""
    from .models import registry

    is_spec = "/" in name or ":" in name or name.endswith(".pt2")
    return name if is_spec or name.split("?")[0] in registry.names() else f"timm/{name}"


def cells_of(models: Iterable[tuple[str, str | None]], formats: Sequence[str]) -> list[Cell]:
    """Every model times every format; a format is written ``NAME`` or ``NAME:PRECISION``.

    Raises:
        UsageError: there is no such format or precision.
        MissingExtraError: its libraries are not installed.
    """
    chosen = []
    for text in formats:
        name, _, precision = text.partition(":")
        target = get_target(name)
        target.precision(precision or None)
        target.require()
        chosen.append((name, precision or None))
    cells = [
        Cell(model, size, name, precision) for model, size in models for name, precision in chosen
    ]
    return list(dict.fromkeys(cells))


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
    waiting = [cell for cell in cells if _is_due(matrix.find(cell), retry)]
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
        words = [sys.executable, "-m", "mobile_export", cell.format, cell.model, "--json"]
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
                return _row(cell, started, status="timeout", reason=f"not done in {time_limit:g} s")
        return _row(cell, started, **_outcome(process.returncode, stdout, stderr))


def _row(cell: Cell, started: float, **facts: Any) -> Row:
    return Row(**asdict(cell), seconds=round(time.monotonic() - started, 1), **facts)


def _outcome(code: int, stdout: str, stderr: str) -> dict[str, Any]:
    """The fields of a row, from what the process printed."""
    if code < 0:
        return {"status": "crashed", "reason": f"killed by signal {signal.Signals(-code).name}"}
    if code not in (0, 1):
        message = stderr.strip().removeprefix("error: ") or f"exit code {code} without a message"
        refused = stderr.startswith("error: ") and not message.startswith(BUG)
        status = "refused" if refused else "crashed"
        return {"status": status, "reason": " ".join(message.splitlines())}
    artifact = json.loads(stdout)["artifacts"][0]
    parity = _deciding(artifact["parity"])
    facts = {
        "status": parity["verdict"],
        "error": parity["max_rel"],
        "tolerance": parity["tolerance"],
        "runtime": parity["runtime"],
        "emulated": parity["emulated"],
        "bytes": artifact["bytes"],
        "export_seconds": artifact["seconds"]["export"],
    }
    if parity["verdict"] == "failed":
        error = "not a number" if parity["max_rel"] is None else f"{parity['max_rel']:.1e}"
        facts["reason"] = f"error {error} of the output range in {parity['worst']}"
    if parity["verdict"] == "inconclusive":
        facts["reason"] = f"PyTorch's own float32 error is {parity['float32_error']:.1e}"
    return facts


def _deciding(parity: dict[str, Any]) -> dict[str, Any]:
    """`ParityReport.deciding` of a report in JSON."""
    reports: list[dict[str, Any]] = [parity, *parity.get("others", ())]
    return min(reports, key=lambda report: VERDICTS.index(report["verdict"]))

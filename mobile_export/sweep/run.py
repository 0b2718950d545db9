"""The matrix: many models times many formats, each cell an export in a process of its own.

A cell is one run of ``mobile-export FORMAT MODEL --json`` in a temporary folder (and of ``verify
FILE MODEL --runtime JUDGE`` where another runtime judges the file), so a converter that crashes,
hangs or eats the memory costs one row of the table and nothing else. Every finished cell is written
to the result file at once; a run that is started again goes on where the last one stopped.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from ..errors import MobileExportError, UsageError
from ..models.composition import is_composition
from ..sources.table import require_name
from ..system.files import MIB, read_regular_file
from .cell import Cell, Row, outcome, row_of, second_outcome
from .processes import Processes
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

    if is_composition(name):
        backbone, sign, head = name.rpartition("+")
        return f"{full_name(backbone)}{sign}{head}"
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
    processes = Processes()
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


def _run_cell(cell: Cell, time_limit: float, processes: Processes) -> Row:
    """Export, and let the cell's judge verify a file that passed, within one limit of time."""
    started = time.monotonic()
    size = ["--size", cell.size] if cell.size else []
    precision = ["--precision", cell.precision] if cell.precision else []

    def run(*words: str) -> tuple[int, str, str]:
        done = processes.run([*words, "--json", *size], until=started + time_limit)
        return done.code, done.stdout, done.stderr

    with tempfile.TemporaryDirectory(prefix="mobile-export-matrix-") as folder:
        try:
            done = run(cell.format, cell.model, "-o", folder, *precision)
            facts = outcome(*done)
            if cell.judge is not None and facts["status"] == "passed":
                file = json.loads(done[1])["artifacts"][0]["path"]
                done = run("verify", file, cell.model, "--runtime", cell.judge, *precision)
                facts |= second_outcome(*done)
        except subprocess.TimeoutExpired:
            facts = {"status": "timeout", "reason": f"not done in {time_limit:g} s"}
        return row_of(cell, started, **facts)

"""What every command prints alike: the consoles, the progress line, one error message."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.markup import escape as _without_markup
from rich.segment import Segment

from .quiet import drop_stdout

if TYPE_CHECKING:
    from rich.progress import Progress as _Bar
    from rich.progress import ProgressColumn

    from ..errors import MobileExportError

__all__ = [
    "Progress",
    "escape",
    "markdown_text",
    "print_error",
    "printable",
    "progress_bar",
    "progress_line",
    "report_error",
    "say",
    "stderr_console",
    "stdout_console",
    "unprinted",
]


_BREAK = "\n"
_STDOUT_ERRORS = (errno.ENOSPC, errno.EBADF, errno.EFBIG, errno.EIO)
_PIPE_WIDTH = 200
"""Characters of a line in a pipe; there is no terminal whose width would be known"""


def printable(text: str, keep: str = "") -> str:
    """``text`` with everything that a terminal could obey spelled out (``\\x1b``).

    Names in files, and what devices answer, may hold control sequences, line breaks, marks that
    turn the direction of writing, and halves of characters that cannot be printed.

    Args:
        keep: characters that are left as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in keep or unicodedata.category(character) == "Zs"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def escape(text: str, keep: str = "") -> str:
    """`printable`, and without meaning for rich's markup."""
    return _without_markup(printable(text, keep))


def markdown_text(text: str) -> str:
    """`printable`, and nothing in it ends a cell, begins a tag or is a link or emphasis."""
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", printable(text))


class _SafeConsole(Console):
    """A console whose terminal obeys what we print, and nothing that stands in a text.

    What is printed is still given through `escape`, for the sake of rich's markup; this is for what
    somebody forgot. A word between two colons (``m:two:``) stays one, and is no emoji.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich does, and nothing is cut off where a line is too long."""
        super().print(*objects, **{"crop": False, **options})

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text, keep=_BREAK), segment.style)


def stdout_console() -> Console:
    """Console of results.

    As wide as the terminal; a pipe is given lines that are long enough not to be wrapped.
    """
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return _SafeConsole(width=width, highlight=False)


def stderr_console() -> Console:
    """Console of messages."""
    return _SafeConsole(stderr=True, highlight=False, soft_wrap=True)


def print_error(error: MobileExportError) -> None:
    """One message, one hint, no traceback.

    A line of the message is ours if it is indented; others stand in names of files and what is in
    them, and would be taken for the hint, or for a command to type.
    """
    console = stderr_console()
    lines = error.message.split(f"{_BREAK}  ")
    message = f"{_BREAK}  ".join(map(escape, lines))
    console.print(f"[bold red]error:[/] {message}")
    if error.hint:
        console.print(escape(error.hint, keep=_BREAK))


def report_error(error: MobileExportError, *, as_json: bool) -> None:
    """The error that ends a command: on stderr and, with ``--json``, as JSON on stdout too.

    Neither may be there to be written to: then the exit code alone says it.
    """
    with contextlib.suppress(OSError, ValueError):
        print_error(error)
    if as_json:
        facts = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        with contextlib.suppress(OSError, ValueError):
            print(json.dumps({"error": facts}, indent=2), flush=True)


def unprinted(error: Exception) -> str | None:
    """Why stdout could not be written to, if that is what ``error`` says; what fails on a file
    has a name.

    Whatever is printed on stdout from then on is dropped, so that Python does not complain once
    more when it ends.
    """
    full = isinstance(error, OSError) and error.errno in _STDOUT_ERRORS
    named = getattr(error, "filename", None) is not None
    if not isinstance(error, BrokenPipeError) and (named or not full):
        return None
    drop_stdout()
    return f"The result could not be printed: {error}."


class Progress:
    """What is told while work goes on: a stage, and lines that stay.

    Args:
        shown: the bar on a terminal; None shows nothing.
        lines: where each stage is a line, with the seconds since the start; None for none.
    """

    def __init__(self, shown: _Bar | None = None, lines: TextIO | None = None) -> None:
        self._shown = shown
        self._task = None if shown is None else shown.add_task("starting", total=None)
        self._lines = lines
        self._start = time.monotonic()

    def __call__(self, stage: str) -> None:
        """The stage that goes on now."""
        if self._lines is not None:
            seconds = time.monotonic() - self._start
            print(f"{seconds:7.1f} s  {printable(stage)}", file=self._lines, flush=True)
        if self._shown is not None and self._task is not None:
            self._shown.update(self._task, description=printable(stage), refresh=True)

    def say(self, markup: str) -> None:
        """A line that stays above the spinner; nothing where there is none."""
        if self._shown is not None:
            self._shown.console.print(markup, soft_wrap=True)


@contextlib.contextmanager
def progress_line(*, enabled: bool, lines: bool = False) -> Iterator[Progress]:
    """A spinner with the time and the current stage on a terminal's stderr; nothing anywhere else.

    With ``lines``, which goes with what vendors print, each stage is a line on stderr instead,
    wherever that leads.

    It writes to a copy of file descriptor 2, so that it stays visible while vendor output, which
    shares that descriptor, is silenced.
    """
    if lines:
        yield Progress(lines=sys.stderr)
        return
    if not enabled or not sys.stderr.isatty():
        yield Progress()
        return
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with _drawn(*columns) as bar:
        progress = Progress(bar)
        token = _SAY.set(progress)
        try:
            yield progress
        finally:
            _SAY.reset(token)


@contextlib.contextmanager
def _drawn(*columns: ProgressColumn) -> Iterator[_Bar]:
    """A bar of rich on a copy of file descriptor 2, which vanishes at the end."""
    from rich.progress import Progress as Bar

    with os.fdopen(os.dup(2), "w") as stream:
        console = _SafeConsole(file=stream, force_terminal=True)
        with Bar(*columns, console=console, transient=True) as bar:
            yield bar


_SAY: ContextVar[Callable[[str], None]] = ContextVar("say", default=lambda stage: None)


def say(stage: str) -> None:
    """Show a stage on the `progress_line` that is open; nothing where none is."""
    _SAY.get()(stage)


@contextlib.contextmanager
def progress_bar(
    *, enabled: bool
) -> Iterator[tuple[Callable[[int, int], None], Callable[..., None]]]:
    """A bar with counts, time gone and time left on a terminal's stderr; nothing anywhere else.

    Like `progress_line` it writes to a copy of file descriptor 2.

    Returns:
        What is told the whole number and what of it is done already; and what is told, with a few
        words, that one more is done.
    """
    if not enabled or not sys.stderr.isatty():
        yield lambda total, done: None, lambda what: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left  {task.fields[last]}", markup=False),
    )
    with _drawn(*columns) as bar:
        task = bar.add_task("", total=None, last="")
        yield (
            lambda total, done: bar.update(task, total=total, completed=done),
            lambda what: bar.update(task, advance=1, last=printable(what)),
        )

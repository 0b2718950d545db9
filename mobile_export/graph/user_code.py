"""The user's Python: importing it, calling it, running the model. It may raise anything.

Whatever it raises becomes one error with the user's own file and line; `sys.exit` in a model never
becomes our exit code. Only Ctrl-C stays what it is.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MobileExportError

__all__ = ["described", "guarded", "place_in_code"]


@contextmanager
def guarded(refuse: Callable[[BaseException], MobileExportError]) -> Iterator[None]:
    """Run the user's code; what it raises is raised as ``refuse(error)``.

    `SystemExit`, `GeneratorExit` and any other subclass of `BaseException` are taken as failures of
    the code, as `Exception` is.

    Raises:
        MobileExportError: what ``refuse`` made, or one of ours, which passes unchanged.
        KeyboardInterrupt: passes unchanged.
    """
    try:
        yield
    except (KeyboardInterrupt, MobileExportError):
        raise
    except BaseException as error:
        raise refuse(error) from error


def described(error: BaseException) -> str:
    """Type and first line of an exception, even of one whose text cannot be had."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({_code(error)})"[:300]
    try:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the text is the user's code, too, and may raise anything
        lines = []
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"


def _code(error: SystemExit) -> str:
    """What `sys.exit` was given; an object of the user's own only by its type."""
    code = error.code
    return repr(code) if code is None or type(code) in (int, str) else type(code).__name__


def place_in_code(error: BaseException, folder: Path | None = None) -> str:
    """`` (file.py:12, in forward)`` for the innermost frame outside PyTorch and this package.

    Args:
        folder: frames of files in it are preferred; the function is left out then.

    Returns:
        the text, which begins with a space; "" when no frame is the user's.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    ours = str(Path(__file__).parents[1]) + os.sep
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/torch/" not in frame.filename.replace("\\", "/")
        and not frame.filename.startswith((ours, "<"))
        and "importlib" not in frame.filename
    ]
    if folder is not None:
        own = [frame for frame in frames if frame.filename.startswith(str(folder) + os.sep)]
        frames = own or frames
    if folder is not None and frames:
        return f" ({frames[-1].filename}:{frames[-1].lineno})"
    if not frames:
        return ""
    return f" ({frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name})"

"""Files that somebody else made: that they are files, and not too large, before they are read."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ..errors import ArtifactError, MobileExportError

__all__ = [
    "GIB",
    "MIB",
    "read_regular_file",
    "regular_file",
    "require_free_file",
    "write_whole",
]

MIB = 2**20
GIB = 2**30

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular_file(
    path: Path, *, limit: int | None = None, error: type[MobileExportError] = ArtifactError
) -> int:
    """The size in bytes of a regular file; links are followed.

    A named pipe would block whoever opens it, /dev/zero never ends, and what lies in /proc says a
    length of 0 and may do either.

    Args:
        limit: the largest size in bytes that is accepted; None accepts any.
        error: what is raised.

    Raises:
        MobileExportError: of the type ``error``: no such file, not a regular file, too large, or
            without a length.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise error(f"There is no file {path}.", hint="Check the path.") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise error(f"{path} cannot be read: {_reason(problem)}.") from problem
    size = _checked(path, found, limit, error)
    if not size and _gives_something(path):
        raise error(
            f"{path} cannot be read: it has no length, and is not empty.",
            hint="Give a regular file, not one of /proc or /sys.",
        )
    return size


def _gives_something(path: Path) -> bool:
    """Whether a file of no length can be read, or waited for: the system makes it up meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # whoever reads it will say so
        return False
    try:
        return bool(os.read(descriptor, 1))
    except OSError:  # BlockingIOError: not yet
        return True
    finally:
        os.close(descriptor)


def read_regular_file(
    path: Path, *, limit: int, error: type[MobileExportError] = ArtifactError
) -> bytes:
    """The whole content of a regular file of at most ``limit`` bytes.

    The file is opened without waiting and checked when it is open, so that it cannot be exchanged
    for a named pipe in between.

    Raises:
        MobileExportError: as `regular_file` does.
    """
    regular_file(path, limit=limit, error=error)
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            size = _checked(path, os.fstat(descriptor), limit, error)
            return file.read(size)
    except (OSError, ValueError) as problem:
        raise error(f"{path} cannot be read: {_reason(problem)}.") from problem


def require_free_file(path: Path, *, force: bool, error: type[MobileExportError]) -> None:
    """Check that a result can be written to ``path``: before the work.

    Args:
        force: replace a regular file; a link, a folder or a pipe never is.

    Raises:
        MobileExportError: of the type ``error``.
    """
    if not os.path.lexists(path):
        if not path.parent.is_dir():
            raise error(f"Cannot write {path}: its folder does not exist.", hint="Make it first.")
        return
    if not stat.S_ISREG(path.lstat().st_mode):
        raise error(
            f"{path} is not a regular file; it is not replaced.", hint="Write to another file."
        )
    if not force:
        raise error(f"{path} exists already.", hint="Overwrite it with `force=True`.")


def write_whole(path: Path, content: bytes, *, error: type[MobileExportError]) -> None:
    """Write a file that is there in full or not at all.

    Raises:
        MobileExportError: of the type ``error``: the disk is full, or the folder cannot be written.
    """
    draft: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}-", dir=path.parent)
        draft = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            if os.name == "posix":  # mkstemp lets its owner only
                os.fchmod(descriptor, 0o666 & ~_umask())
            stream.write(content)
        draft.replace(path)
    except OSError as problem:
        if draft is not None:
            draft.unlink(missing_ok=True)
        raise error(
            f"Cannot write {path}: {_reason(problem)}.", hint="Free some space, or write elsewhere."
        ) from problem


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _checked(
    path: Path, found: os.stat_result, limit: int | None, error: type[MobileExportError]
) -> int:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "not a file")
        raise error(f"{path} cannot be read: it is {kind}.", hint="Give a regular file.")
    if limit is not None and found.st_size > limit:
        raise error(
            f"{path} is {found.st_size:,} bytes long; at most {limit:,} are read.",
            hint="Is it the right file?",
        )
    return found.st_size


def _reason(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or str(problem)

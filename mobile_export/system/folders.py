"""Folders that somebody else made: that what they name lies inside, before it is read."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import ArtifactError
from .files import regular_file
from .locks import lock

__all__ = ["MOST_ENTRIES", "file_inside", "is_local", "locked", "path_inside", "require_closed"]

MOST_ENTRIES = 10_000
"""Files and folders that a folder of a model may hold; Core ML's packages hold about five."""


def path_inside(folder: Path, name: str) -> Path:
    """The path that ``folder`` calls ``name``, every part of which lies inside.

    Args:
        name: relative, with forward slashes, as a file in the folder has it.

    Raises:
        ArtifactError: the name leads outside, by itself or through a link.
    """
    parts = name.split("/")
    plain = not {"", ".", ".."} & set(parts) and not set("\\\0") & set(name)
    found = folder.joinpath(*parts) if plain else folder
    if not plain or not _is_inside(found, folder):
        raise ArtifactError(
            f"{folder} names the file {name!r}, which is not inside it.",
            hint="Do not use it: a model reads no files outside its own folder.",
        )
    return found


def file_inside(folder: Path, name: str, *, limit: int | None = None) -> Path:
    """`path_inside`, of a regular file of at most ``limit`` bytes.

    Raises:
        ArtifactError: the name leads outside, or there is no such regular file.
    """
    found = path_inside(folder, name)
    regular_file(found, limit=limit)
    return found


def require_closed(folder: Path) -> None:
    """Raise ArtifactError unless all that is in ``folder`` is files and folders of its own.

    A link to somewhere outside, a named pipe, a device or a socket is refused, and so are more
    than `MOST_ENTRIES` entries.
    """
    count = 0
    for parent, folders, files in os.walk(folder, onerror=_raise):
        for name in (*folders, *files):
            path = Path(parent) / name
            count += 1
            if count > MOST_ENTRIES:
                raise ArtifactError(
                    f"{folder} holds more than {MOST_ENTRIES:,} files.", hint="Is it a model?"
                )
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) and not _is_inside(path, folder):
                raise ArtifactError(
                    f"{path} is a link that leads out of {folder}.",
                    hint="Do not use it: a model reads no files outside its own folder.",
                )
            if not stat.S_ISLNK(mode) and not stat.S_ISDIR(mode):
                regular_file(path)


_LOCAL = frozenset(
    ("apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs")
)
"""File systems of one kernel: whoever else sees their files asks it for locks."""


def is_local(folder: Path) -> bool:
    """Whether a folder certainly lies on a file system that no other machine writes to (Linux)."""
    try:
        place = folder.resolve(strict=True)
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except (OSError, RuntimeError):
        return False
    found = (0, "")
    for line in lines:
        mount, _, source = line.partition(" - ")
        point = Path(mount.split(" ")[4].replace("\\040", " "))
        if place.is_relative_to(point):  # of two on one place, the later hides the other
            depth = len(point.parts)
            found = (depth, source.split(" ")[0]) if depth >= found[0] else found
    return found[1] in _LOCAL


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder against other runs that begin, where the system has such locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        yield
        return
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def _raise(error: OSError) -> None:
    raise ArtifactError(f"{error.filename} cannot be read: {error.strerror}.") from error

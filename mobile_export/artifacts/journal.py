"""Moves of several files that happen all or not at all, even when the process is killed.

A run keeps drafts in ``new/`` of its hidden folder. Before the first file is moved, a journal is
written there: which files will be moved, and what stood in their places. What stood there goes to
``old/``. A move that fails is undone; a run that was killed in between is finished by the next one
in the same folder, which finds the journal.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..errors import ArtifactError, MobileExportError
from ..system.files import MIB, read_regular_file
from .names import require_file_name

__all__ = ["NEW", "OLD", "finish_moves", "has_journal", "move_all", "sync_folder"]

NEW = "new"
OLD = "old"
_JOURNAL = "journal.json"
_LIMIT = MIB


def move_all(folder: Path, out_dir: Path, names: Sequence[str], *, replace: bool) -> None:
    """Move the drafts ``names`` of the hidden ``folder`` to ``out_dir``.

    Args:
        replace: what is there; otherwise nothing that comes into being meanwhile is replaced.

    Raises:
        OSError: one could not be moved; all is as it was.
    """
    missing = [name for name in names if not os.path.lexists(folder / NEW / name)]
    if missing:
        raise FileNotFoundError(2, f"{missing[0]} was not written")
    (folder / OLD).mkdir(exist_ok=True)
    before = {name: _identity(out_dir / name) if replace else None for name in names}
    _write_durably(folder / _JOURNAL, json.dumps(before))
    try:
        for name in names:
            _move(folder, out_dir, name, before[name])
        (folder / _JOURNAL).unlink()
    except BaseException:  # Ctrl-C too; re-raised
        _undo(folder, out_dir, names)
        raise


def has_journal(folder: Path) -> bool:
    """Whether moves were begun in a hidden folder and neither finished nor undone."""
    return os.path.lexists(folder / _JOURNAL)


def finish_moves(folder: Path, out_dir: Path) -> None:
    """Finish what a killed run began.

    A folder of this name may have come out of somebody's archive: links are not followed.

    Raises:
        ArtifactError: a file that it would replace was changed since, or cannot be moved.
    """
    if not has_journal(folder):
        return
    try:
        before = json.loads(read_regular_file(folder / _JOURNAL, limit=_LIMIT))
        names = [require_file_name(name) for name in before]
        _require_own(folder, names)
        for name in names:
            _step_back(folder, out_dir, name)
        waiting = [name for name in names if os.path.lexists(folder / NEW / name)]
        for name in waiting:
            found = _identity(out_dir / name)
            if found is not None and found != before[name]:
                raise ArtifactError(f"{out_dir / name} was changed since")
        for name in waiting:
            _move(folder, out_dir, name, _identity(out_dir / name))
        (folder / _JOURNAL).unlink()
    except (AttributeError, MobileExportError, OSError, RecursionError, TypeError,
            ValueError) as error:  # fmt: skip
        raise ArtifactError(
            f"A run that was killed left {folder}, which cannot be finished: {error}.",
            hint="Its files are in new/, what they replaced in old/. Delete the folder when you "
            "have what you need.",
        ) from error


def _require_own(folder: Path, names: Sequence[str]) -> None:
    """Raise ArtifactError unless drafts and old files lie in the hidden folder itself, and all
    drafts are files and folders."""
    for part in (NEW, OLD):
        if os.path.lexists(folder / part) and not stat.S_ISDIR((folder / part).lstat().st_mode):
            raise ArtifactError(f"{folder / part} is a link or no folder")
    for draft in (folder / NEW / name for name in names):
        if os.path.lexists(draft):
            mode = draft.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise ArtifactError(f"{draft} is a link or no file")


def _move(folder: Path, out_dir: Path, name: str, before: list[int] | None) -> None:
    """Move one draft into place; ``before`` is what may be moved away for it.

    Raises:
        OSError: something else is there.
    """
    target, old = out_dir / name, folder / OLD / name
    if before is not None:
        target.replace(old)
        if _identity(old) != before:
            raise FileExistsError(errno.EEXIST, f"{target} was changed meanwhile")
    _rename_to_new(folder / NEW / name, target)


def _rename_to_new(draft: Path, target: Path) -> None:
    """Rename without replacing anything, where the file system can: a link is made or refused,
    and only an empty folder of our own is replaced by a folder."""
    if draft.is_dir():
        target.mkdir()
        draft.replace(target)
        return
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links here
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, f"{target} exists already") from None
        draft.replace(target)
        return
    draft.unlink()


def _step_back(folder: Path, out_dir: Path, name: str) -> None:
    """Undo half a move: the draft has its new name beside the old one, or an empty folder waits."""
    draft, target = folder / NEW / name, out_dir / name
    try:
        here, there = draft.lstat(), target.lstat()
    except OSError:
        return
    if stat.S_ISREG(here.st_mode) and os.path.samestat(here, there):
        target.unlink()
    elif stat.S_ISDIR(here.st_mode) and stat.S_ISDIR(there.st_mode):
        with contextlib.suppress(OSError):  # it holds something
            target.rmdir()


def _undo(folder: Path, out_dir: Path, names: Sequence[str]) -> None:
    """Move everything back; where that fails, the journal stays for the next run."""
    with contextlib.suppress(OSError):
        for name in reversed(names):
            _step_back(folder, out_dir, name)
            if not os.path.lexists(folder / NEW / name):
                (out_dir / name).replace(folder / NEW / name)
            if os.path.lexists(folder / OLD / name):
                _rename_to_new(folder / OLD / name, out_dir / name)
        (folder / _JOURNAL).unlink(missing_ok=True)


def _identity(path: Path) -> list[int] | None:
    """What tells a file or folder from another one of its name; None where there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return [found.st_ino, found.st_mtime_ns, found.st_size]


def _write_durably(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""Artifacts on disk: written under a temporary name, checked there, then renamed into place.

A run works in a hidden folder beside the destination, so a rename is atomic and a crash, Ctrl-C or
``kill -9`` leaves no half-written artifact; the next run removes what a killed one left. Beside
each artifact stands ``<artifact>.manifest.json``: where it came from, what was done, what was
proven. A format of two files has a companion, which is moved first: whoever sees the new artifact
finds its weights.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import ArtifactError
from .content import files_of
from .names import manifest_path

__all__ = ["Workspace"]

_PREFIX = ".mobile-export-"
_STALE_AFTER_SECONDS = 24 * 3600.0


class Workspace:
    """A temporary folder beside the destination of one run.

    Args:
        out_dir: destination; made when it does not exist, removed again when nothing came.
        names: file names that the run means to write, companions included.
        force: whether existing ones may be replaced.

    Raises:
        ArtifactError: on entering, when an output exists or the folder cannot be written to.
    """

    def __init__(self, out_dir: Path, names: Iterable[str], *, force: bool) -> None:
        self.out_dir = out_dir
        self.names = tuple(names)
        self.force = force
        self._made: list[Path] = []
        self._folder: Path | None = None

    def __enter__(self) -> Workspace:
        existing = [name for name in self.names if (self.out_dir / name).exists()]
        if existing and not self.force:
            raise ArtifactError(
                f"{self.out_dir / existing[0]} exists already.",
                hint="Overwrite it with --force, or write elsewhere with -o DIR.",
            )
        try:
            self._make_out_dir()
            self._remove_stale()
            self._folder = Path(
                tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=self.out_dir)
            )
        except OSError as error:
            self._remove_made()
            raise ArtifactError(
                f"Cannot write to the folder {self.out_dir}: {error.strerror or error}.",
                hint="Choose another folder with -o DIR.",
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._remove_made()

    def path(self, name: str) -> Path:
        """Where to write the artifact ``name`` before it is checked."""
        assert self._folder is not None, "use the workspace in a with statement"
        return self._folder / name

    def clear(self, names: Iterable[str]) -> None:
        """Remove drafts of these names."""
        for name in names:
            draft = self.path(name)
            if draft.is_dir():
                shutil.rmtree(draft)
            else:
                draft.unlink(missing_ok=True)

    def commit(self, name: str, manifest: dict[str, Any], companions: Sequence[str] = ()) -> Path:
        """Move a checked artifact, its companions and its manifest into place; returns its path.

        Raises:
            ArtifactError: the disk is full, or the destination cannot be replaced.
        """
        target = self.out_dir / name
        facts = manifest_path(target).name
        try:
            self.path(facts).write_text(json.dumps(manifest, indent=2) + "\n")
            for draft in (*companions, name):
                for file in files_of(self.path(draft)):
                    with file.open("r+b") as stream:  # Windows flushes writable files only
                        os.fsync(stream.fileno())
            for draft in (*companions, name, facts):
                self._replace(self.path(draft), self.out_dir / draft)
        except OSError as error:
            raise ArtifactError(
                f"Cannot write {target}: {error.strerror or error}.",
                hint="Free some space, or choose another folder with -o DIR.",
            ) from error
        return target

    def _replace(self, source: Path, target: Path) -> None:
        """``Path.replace`` that also replaces a folder."""
        if target.is_dir() and not target.is_symlink():
            target.rename(self.path(f"{target.name}.old"))
        source.replace(target)

    def _make_out_dir(self) -> None:
        missing = self.out_dir
        while not missing.exists():
            self._made.append(missing)
            missing = missing.parent
        self.out_dir.mkdir(parents=True, exist_ok=True)

    def _remove_made(self) -> None:
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # fails, rightly, when something was written

    def _remove_stale(self) -> None:
        """Remove the folders of runs that were killed."""
        for folder in self.out_dir.glob(f"{_PREFIX}*"):
            pid = folder.name.removeprefix(_PREFIX).split("-")[0]
            old = time.time() - folder.stat().st_mtime > _STALE_AFTER_SECONDS
            if old or (pid.isdigit() and not _is_running(int(pid))):
                shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

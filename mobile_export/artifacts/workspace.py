"""Artifacts on disk: written under a temporary name, checked there, then renamed into place.

A run works in a hidden folder beside the destination, so a rename is atomic and a crash, Ctrl-C or
``kill -9`` leaves no half-written artifact. Beside each artifact stands
``<artifact>.manifest.json``: where it came from, what was done, what was proven. An artifact, its
companions and its manifest are moved together (`artifacts.journal`): the next run in the folder
finishes what a killed one began, and removes what it left. What may belong to another machine or
container is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..errors import ArtifactError, MobileExportError
from ..system.files import MIB, read_regular_file
from ..system.folders import locked
from .content import files_of
from .journal import NEW, finish_moves, has_journal, move_all, sync_folder
from .names import manifest_path, require_file_name
from .owner import PREFIX, hold, is_released, owner_of, this_process
from .replaceable import require_free

__all__ = ["Workspace"]

_CLAIMS = "names.json"


class Workspace:
    """A temporary folder beside the destination of one run.

    Args:
        out_dir: destination; made when it does not exist, removed again when nothing came.
        names: file names that the run means to write, companions included. Their manifests are
            taken care of too.
        force: whether existing files of these names may be replaced.

    Raises:
        UsageError: a name is not the name of one file.
        ArtifactError: on entering, when an output exists, another run is writing it, or the folder
            cannot be written to.
    """

    def __init__(self, out_dir: Path, names: Iterable[str], *, force: bool) -> None:
        self.out_dir = out_dir
        own = [require_file_name(name) for name in names]
        self.names = (*own, *(manifest_path(Path(name)).name for name in own))
        self.force = force
        self._made: list[Path] = []
        self._folder: Path | None = None
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Workspace:
        try:
            self._make_out_dir()
            with locked(self.out_dir):
                self._remove_stale()
                for name in self.names:
                    require_free(self.out_dir / name, force=self.force)
                self._claim()
        except OSError as error:
            self._close()
            raise ArtifactError(
                f"Cannot write to the folder {self.out_dir}: {error.strerror or error}.",
                hint="Choose another folder with `out_dir`.",
            ) from error
        except BaseException:  # re-raised
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._folder is not None and not has_journal(self._folder):
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
        self._remove_made()

    def path(self, name: str) -> Path:
        """Where to write the artifact ``name`` before it is checked."""
        assert self._folder is not None, "use the workspace in a with statement"
        return self._folder / NEW / name

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
            ArtifactError: the disk is full, the destination cannot be replaced, or it came into
                being since the run began. All is then as it was.
        """
        target = self.out_dir / name
        facts = manifest_path(target).name
        names = (*companions, name, facts)
        assert self._folder is not None and set(names) <= set(self.names), names  # noqa: PT018
        try:
            self.path(facts).write_text(json.dumps(manifest, indent=2) + "\n")
            for draft in names:
                for file in files_of(self.path(draft)):
                    with file.open("r+b") as stream:  # Windows flushes writable files only
                        os.fsync(stream.fileno())
            for draft in names:
                require_free(self.out_dir / draft, force=self.force)
            move_all(self._folder, self.out_dir, names, replace=self.force)
        except OSError as error:
            raise ArtifactError(
                f"Cannot write {target}: {error.strerror or error}.",
                hint="Free some space, or choose another folder with `out_dir`.",
            ) from error
        sync_folder(self.out_dir)
        return target

    def _claim(self) -> None:
        """Make the hidden folder, and say in it which names this run writes."""
        prefix = this_process().prefix
        self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.out_dir))
        (self._folder / NEW).mkdir()
        (self._folder / _CLAIMS).write_text(json.dumps(self.names))
        self._lock = hold(self._folder)
        mine = {name.casefold() for name in self.names}
        for folder in self._others():
            shared = [name for name in _claims(folder) if name.casefold() in mine]
            if shared:
                raise ArtifactError(
                    f"Another run is writing {self.out_dir / shared[0]}.",
                    hint="Wait for it, or write elsewhere with `out_dir`. If no run is at "
                    "work on any machine, take what you need from new/ and old/ in "
                    f"{folder}, and delete it.",
                )

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

    def _others(self) -> Iterator[Path]:
        """The hidden folders of other runs."""
        for folder in sorted(self.out_dir.glob(f"{PREFIX}*")):
            if folder != self._folder and folder.is_dir() and not folder.is_symlink():
                yield folder

    def _remove_stale(self) -> None:
        """Finish and remove what runs on this machine left that were killed."""
        for folder in self._others():
            owner = owner_of(folder)
            if owner is not None and (owner.is_gone or is_released(folder)):
                finish_moves(folder, self.out_dir)
                shutil.rmtree(folder, ignore_errors=True)


def _claims(folder: Path) -> list[str]:
    """The names that the run of a hidden folder writes."""
    try:
        names = json.loads(read_regular_file(folder / _CLAIMS, limit=MIB))
    except (MobileExportError, OSError, RecursionError, ValueError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

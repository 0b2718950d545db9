"""Files that travel to workers: by the hash of their content, through a folder or an fsspec URL.

Each is written once, under its SHA-256, and its hash is checked when it arrives. A folder travels
as an archive of its files.
"""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
import uuid
from pathlib import Path
from typing import Any

from ..artifacts.content import files_of, sha256_of
from ..errors import SweepError
from ..system.folders import require_closed
from .job import FileRef

__all__ = ["Share"]


class Share:
    """A place that the client and every worker can reach.

    Args:
        url: a folder, or what fsspec knows: ``s3://bucket/folder``, ``gs://…``, ``file://…``.

    Raises:
        SweepError: fsspec does not know it, or lacks a library for it.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url if "://" in url else Path(url).absolute().as_uri()
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError, OSError) as problem:
            raise SweepError(
                f"The files of a sweep cannot travel through {url}: {problem}.",
                hint="Give a folder that all workers see, or a URL that fsspec knows and whose "
                "library is installed (s3fs for s3://).",
            ) from None

    def _place(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"

    def put(self, ref: FileRef) -> bool:
        """Write a file or folder where it is not there already; whether it was written.

        Raises:
            SweepError: it cannot be written, or it is not what it was any more.
        """
        source, place = Path(ref.path), self._place(ref.sha256)
        with self._told(f"writing {ref.name}"):
            if self._fs.exists(place):
                return False
            if sha256_of(source) != ref.sha256:
                raise SweepError(
                    f"{source} has changed since the sweep began.", hint="Run the sweep again."
                )
            draft = f"{place}.{uuid.uuid4().hex[:8]}"
            self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
            try:
                with contextlib.ExitStack() as stack:
                    if source.is_dir():
                        source = _packed(source, stack)
                    self._fs.put_file(str(source), draft)
                self._fs.mv(draft, place)
            except BaseException:
                with contextlib.suppress(OSError):
                    self._fs.rm(draft)
                raise
        return True

    def get(self, ref: FileRef, folder: Path) -> Path:
        """Fetch what `put` wrote into a folder, under its name; its path.

        Raises:
            SweepError: it is not there, or does not have its hash.
        """
        own = folder / ref.sha256[:16]
        own.mkdir(parents=True, exist_ok=True)
        if "/" in ref.name or "\\" in ref.name or ref.name in ("", ".", ".."):
            raise SweepError(f"{ref.name!r} is no name of a file.")
        made, arrived = own / ref.name, own / ".arrived"
        with self._told(f"fetching {ref.name}"):
            self._fs.get_file(self._place(ref.sha256), str(arrived))
            if sha256_of(arrived) == ref.sha256:
                arrived.replace(made)
            else:
                _unpack(arrived, made)
                arrived.unlink()
                if sha256_of(made) != ref.sha256:
                    raise SweepError(
                        f"{ref.name} arrived damaged from {self.url}: it does not have the SHA-256 "
                        f"{ref.sha256}.",
                        hint="Delete that file there, and run the sweep again.",
                    )
        return made

    @contextlib.contextmanager
    def _told(self, doing: str) -> Any:
        """Errors of the place as ours."""
        try:
            yield
        except SweepError:
            raise
        except Exception as problem:  # every file system of fsspec raises its library's own
            said = getattr(problem, "strerror", None) or f"{type(problem).__name__}: {problem}"
            raise SweepError(
                f"{doing} through {self.url} failed: {said}.",
                hint="Check that every worker can reach it.",
            ) from problem


def _packed(folder: Path, stack: contextlib.ExitStack) -> Path:
    """An archive of the files of a folder."""
    require_closed(folder)
    made = Path(stack.enter_context(tempfile.TemporaryDirectory()), "folder.tar")
    with tarfile.open(made, mode="w") as archive:
        for file in files_of(folder):
            archive.add(file, file.relative_to(folder).as_posix(), recursive=False)
    return made


def _unpack(arrived: Path, target: Path) -> None:
    """Unpack an archive; anything but plain files below ``target`` is refused.

    Raises:
        SweepError: it is none; its hash is compared later.
    """
    target.mkdir(exist_ok=True)
    try:
        with tarfile.open(arrived, mode="r:") as archive:
            archive.extractall(target, filter="data")
    except (tarfile.TarError, EOFError, ValueError):
        pass  # a damaged file: what was unpacked of it does not have the hash

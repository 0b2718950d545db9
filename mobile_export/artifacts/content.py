"""Size and hash of an artifact, which is a file or a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["files_of", "sha256_of", "size_of"]


def files_of(path: Path) -> list[Path]:
    """The file ``path`` itself, or every file below the folder ``path``, sorted."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of the relative names and contents of a folder's files."""
    digest = hashlib.sha256()
    for file in files_of(path):
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in files_of(path))

"""Which existing files a run may replace: never a link, never a folder that is not an artifact."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from ..errors import ArtifactError, MobileExportError
from ..system.files import MIB, read_regular_file
from ..system.folders import path_inside, require_closed
from .content import sha256_of
from .names import manifest_path

__all__ = ["require_free", "require_replaceable"]

_MANIFEST_LIMIT = 64 * MIB


def require_free(path: Path, *, force: bool) -> None:
    """Raise ArtifactError unless ``path`` can be written: nothing is there, or it is replaceable.

    Args:
        force: replace what is there.
    """
    if not os.path.lexists(path):
        return
    if not force:
        raise ArtifactError(
            f"{path} exists already.",
            hint="Overwrite it with `force=True`, or write elsewhere with `out_dir`.",
        )
    require_replaceable(path)


def require_replaceable(path: Path) -> None:
    """Raise ArtifactError unless ``path`` is a regular file, or a folder that is an artifact.

    A folder is one when the manifest beside it names its hash, or when it is a Core ML package
    that holds what its own Manifest.json lists and nothing else.
    """
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode):
        return
    kind = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "no file"
    if stat.S_ISDIR(mode) and (_is_vouched_for(path) or _is_package(path)):
        return
    said = f"{kind} that mobile-export did not write" if kind == "a folder" else kind
    raise ArtifactError(
        f"{path} is {said}; it is not replaced.",
        hint="Move it away yourself, or write elsewhere with `out_dir`.",
    )


def _is_vouched_for(folder: Path) -> bool:
    try:
        facts = _json(manifest_path(folder))
        named = isinstance(facts, dict) and facts.get("file") == folder.name
        require_closed(folder)
        return named and facts.get("sha256") == sha256_of(folder)
    except (MobileExportError, OSError, RecursionError, ValueError):
        return False


def _is_package(folder: Path) -> bool:
    try:
        require_closed(folder)
        facts = _json(folder / "Manifest.json")
        if not isinstance(facts, dict) or "rootModelIdentifier" not in facts:
            return False
        items = [
            path_inside(folder, f"Data/{item['path']}")
            for item in facts["itemInfoEntries"].values()
        ]
    except (AttributeError, KeyError, MobileExportError, OSError, RecursionError, TypeError,
            ValueError):  # fmt: skip
        return False
    listed = {folder / "Manifest.json"}
    return all(
        path in listed or any(path.is_relative_to(item) for item in items)
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def _json(path: Path) -> Any:
    return json.loads(read_regular_file(path, limit=_MANIFEST_LIMIT))

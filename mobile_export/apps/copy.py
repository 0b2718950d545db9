"""A copy of a sample app with exported files in it: what is the same for every system."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts.manifest import read_manifest, require_own_files
from ..artifacts.names import manifest_path
from ..errors import ArtifactError, UsageError
from ..exporters.table import FORMATS, format_of_file
from .template import MARKS, template

if TYPE_CHECKING:
    from ..artifacts.manifest import Manifest

__all__ = [
    "App",
    "Sample",
    "check_file",
    "check_names",
    "formats",
    "replace_in",
    "require_shown",
    "write_app",
]

_LONGEST = 50


@dataclass(frozen=True)
class App:
    """What was written.

    Attributes:
        models: names of the files in the app.
        notes: of them, for people.
        apk: signed with a debug key; None where none was built.
    """

    folder: Path
    name: str
    identifier: str
    models: tuple[str, ...]
    notes: tuple[str, ...] = ()
    apk: Path | None = None


@dataclass(frozen=True)
class Sample:
    """A sample app of this project.

    Attributes:
        source: its folder in the project, a key of `template.MARKS`.
        system: that it is for, for people.
        identifier: what an identifier of an app is, and in words.
        refused: letters that no name of an app may have, and why.
        ours: in the file that marks such an app.
        models: folder of the models.
        left_out: patterns of what is not copied.
        fill: writes name and identifier into the copy.
    """

    source: str
    system: str
    identifier: tuple[re.Pattern[str], str]
    ours: str
    models: str
    left_out: tuple[str, ...]
    fill: Callable[[Path, str, str], None]
    refused: tuple[str, str] = ("", "")


def formats(sample: Sample) -> tuple[str, ...]:
    """Whose files the app can run, the first for models that are not exported yet."""
    return tuple(row.name for row in FORMATS if sample.source in row.apps)


def check_names(sample: Sample, name: str, identifier: str, folder: Path, *, force: bool) -> None:
    """Check what was asked, before anything is exported.

    Raises:
        UsageError: a name is not valid, or the folder is there.
    """
    if not name.strip() or len(name) > _LONGEST or not name.isprintable():
        raise UsageError(f"{name!r} is no name for an app: 1 to {_LONGEST} printable letters.")
    letters, why = sample.refused
    if set(letters) & set(name):
        raise UsageError(f"{name!r} is no name for an app for {sample.system}: {why}.")
    pattern, words = sample.identifier
    if not pattern.match(identifier) or len(identifier) > 100:
        raise UsageError(
            f"{identifier!r} is no identifier of an app.",
            hint=f"{words}, such as org.example.demo.",
        )
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} is no folder.")
    if folder.is_dir() and any(folder.iterdir()):
        if not force:
            raise UsageError(
                f"{folder} is there and not empty.", hint="`force=True` replaces an app."
            )
        mark = folder / MARKS[sample.source]
        if not mark.is_file() or sample.ours not in mark.read_text(errors="replace"):
            raise UsageError(f"{folder} holds no app that mobile-export wrote; it is kept.")


def write_app(
    sample: Sample,
    files: Sequence[Path],
    folder: Path,
    *,
    name: str,
    identifier: str,
    force: bool = False,
) -> App:
    """Copy the sample app with these files in it.

    Args:
        files: exported, each with its manifest beside it.
        folder: made; what is in it is replaced with ``force`` if it is such an app.
        name: shown below the icon.
        identifier: of the app on the device (``org.example.demo``).

    Raises:
        UsageError: a name is not valid, the folder is there, or a file cannot run in the app.
        ArtifactError: a file is not the one that its manifest is of.
    """
    check_names(sample, name, identifier, folder, force=force)
    given = [(file, check_file(sample, file)) for file in files]
    names = [file.name for file, _ in given]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"Two files are called {min(twice)}.", hint="Give each a name of its own.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "app"
        ignored = shutil.ignore_patterns(*sample.left_out)
        shutil.copytree(template(sample.source), made, ignore=ignored)
        models = made / sample.models
        models.mkdir(parents=True, exist_ok=True)
        for file, manifest in given:
            _copy(file, manifest, models)
        sample.fill(made, name, identifier)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    return App(folder, name, identifier, tuple(names), _notes(given))


def check_file(sample: Sample, file: Path) -> Manifest:
    """The manifest of a file that the app can run.

    Raises:
        UsageError: it cannot.
        ArtifactError: there is no manifest, or it is of another file.
    """
    row = format_of_file(file)
    if sample.source not in row.apps:
        raise UsageError(
            f"{file} is of the format {row.name}, which the app for {sample.system} cannot run.",
            hint=f"Valid are {' and '.join(formats(sample))}.",
        )
    manifest = read_manifest(file)
    require_shown(file, manifest)
    require_own_files(file, manifest)
    return manifest


def require_shown(file: Path, manifest: Manifest) -> None:
    """Refuse a file that no app or program of ours can feed with a picture.

    Raises:
        ArtifactError: its manifest does not say what it takes.
        UsageError: it takes something else.
    """
    if manifest.interface is None:
        raise ArtifactError(
            f"The manifest of {file} does not say what the file takes and gives.",
            hint="Export the model again.",
        )
    if not manifest.takes_one_picture:
        raise UsageError(
            f"{file} takes {manifest.taken}; one picture is what is shown.",
            hint="Feed it from code of your own: the interface in its manifest says what it takes.",
        )
    if manifest.input.shape[0] > 1:
        raise UsageError(
            f"{file} takes {manifest.input.shape[0]} pictures at a time; the apps show one.",
            hint="Export the model again without `batch`.",
        )


def _copy(file: Path, manifest: Manifest, models: Path) -> None:
    parts = [file.parent / part.file for part in manifest.companions]
    for path in (file, manifest_path(file), *parts):
        if path.is_dir():
            shutil.copytree(path, models / path.name)
        else:
            shutil.copy(path, models / path.name)


def replace_in(path: Path, pattern: str, value: str, count: int = 1) -> None:
    """Put ``value`` behind what the first group of ``pattern`` finds, ``count`` times.

    Raises:
        ArtifactError: it is not found as often.
    """
    text, found = re.subn(
        pattern, lambda match: match[1] + value, path.read_text(encoding="utf-8"), count=count
    )
    if found != count:
        raise ArtifactError(f"{path.name} of the sample app is not as this version wrote it.")
    path.write_text(text, encoding="utf-8")


def _notes(given: Sequence[tuple[Path, Manifest]]) -> tuple[str, ...]:
    return tuple(
        f"{file.name}: {manifest.weights.description}"
        for file, manifest in given
        if manifest.weights is not None and manifest.weights.kind == "random"
    )

"""A copy of the sample app for Android with exported files in it, ready for Android Studio."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from ..artifacts.manifest import other_files, read_manifest
from ..artifacts.names import manifest_path
from ..errors import ArtifactError, ExportError, UsageError
from ..exporters.table import FORMATS, format_of_file
from .template import ANDROID, programs, template

if TYPE_CHECKING:
    from ..artifacts.manifest import Manifest

__all__ = ["App", "build_android_app", "check_names", "formats", "write_android_app"]

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z")
_LONGEST = 50
_LEFT_OUT = ("test", "build", ".gradle", "__pycache__", ".gitkeep", "*.pyc")
_OURS = "mobile-export-sample"
_SECONDS = 1800


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


def formats() -> tuple[str, ...]:
    """Whose files the app can run, the first for models that are not exported yet."""
    return tuple(row.name for row in FORMATS if ANDROID in row.apps)


def check_names(name: str, identifier: str, folder: Path, *, force: bool) -> None:
    """Check what was asked, before anything is exported.

    Raises:
        UsageError: a name is not valid, or the folder is there.
    """
    if not name.strip() or len(name) > _LONGEST or not name.isprintable():
        raise UsageError(f"{name!r} is no name for an app: 1 to {_LONGEST} printable letters.")
    if not _IDENTIFIER.match(identifier) or len(identifier) > 100:
        raise UsageError(
            f"{identifier!r} is no identifier of an app.",
            hint="Two or more words of small letters, digits and _ with dots between, "
            "such as org.example.demo.",
        )
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} is no folder.")
    if folder.is_dir() and any(folder.iterdir()):
        if not force:
            raise UsageError(f"{folder} is there and not empty.", hint="--force replaces an app.")
        settings = folder / "settings.gradle.kts"
        if not settings.is_file() or _OURS not in settings.read_text(errors="replace"):
            raise UsageError(f"{folder} holds no app that mobile-export wrote; it is kept.")


def write_android_app(
    files: Sequence[Path], folder: Path, *, name: str, identifier: str, force: bool = False
) -> App:
    """Copy the sample app with these files in its assets.

    Args:
        files: exported, each with its manifest beside it.
        folder: made; what is in it is replaced with ``force`` if it is such an app.
        name: shown below the icon.
        identifier: of the app on the device (``org.example.demo``).

    Raises:
        UsageError: a name is not valid, the folder is there, or a file cannot run in the app.
        ArtifactError: a file is not the one that its manifest is of.
    """
    check_names(name, identifier, folder, force=force)
    given = [(file, _checked(file)) for file in files]
    twice = {file.name for file, _ in given if [f.name for f, _ in given].count(file.name) > 1}
    if twice:
        raise UsageError(f"Two files are called {min(twice)}.", hint="Give each a name of its own.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "app"
        shutil.copytree(template(ANDROID), made, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        _fill(made, given, name, identifier)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    return App(folder, name, identifier, tuple(file.name for file, _ in given), _notes(given))


def _checked(file: Path) -> Manifest:
    row = format_of_file(file)
    if ANDROID not in row.apps:
        raise UsageError(
            f"{file} is of the format {row.name}, which the app for Android cannot run.",
            hint=f"Valid are {' and '.join(formats())}.",
        )
    manifest = read_manifest(file)
    if manifest.interface is None:
        raise ArtifactError(
            f"The manifest of {file} does not say what the file takes and gives.",
            hint="Export the model again.",
        )
    if not manifest.takes_one_picture:
        raise UsageError(
            f"{file} takes {manifest.taken}; one picture is what is shown.",
            hint="Feed it from code of your own: `interface` in its manifest says what it takes.",
        )
    for other in other_files(file, manifest):
        raise ArtifactError(
            f"{other} is not the file that its manifest is of: its SHA-256 differs.",
            hint="Copy both from where they were made, or export the model again.",
        )
    return manifest


def _fill(made: Path, given: Sequence[tuple[Path, Manifest]], name: str, identifier: str) -> None:
    main = made / "app" / "src" / "main"
    models = main / "assets" / "models"
    models.mkdir(parents=True, exist_ok=True)
    for file, manifest in given:
        parts = [file.parent / part.file for part in manifest.companions]
        for path in (file, manifest_path(file), *parts):
            shutil.copy(path, models / path.name)
    _replace(main / "res" / "values" / "app.xml", r'(name="app_name">)[^<]*', _text(name))
    _replace(made / "app" / "build.gradle.kts", r'(applicationId = ")[^"]*', identifier)


def _text(name: str) -> str:
    """A name as text of an Android resource: quotes are kept by a backslash."""
    return escape(re.sub(r"(['\"\\@?])", r"\\\1", name))


def _replace(path: Path, pattern: str, value: str) -> None:
    text, count = re.subn(
        pattern, lambda found: found[1] + value, path.read_text(encoding="utf-8"), count=1
    )
    if count != 1:
        raise ArtifactError(f"{path.name} of the sample app is not as this version wrote it.")
    path.write_text(text, encoding="utf-8")


def _notes(given: Sequence[tuple[Path, Manifest]]) -> tuple[str, ...]:
    return tuple(
        f"{file.name}: {manifest.weights.description}"
        for file, manifest in given
        if manifest.weights is not None and manifest.weights.kind == "random"
    )


def build_android_app(folder: Path) -> Path:
    """Make and sign a debug APK with the app's own ci/build.py, without Gradle.

    Raises:
        UsageError: a program is not installed.
        ExportError: the build failed.
    """
    lacking = [each for each in programs() if each.found is None]
    if lacking:
        packages = " ".join(sorted({each.package for each in lacking}))
        raise UsageError(
            f"Building an app needs {', '.join(each.name for each in lacking)}.",
            hint=f"Install it (Debian: apt-get install {packages}), or open {folder} in Android "
            "Studio.",
        )
    apk = folder / "app-debug.apk"
    command = [sys.executable, str(folder / "ci" / "build.py"), "apk", "-o", str(apk)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"The build took longer than {_SECONDS} seconds.") from error
    if done.returncode:
        raise ExportError(
            f"The app was written to {folder}, but not built: {done.stderr.strip()[-3000:]}",
            hint="Open the folder in Android Studio, or mend what the tool names and build again: "
            f"python {folder}/ci/build.py apk",
        )
    return apk

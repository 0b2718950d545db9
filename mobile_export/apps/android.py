"""A copy of the sample app for Android with exported files in it, ready for Android Studio."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from ..errors import ExportError, UsageError
from .copy import Sample, replace_in
from .template import ANDROID, programs

__all__ = ["SAMPLE", "build_android_app"]

_SECONDS = 1800


def _fill(made: Path, name: str, identifier: str) -> None:
    values = made / "app" / "src" / "main" / "res" / "values"
    replace_in(values / "app.xml", r'(name="app_name">)[^<]*', _text(name))
    replace_in(made / "app" / "build.gradle.kts", r'(applicationId = ")[^"]*', identifier)


def _text(name: str) -> str:
    """A name as text of an Android resource: quotes are kept by a backslash."""
    return escape(re.sub(r"(['\"\\@?])", r"\\\1", name))


SAMPLE = Sample(
    source=ANDROID,
    system="Android",
    identifier=(
        re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z"),
        "Two or more words of small letters, digits and _ with dots between",
    ),
    ours="mobile-export-sample",
    models="app/src/main/assets/models",
    left_out=("test", "build", ".gradle", "__pycache__", ".gitkeep", "*.pyc"),
    fill=_fill,
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

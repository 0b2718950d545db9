"""Where the sample apps' sources are: inside the installed package, or beside it in a checkout."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ArtifactError

__all__ = ["ANDROID", "IOS", "MARKS", "Program", "programs", "template"]

ANDROID = "android_app"
IOS = "ios_app"
MARKS = {ANDROID: "settings.gradle.kts", IOS: "MobileExport.xcodeproj/project.pbxproj"}
"""A file that each sample app has."""


@dataclass(frozen=True)
class Program:
    """A program that builds an app.

    Attributes:
        package: of Debian, that has it.
        found: its path, None where it is not installed.
    """

    name: str
    package: str
    found: str | None


def template(name: str) -> Path:
    """The folder of a sample app.

    Raises:
        ArtifactError: it is not installed.
    """
    package = Path(__file__).parent
    for folder in (package / name, package.parent.parent / name):
        if (folder / MARKS[name]).is_file():
            return folder
    raise ArtifactError(
        f"The sources of the sample app ({name}) are not in this installation.",
        hint="Install mobile-export again, or use a checkout of its repository.",
    )


def programs() -> tuple[Program, ...]:
    """What builds an Android app without Gradle; none where the sources are not installed."""
    try:
        path = template(ANDROID) / "ci" / "tools.toml"
    except ArtifactError:
        return ()
    rows: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["programs"]
    return tuple(Program(name, package, shutil.which(name)) for name, package in rows.items())

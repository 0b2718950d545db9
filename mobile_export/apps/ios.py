"""A copy of the sample app for iOS with exported files in it, ready for Xcode 16."""

from __future__ import annotations

import re
from pathlib import Path

from .copy import Sample, replace_in
from .template import IOS, MARKS

__all__ = ["SAMPLE"]


def _fill(made: Path, name: str, identifier: str) -> None:
    project = made / MARKS[IOS]
    shown, given = r'(INFOPLIST_KEY_CFBundleDisplayName = ")[^"]*', "PRODUCT_BUNDLE_IDENTIFIER"
    replace_in(project, shown, _text(name), count=2)
    replace_in(project, rf'({given} = ")[^"]*', identifier, count=2)
    # The kit's tests stay here: they read files of this project.
    replace_in(made / "MobileExportKit" / "Package.swift", r"()\n +\.testTarget\([^\n]*", "")


def _text(name: str) -> str:
    """A name as a build setting in a project."""
    return name.replace("\\", "\\\\").replace('"', '\\"')


SAMPLE = Sample(
    source=IOS,
    system="iOS",
    identifier=(
        re.compile(r"[A-Za-z][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+\Z"),
        "Two or more words of letters, digits and - with dots between",
    ),
    ours="MobileExportKit",
    models="Models",
    left_out=("Tests", ".build", ".swiftpm", "xcuserdata", ".DS_Store"),
    fill=_fill,
    refused=("$", "in Xcode a $ begins the name of a setting"),
)

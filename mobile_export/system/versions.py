"""Installed versions of libraries, against the ranges that were tested."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from .install import install_command

__all__ = [
    "CORE",
    "OPTIONAL",
    "Check",
    "Extra",
    "Library",
    "check_library",
    "installed_versions",
    "this_machine",
]


@dataclass(frozen=True)
class Library:
    """A library of somebody else's.

    Attributes:
        module: the name that it is imported by.
        distribution: the name that it is installed by.
        versions: a PEP 440 specifier, those that were tested.
    """

    module: str
    distribution: str
    versions: str


CORE = (Library("torch", "torch", ">=2.13,<2.15"), Library("numpy", "numpy", ">=2.0,<2.4"))


@dataclass(frozen=True)
class Extra:
    """Libraries that no export needs.

    Attributes:
        name: of the extra of mobile-export that installs them.
        purpose: what they are for.
    """

    name: str
    purpose: str
    libraries: tuple[Library, ...]


OPTIONAL = (
    Extra("timm", "models called timm/NAME", (Library("timm", "timm", ">=1.0.20,<2"),)),
    Extra(
        "torchvision",
        "models called torchvision/NAME",
        (Library("torchvision", "torchvision", ">=0.28,<0.30"),),
    ),
    Extra(
        "hf",
        "models called hf/ORG/NAME, and folders of transformers",
        (Library("transformers", "transformers", ">=5.0,<6"),),
    ),
    Extra("pictures", "pictures as samples of parity", (Library("PIL", "pillow", ">=11,<14"),)),
    Extra(
        "evaluate",
        "accuracy on COCO's annotations",
        (Library("pycocotools", "pycocotools", ">=2.0.8,<3"), Library("PIL", "pillow", ">=11,<14")),
    ),
    Extra(
        "plot",
        "plots of mobile-bench table and mobile-bench pareto",
        (Library("matplotlib", "matplotlib", ">=3.9,<4"),),
    ),
    Extra(
        "openvino",
        "a second judge of ONNX files",
        (Library("openvino", "openvino", ">=2026.0,<2027"),),
    ),
    Extra(
        "sweep",
        "sweeps on a cluster",
        (
            Library("distributed", "distributed", ">=2026.3,<2027"),
            Library("fsspec", "fsspec", ">=2025.3"),
        ),
    ),
    Extra(
        "gpu-check",
        "what a GPU delegate takes, in inspect of a TFLite file",
        (Library("tensorflow", "tensorflow", ">=2.20,<3"),),
    ),
    Extra(
        "runner",
        "mobile-bench build-runner for other systems than this one",
        (
            Library("cmake", "cmake", ">=3.25,<5"),
            Library("ninja", "ninja", ">=1.11"),
            Library("ziglang", "ziglang", ">=0.13"),
        ),
    ),
)
"""Each is an extra in pyproject.toml with the same ranges."""


@dataclass(frozen=True)
class Check:
    """One library: what is installed, what was tested, and what to run when they differ."""

    distribution: str
    installed: str | None
    tested: str
    ok: bool
    fix: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


def version_of(distribution: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def check_library(library: Library, extra: str | None = None) -> Check:
    """Compare what is installed with what was tested.

    Args:
        extra: of mobile-export that installs it; None names the library itself.
    """
    installed, tested = version_of(library.distribution), SpecifierSet(library.versions)
    # Of "2.14.1+cpu" and "9.0b1" the release decides: builds and previews of it are that release.
    ok = installed is not None and tested.contains(_release(installed))
    fix = None
    if not ok and installed is None and extra:
        fix = install_command(extra)
    elif not ok:
        fix = f"pip install '{library.distribution}{library.versions}'"
    return Check(library.distribution, installed, library.versions, ok, fix)


def _release(version: str) -> str:
    try:
        return Version(version).base_version
    except InvalidVersion:  # of a distribution that somebody built by hand
        return "0"


def installed_versions(libraries: Iterable[Library]) -> dict[str, str]:
    """Versions of everything that has a hand in a file made with ``libraries``."""
    from .. import __version__

    names = [library.distribution for library in (*CORE, *libraries)]
    found = {name: version for name in names if (version := version_of(name)) is not None}
    return {"mobile-export": __version__, "python": platform.python_version(), **found}


def this_machine() -> dict[str, Any]:
    """Python and system, JSON-ready."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "on_macos": sys.platform == "darwin",
    }

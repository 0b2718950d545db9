"""The command that adds an extra of mobile-export to the installation that is running.

``pip install 'mobile-export[extra]'`` would ask PyPI for a project of that name, which is not ours.
What works depends on where this installation comes from, and that stands in the ``direct_url.json``
of its metadata (PEP 610): a folder, an archive or a repository. Without one, the command names the
libraries of the extra themselves.
"""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement

from ..errors import MissingExtraError

__all__ = ["install_command", "missing_extra"]

_NAME = "mobile-export"
_CHECKOUT = Path(__file__).parents[2]


def install_command(extra: str) -> str:
    """What to type in a POSIX shell so that the libraries of ``extra`` are installed here."""
    try:
        distribution = metadata.distribution(_NAME)
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return _pip(f"{_CHECKOUT}[{extra}]", editable=True)
    origin = _origin(distribution)
    url = origin.get("url", "")
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        return _pip(f"{_NAME}[{extra}] @ {vcs['vcs']}+{url}@{vcs['commit_id']}")
    path = _local_path(url)
    if path is not None and path.exists():
        editable = bool(origin.get("dir_info", {}).get("editable"))
        return _pip(f"{path}[{extra}]", editable=editable)
    if url and path is None:
        return _pip(f"{_NAME}[{extra}] @ {url}")
    return _pip(*_libraries(distribution, extra))


def missing_extra(what: str, module: str, extra: str) -> MissingExtraError:
    """The error that ``what`` needs ``module``, with the command that installs ``extra``."""
    return MissingExtraError(what, module, extra, install_command(extra))


def _pip(*packages: str, editable: bool = False) -> str:
    return shlex.join(["pip", "install", *(["-e"] if editable else []), *packages])


def _origin(distribution: metadata.Distribution) -> dict[str, Any]:
    """The distribution's ``direct_url.json``; empty for one that came from an index."""
    text = distribution.read_text("direct_url.json")
    return json.loads(text) if text else {}


def _local_path(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _libraries(distribution: metadata.Distribution, extra: str) -> list[str]:
    """The requirements of an extra as ``name>=version``, those of extras that it names included."""
    found = []
    for text in distribution.requires or ():
        required = Requirement(text)
        marker = required.marker
        if marker is None or "extra" not in str(marker) or not marker.evaluate({"extra": extra}):
            continue
        if required.name == _NAME:
            found += [
                line for each in sorted(required.extras) for line in _libraries(distribution, each)
            ]
        else:
            found.append(f"{required.name}{required.specifier}")
    return found

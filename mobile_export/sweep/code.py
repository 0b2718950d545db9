"""Which code of this project runs here: two checkouts may have the same version number."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["code_digest"]

_PACKAGE = Path(__file__).parents[1]


@cache
def _digest() -> str:
    found = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        found.update(file.relative_to(_PACKAGE).as_posix().encode() + b"\0")
        found.update(file.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def code_digest() -> dict[str, str]:
    """``{"mobile-export": "1.2.0+0123456789ab"}``: the version, and a hash of the Python files."""
    from .. import __version__

    return {"mobile-export": f"{__version__}+{_digest()}"}

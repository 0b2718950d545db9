"""What this machine can export and run: installed versions against the tested ranges."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from ..exporters.row import Target
from ..exporters.table import TARGETS

__all__ = ["Check", "diagnose", "installed_versions"]

_CORE = {"torch": ("torch", "2.13", "2.15"), "numpy": ("numpy", "2.0", "2.4")}


@dataclass(frozen=True)
class Check:
    """One distribution: what is installed, what was tested, and what to run when they differ."""

    distribution: str
    installed: str | None
    tested: str
    ok: bool
    fix: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """``2.14.1+cu130`` -> (2, 14, 1)."""
    numbers: list[int] = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _check(distribution: str, lowest: str, below: str, extra: str | None) -> Check:
    installed = _version(distribution)
    ok = installed is not None and _release(lowest) <= _release(installed) < _release(below)
    tested = f">={lowest},<{below}"
    package = (
        f"mobile-export[{extra}]" if installed is None and extra else f"{distribution}{tested}"
    )
    return Check(distribution, installed, tested, ok, None if ok else f"pip install '{package}'")


def installed_versions(target: Target) -> dict[str, str]:
    """Versions of everything that has a hand in a target's artifacts, for the manifest."""
    from .. import __version__

    names = [name for name, _, _ in (*_CORE.values(), *target.modules.values())]
    found = {name: version for name in names if (version := _version(name)) is not None}
    return {"mobile-export": __version__, "python": platform.python_version(), **found}


def diagnose() -> dict[str, Any]:
    """Per target: can it export here, what executes it here, which versions, what to install.

    Returns:
        JSON-ready: {"python", "system", "core": [check], "targets": [{"name", "export", "run",
        "checks"}]}.
    """
    targets = []
    for target in TARGETS:
        checks = [_check(*row, target.extra) for row in target.modules.values()]
        missing = target.missing()
        targets.append(
            {
                "name": target.name,
                "title": target.title,
                "export": not missing,
                "run": not missing,
                "runs_in": target.checked_by,
                "checks": [check.to_dict() for check in checks],
                "fix": f"pip install 'mobile-export[{target.extra}]'" if missing else None,
            }
        )
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "on_macos": sys.platform == "darwin",
        "core": [_check(*row, None).to_dict() for row in _CORE.values()],
        "targets": targets,
    }

"""Swift on Linux: the one that is installed, or Debian's in a folder of the user's cache.

`python -m tests.apps.swift` makes that folder (root, debootstrap, about 2 minutes, 3.3 GB). It is
entered with chroot in a mount namespace of its own, so nothing stays mounted in it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SUITE = "trixie"
_PACKAGES = ("swiftlang", "libc6-dev", "libstdc++-14-dev", "git")
_SECONDS = 1200
_SOURCES = ("ios_app", "tests/apps", "tests/vectors")
_MADE = {"__pycache__", ".build"}


def cache() -> Path:
    """The user's cache of this project."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "mobile-export"


def _folder() -> Path:
    return cache() / f"swift-{_SUITE}"


@dataclass(frozen=True)
class Swift:
    """Runs commands with Swift in the checkout; ``root`` is None where it is installed here."""

    root: Path | None

    @property
    def home(self) -> str:
        """The checkout, as the commands see it."""
        return "/src" if self.root else str(ROOT)

    @property
    def scratch(self) -> str:
        """A folder for what is built and for files of tests, as the commands see it."""
        return "/scratch" if self.root else str(self.outside)

    @property
    def outside(self) -> Path:
        """The same folder, as Python sees it."""
        return cache() / "swift-build"

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """A command in the checkout; its output is text, its errors among it."""
        self.outside.mkdir(parents=True, exist_ok=True)
        line = shlex.join(command)
        for name, value in {"HOME": self.scratch, **(env or {})}.items():
            line = f"export {name}={shlex.quote(value)}; {line}"
        line = f"cd {shlex.quote(self.home)}; {line}"
        run = ["sh", "-ec", line]
        if self.root is not None:
            sources = self.outside / "src"
            for name in _SOURCES:
                copy_changed(ROOT / name, sources / name)
            places = {"proc": None, "dev": "/dev", "src": sources, "scratch": self.outside}
            run = _inside(self.root, places, line)
        return subprocess.run(
            run,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )


def copy_changed(source: Path, target: Path) -> None:
    """Make ``target`` hold the files of ``source``; those that have not changed keep their time.

    A checkout of CI is new in every run, and Swift builds what is newer than before.
    """
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    wanted = {path for path in wanted if not _MADE & set(path.parts)}
    for path in wanted:
        new, old = source / path, target / path
        if not old.is_file() or old.read_bytes() != new.read_bytes():
            old.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(new, old)
    for old in list(target.rglob("*")):
        if old.is_file() and old.relative_to(target) not in wanted:
            old.unlink()


def _inside(root: Path, places: Mapping[str, Path | str | None], line: str) -> list[str]:
    """A command line inside ``root``, with these folders mounted there while it runs."""
    steps = []
    for name, source in places.items():
        place = root / name
        place.mkdir(exist_ok=True)
        mount = ["mount", "-t", "proc", "proc"]
        if source is not None:
            mount = ["mount", "--bind", str(source)]
        steps.append(shlex.join([*mount, str(place)]))
    steps.append(shlex.join(["exec", "chroot", str(root), "/bin/sh", "-ec", line]))
    return [*_APART, "sh", "-ec", "; ".join(steps)]


_APART = ("unshare", "--mount", "--propagation", "private", "--")


def find() -> Swift | str:
    """Swift, or the reason why there is none."""
    if shutil.which("swift"):
        return Swift(None)
    if os.path.lexists(_folder() / "usr" / "bin" / "swift"):  # a link that is right inside
        return Swift(_folder()) if os.geteuid() == 0 else "chroot to Debian's Swift needs root"
    return "no Swift here; as root: apt-get install debootstrap; python -m tests.apps.swift"


@contextmanager
def alone() -> Iterator[None]:
    """One at a time: what is built lies in one folder."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "swift.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install() -> str | None:
    """Make the folder; the reason where that is not possible."""
    lacking = [name for name in ("debootstrap", "unshare", "chroot") if not shutil.which(name)]
    if os.geteuid() != 0 or lacking:
        return f"needs root and {', '.join(lacking) or 'nothing else'}"
    with alone():
        if not isinstance(find(), str):
            return None
        made = _folder().with_name(f"{_folder().name}.{os.getpid()}")
        try:
            return _make(made)
        finally:
            if made.exists() and str(made) not in Path("/proc/self/mountinfo").read_text():
                shutil.rmtree(made)


def _make(made: Path) -> str | None:
    base = ["debootstrap", "--variant=minbase", "--include=ca-certificates", _SUITE, str(made)]
    first = subprocess.run([*_APART, *base], capture_output=True, text=True, timeout=_SECONDS)
    if first.returncode:
        return f"debootstrap: {first.stdout[-300:]}{first.stderr[-300:]}"
    resolver = Path("/etc/resolv.conf")
    if resolver.exists():
        shutil.copy(resolver, made / "etc" / "resolv.conf")
    apt = "apt-get -qq -o APT::Install-Recommends=false"
    line = f"export DEBIAN_FRONTEND=noninteractive; {apt} update; {apt} -y install "
    command = _inside(made, {"proc": None, "dev": "/dev"}, line + " ".join(_PACKAGES))
    second = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    if second.returncode:
        return f"apt-get: {second.stderr[-300:]}"
    made.rename(_folder())
    return None


if __name__ == "__main__":
    reason = install()
    sys.exit(reason and f"Swift was not installed: {reason}")

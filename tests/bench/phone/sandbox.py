"""The file system of an aarch64 device: Debian's arm64 toybox, mksh and C library under qemu-user.

The packages are fetched by apt-get with folders of its own, so neither root nor a foreign
architecture is needed, and kept unpacked in the user's cache. toybox and mksh are also what
Android's shell is made of.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from mobile_export.bench.native.build import cache_folder

__all__ = ["SandboxMissing", "make_root", "wrapper"]

PATH = "/system/bin:/usr/bin:/bin"
_PACKAGES = ("toybox", "mksh", "libc6")
_SOURCE = "http://deb.debian.org/debian bookworm main"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_NEEDED = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "unshare": "util-linux",
    "qemu-aarch64-static": "qemu-user-static",
}
_ENTER = Path(__file__).with_name("enter.sh")


class SandboxMissing(Exception):
    """This machine cannot run aarch64 programs; the message says why."""


def wrapper(root: Path) -> tuple[str, ...]:
    """Words before ``sh -c COMMAND`` that run it in ``root``."""
    return (str(_ENTER), str(root))


def make_root(root: Path) -> None:
    """Fill ``root``, whose ``/fake/cpuinfo`` the caller writes, and prove that it works.

    Raises:
        SandboxMissing: packages cannot be had here, or the kernel does not let a user register
            qemu.
    """
    for tool, package in _NEEDED.items():
        if shutil.which(tool) is None:
            raise SandboxMissing(f"{tool} is not installed (apt-get install {package})")
    shutil.copytree(_packages(), root, symlinks=True, dirs_exist_ok=True)
    done = subprocess.run(
        [*wrapper(root), "sh", "-c", "uname -m"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": PATH},
    )
    if done.stdout.strip() != "aarch64":
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SandboxMissing(f"this kernel does not run aarch64 programs for a user: {reason}")


@cache
def _packages() -> Path:
    """The unpacked packages, fetched once per machine."""
    place = cache_folder().parent / "test-sandbox" / "bookworm-arm64-1"
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as name:
        work, tree = Path(name), Path(name) / "root"
        for archive in _download(work):
            subprocess.run(["dpkg-deb", "-x", archive, tree], check=True, capture_output=True)
        _arrange(tree)
        with contextlib.suppress(OSError):  # another process was faster
            tree.rename(place)
    return place


def _download(work: Path) -> list[Path]:
    """The packages and what they depend on."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {_SOURCE}\n")
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Dir::Cache": work / "cache",
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State": work / "state",
        "Dir::State::Status": work / "status",
    }
    apt = ["apt-get", "-qq", *(word for k, v in options.items() for word in ("-o", f"{k}={v}"))]
    for words in (["update"], ["install", "--yes", "--download-only", *_PACKAGES]):
        done = subprocess.run([*apt, *words], capture_output=True, text=True, timeout=300)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise SandboxMissing(f"Debian's arm64 packages cannot be fetched: {reason}")
    return sorted((work / "cache" / "archives").glob("*.deb"))


def _arrange(tree: Path) -> None:
    """Android's places: ``/system/bin`` with mksh as sh, and a link to toybox per command."""
    system = tree / "system" / "bin"
    system.mkdir(parents=True)
    for folder in ("proc", "dev", "data/local/tmp"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    (system / "sh").symlink_to("/bin/mksh")
    (tree / "bin" / "sh").symlink_to("mksh")
    toybox = tree / "bin" / "toybox"
    listed = subprocess.run(
        ["qemu-aarch64-static", "-L", tree, toybox], capture_output=True, text=True, check=True
    )
    for command in listed.stdout.split():
        if command not in ("sh", "toybox"):
            (system / command).symlink_to("/bin/toybox")

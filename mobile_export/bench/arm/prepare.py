"""Everything that counting needs, in one folder, by one command that the user gives.

    root/           Debian's Python and C libraries for arm64, unpacked, never installed
    site/           the runtimes' aarch64 wheels, pinned by hash (``requirements.txt``)
    insncount.so    our plugin, compiled here
    prepared.json   versions of all of it

About 60 MB are downloaded, from a Debian mirror by apt (signatures checked, as an ordinary user,
without touching the system's own package lists) and from PyPI by pip.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from ...errors import ArtifactError, DeviceError, MobileExportError
from ...system.files import MIB, read_regular_file

__all__ = ["MIRROR", "Prepared", "compile_plugin", "default_folder", "find", "prepare"]

MIRROR = "http://deb.debian.org/debian"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SUITE = "bookworm"
_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libgomp1", "libstdc++6")
_PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
_TOOLS = {
    "qemu-aarch64": "qemu-user",
    "gcc": "gcc",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
"""Command to the Debian package that has it."""

_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 38.40
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
"""Of one Cortex-A76, as Linux prints it; without it onnxruntime and LiteRT crash in the guest."""


@dataclass(frozen=True)
class Prepared:
    """A prepared folder.

    Attributes:
        qemu: the emulator; plugin, root, site: see the module.
        versions: of qemu, of every package and wheel, and the plugin's hash.
    """

    qemu: Path
    plugin: Path
    root: Path
    site: Path
    versions: Mapping[str, str]

    @property
    def python(self) -> Path:
        """The guest's interpreter."""
        return self.root / "usr/bin/python3.11"


class _Facts(msgspec.Struct):
    """What ``prepared.json`` says."""

    versions: dict[str, str]


def default_folder() -> Path:
    """Where `prepare` puts everything unless it is told otherwise."""
    return Path.home() / ".cache" / "mobile-export" / "qemu"


def find(folder: Path | None = None) -> Prepared:
    """The folder that `prepare` made.

    Raises:
        DeviceError: it does not exist, or another version of this tool made it.
    """
    folder = folder or default_folder()
    try:
        content = read_regular_file(folder / "prepared.json", limit=MIB)
        versions = msgspec.json.decode(content, type=_Facts).versions
    except (MobileExportError, msgspec.MsgspecError, RecursionError, UnicodeError):
        raise DeviceError(
            f"qemu is not prepared: there is no {folder / 'prepared.json'}.",
            hint="Run: mobile-bench prepare-qemu (downloads about 60 MB)",
        ) from None
    if not _own_hashes().items() <= versions.items():
        raise DeviceError(
            f"{folder} was prepared by another version of mobile-export.",
            hint="Run: mobile-bench prepare-qemu --force",
        )
    _require_tools(("qemu-aarch64",))
    return _prepared(folder, versions)


def _prepared(folder: Path, versions: Mapping[str, str]) -> Prepared:
    qemu = shutil.which("qemu-aarch64")
    assert qemu is not None, "_require_tools comes first"
    return Prepared(Path(qemu), folder / "insncount.so", folder / "root", folder / "site", versions)


def prepare(
    folder: Path | None = None,
    *,
    force: bool = False,
    mirror: str = MIRROR,
    stage: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Fill ``folder``, all or nothing.

    Args:
        force: replace what is there; without it a prepared folder is left as it is.
        mirror: of Debian.
        stage: told what is going on.

    Raises:
        ArtifactError: the folder exists and is not ours, or cannot be written to.
        DeviceError: a tool is missing, or a download or the compiler failed.
    """
    folder = folder or default_folder()
    if os.path.lexists(folder) and not (force and _is_ours(folder)):
        if not force and (folder / "prepared.json").exists():
            return find(folder)
        raise ArtifactError(
            f"{folder} exists and was not made by prepare-qemu.", hint="Give another --folder."
        )
    _require_tools(tuple(_TOOLS))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".qemu-", dir=folder.parent) as scratch:
            made = Path(scratch) / "made"
            versions = _fill(made, Path(scratch), mirror, stage)
            if folder.exists():
                folder.rename(Path(scratch) / "old")
            made.rename(folder)
    except OSError as error:
        raise ArtifactError(
            f"Cannot write to {folder}: {error.strerror or error}.", hint="Give another --folder."
        ) from error
    return _prepared(folder, versions)


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds what `prepare` puts into one, and nothing else."""
    try:
        content = read_regular_file(folder / "prepared.json", limit=MIB)
        msgspec.json.decode(content, type=_Facts)
        inside = {each.name for each in folder.iterdir()}
    except (MobileExportError, OSError, msgspec.MsgspecError, RecursionError, UnicodeError):
        return False
    return not folder.is_symlink() and inside <= {"root", "site", "insncount.so", "prepared.json"}


def _fill(made: Path, scratch: Path, mirror: str, stage: Callable[[str], None]) -> dict[str, str]:
    made.mkdir()
    stage("compiling the plugin")
    compile_plugin(made / "insncount.so")
    stage("downloading Debian's arm64 packages")
    packages = _unpack_root(made / "root", scratch / "apt", mirror)
    stage("downloading the runtimes' aarch64 wheels")
    wheels = _unpack_wheels(made / "site", scratch / "wheels")
    versions = {"qemu": _qemu_version(), **_own_hashes(), **packages, **wheels}
    facts: dict[str, Any] = {"schema": 1, "versions": versions}
    (made / "prepared.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return versions


def _source() -> str:
    source = resources.files("mobile_export.bench").joinpath("native", "insncount.c")
    return source.read_text(encoding="utf-8")


def _requirements() -> str:
    return resources.files(__package__).joinpath("requirements.txt").read_text(encoding="utf-8")


def _own_hashes() -> dict[str, str]:
    """The first 16 digits of the SHA-256 of what of ours is in a prepared folder."""
    ours = {"plugin": _source(), "requirements": _requirements()}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in ours.items()}


def compile_plugin(library: Path) -> None:
    """Compile the plugin for this machine's qemu.

    Raises:
        DeviceError: there is no compiler, or it failed.
    """
    _require_tools(("gcc",))
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "insncount.c"
        source.write_text(_source(), encoding="utf-8")
        _run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)])


def _unpack_root(root: Path, apt: Path, mirror: str) -> dict[str, str]:
    """Download the packages with what they depend on, and unpack them; returns their versions."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    if not _KEYRING.exists():
        raise DeviceError(
            f"There is no {_KEYRING}, without which Debian's signatures cannot be checked.",
            hint="Run: apt-get install debian-archive-keyring",
        )
    source = f"deb [signed-by={_KEYRING}] {mirror} {_SUITE} main\n"
    (apt / "sources.list").write_text(source, encoding="utf-8")
    options = [
        f"Dir::State={apt / 'state'}",
        f"Dir::State::status={apt / 'status'}",
        f"Dir::Cache={apt / 'cache'}",
        f"Dir::Etc::sourcelist={apt / 'sources.list'}",
        "Dir::Etc::sourceparts=/dev/null",
        "Dir::Etc::preferencesparts=/dev/null",
        "APT::Architecture=arm64",
        "APT::Architectures=arm64",
        "APT::Install-Recommends=0",
        "APT::Sandbox::User=",
        "Debug::NoLocking=1",
    ]
    get = ["apt-get", "-q", "-y", *(word for option in options for word in ("-o", option))]
    _run([*get, "update"])  # a mirror that does not answer fails the next step
    _run([*get, "--download-only", "install", *_PACKAGES])
    archives = sorted((apt / "cache" / "archives").glob("*.deb"))
    root.mkdir()
    for archive in archives:
        _run(["dpkg-deb", "-x", str(archive), str(root)])
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(_CPUINFO, encoding="utf-8")
    return dict(archive.name.split("_")[:2] for archive in archives)


def _unpack_wheels(site: Path, wheels: Path) -> dict[str, str]:
    """Download the pinned wheels and unpack them; returns their versions."""
    wheels.mkdir()
    pinned = wheels / "requirements.txt"
    pinned.write_text(_requirements(), encoding="utf-8")
    _run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        + ["--require-hashes", "--python-version", "3.11", "--implementation", "cp"]
        + [word for platform in _PLATFORMS for word in ("--platform", platform)]
        + ["-d", str(wheels), "-r", str(pinned)]
    )
    files = sorted(wheels.glob("*.whl"))
    for file in files:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(site)
    return {f"{name}.whl": version for name, version in (f.name.split("-")[:2] for f in files)}


def _qemu_version() -> str:
    printed = _run(["qemu-aarch64", "--version"])
    match = re.search(r"version (\d+)\.(\d+)\S*", printed)
    if match is None or not (6, 0) <= (int(match[1]), int(match[2])) < (9, 0):
        raise DeviceError(
            f"The plugin is written for qemu 6.0 to 8.2; this is {printed.splitlines()[0]!r}.",
            hint="Use Debian 12's or Ubuntu 24.04's qemu-user.",
        )
    return match[0].removeprefix("version ")


def _require_tools(commands: Sequence[str]) -> None:
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        packages = " ".join(_TOOLS[command] for command in missing)
        raise DeviceError(
            f"Counting needs {', '.join(missing)}, which is not installed.",
            hint=f"Run: apt-get install {packages} (Debian or Ubuntu on x86-64 or arm64)",
        )


def _run(command: list[str]) -> str:
    """Run a command and return its output; its last lines are the message of an error."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    if done.returncode != 0:
        last = " | ".join(done.stdout.strip().splitlines()[-3:])
        raise DeviceError(f"{' '.join(command[:3])} failed: {last}")
    return done.stdout

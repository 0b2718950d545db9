"""Build ``ncnn_runner`` from its one source file and PyPI's ncnn source distribution.

Only ``mobile-bench build-runner`` builds; whoever needs a runner asks `find_runner`, which names
that command when there is none. Two steps, each kept under the user's cache folder in a folder
named by the hash of all that went into it, so the second costs seconds when only our source
changed::

    ncnn-<hash>/     libncnn.a and headers      (ncnn's version, compiler, flags)
    runner-<hash>/   ncnn_runner, build.json    (the above and our source)
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...artifacts.content import sha256_of
from ...errors import RunnerError, UsageError
from ...system.install import install_command

__all__ = [
    "ARCHITECTURES",
    "NCNN_VERSION",
    "Build",
    "build_runner",
    "cache_folder",
    "find_runner",
]

NCNN_VERSION = "1.0.20261020"
_NCNN_SHA256 = "ad8cdd63e9755cfa8e23b9b6d9ce46156077d80298a89e7c3ba325ffccfca200"
_NCNN_URL = (
    "https://files.pythonhosted.org/packages/b7/50/"
    "32b5172afe7d3e0dce410b7d8f4a5b7b84b942a0d69affbaedf669de52bc/ncnn-1.0.20261020.tar.gz"
)
"""Given to pip as a URL: the sdist's setup.py takes today for its version, which pip refuses when a
version is asked for."""

ARCHITECTURES = ("aarch64", "x86_64")
SOURCE = Path(__file__).with_name("ncnn_runner.cpp")

_NCNN_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    f"-DNCNN_VERSION={NCNN_VERSION.rpartition('.')[2]}",  # otherwise the day of the build
    "-DNCNN_BUILD_TOOLS=OFF",
    "-DNCNN_BUILD_EXAMPLES=OFF",
    "-DNCNN_BUILD_BENCHMARK=OFF",
    "-DNCNN_VULKAN=OFF",
)
_RUNNER_FLAGS = ("-std=c++17", "-O2", "-static", "-s", "-pthread")


@dataclass(frozen=True)
class Toolchain:
    """A C++ compiler for one architecture.

    Attributes:
        tools: CMake's variable to the command it stands for.
        ncnn_flags, runner_flags: that this compiler needs beside ours.
        version: its own first line of ``--version``.
    """

    tools: Mapping[str, tuple[str, ...]]
    ncnn_flags: tuple[str, ...]
    runner_flags: tuple[str, ...]
    version: str

    @property
    def cxx(self) -> tuple[str, ...]:
        """The command that compiles and links C++."""
        return self.tools["CMAKE_CXX_COMPILER"]


@dataclass(frozen=True)
class Build:
    """A runner in the cache.

    Attributes:
        path: the static executable.
        facts: ``arch``, ``compiler``, ``compiler_version``, ``ncnn_version``, ``flags``,
            ``source_sha256`` and ``sha256`` of the executable.
    """

    path: Path
    facts: Mapping[str, Any]


def cache_folder() -> Path:
    """Where builds are kept: the platform's cache folder of this user."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mobile-export" / "runners"


def find_runner(arch: str, cache: Path | None = None) -> Build:
    """The newest build of the present source for ``arch``, its hash verified.

    Raises:
        RunnerError: there is none; the hint is the command that makes one.
    """
    wanted = {"arch": arch, "ncnn_version": NCNN_VERSION, "source_sha256": sha256_of(SOURCE)}
    found = [
        build for build in _cached(cache or cache_folder()) if wanted.items() <= build.facts.items()
    ]
    for build in sorted(found, key=lambda b: b.path.stat().st_mtime, reverse=True):
        if sha256_of(build.path) == build.facts["sha256"]:
            return build
    raise RunnerError(
        f"There is no ncnn runner for {arch} on this machine; it is never built unasked.",
        hint=f"Build it once, in about 5 minutes: mobile-bench build-runner --arch {arch}",
    )


def _cached(cache: Path) -> Iterator[Build]:
    for place in cache.glob("runner-*/build.json"):
        runner = place.with_name("ncnn_runner")
        try:
            facts = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(facts, dict) and "sha256" in facts and runner.exists():
            yield Build(runner, facts)


def build_runner(
    arch: str = "aarch64",
    compiler: str = "debian",
    *,
    sdist: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> Build:
    """Build the runner, or give the one that was built of the same things before.

    Args:
        sdist: ncnn's source distribution; None lets pip download it. Its SHA-256 is checked.
        cache: instead of `cache_folder`.
        progress: called with each stage.

    Raises:
        UsageError: no such architecture or compiler.
        RunnerError: a tool is missing, the download failed or is not the pinned file, or the
            compiler failed; the message has its last lines.
    """
    toolchain = _toolchain(arch, compiler)
    flags, extra = (*_NCNN_FLAGS, *toolchain.ncnn_flags), toolchain.runner_flags
    cache = cache or cache_folder()
    library = cache / f"ncnn-{_key(NCNN_VERSION, arch, toolchain.version, *flags)}"
    folder = cache / f"runner-{_key(library.name, *_RUNNER_FLAGS, *extra, sha256_of(SOURCE))}"
    if not (folder / "build.json").exists():
        cache.mkdir(parents=True, exist_ok=True)
        if not library.exists():
            with _staged(library) as stage:
                source = _unpack(sdist or _download(stage, progress), stage / "source")
                _build_ncnn(toolchain, arch, source, stage, progress)
        progress("compiling the runner")
        with _staged(folder) as stage:
            _compile_runner(toolchain, library, stage / "result")
            _write_facts(stage / "result", arch, compiler, toolchain)
    return Build(folder / "ncnn_runner", json.loads((folder / "build.json").read_text()))


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@contextmanager
def _staged(destination: Path) -> Iterator[Path]:
    """A temporary folder; its ``result`` becomes ``destination`` when the block succeeds."""
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".building-") as name:
        stage = Path(name)
        (stage / "result").mkdir()
        yield stage
        if destination.exists():  # a build of another process, or one that is damaged
            shutil.rmtree(destination)
        (stage / "result").rename(destination)


# ---- compilers --------------------------------------------------------------------------------


def _toolchain(arch: str, compiler: str) -> Toolchain:
    if arch not in ARCHITECTURES:
        raise UsageError(f"No architecture {arch!r}.", hint=f"Valid: {', '.join(ARCHITECTURES)}.")
    makers = {"debian": _debian, "zig": _zig}
    if compiler not in makers:
        raise UsageError(f"No compiler {compiler!r}.", hint=f"Valid: {', '.join(makers)}.")
    return makers[compiler](arch)


def _debian(arch: str) -> Toolchain:
    prefix = f"{arch}-linux-gnu-"
    cxx = _require_tool(
        f"{prefix}g++",
        f"Run: apt-get install g++-{arch.replace('_', '-')}-linux-gnu, or use --compiler zig",
    )
    tools = {
        "CMAKE_C_COMPILER": (cxx.removesuffix("g++") + "gcc",),
        "CMAKE_CXX_COMPILER": (cxx,),
    }
    return Toolchain(tools, (), ("-fopenmp",), _version((cxx, "--version")))


def _zig(arch: str) -> Toolchain:
    if importlib.util.find_spec("ziglang") is None:
        raise RunnerError(
            "The compiler zig is not installed here.",
            hint=f"Run: {install_command('runner')} (or: pip install ziglang)",
        )
    zig = (sys.executable, "-m", "ziglang")
    target = ("-target", f"{arch}-linux-musl")
    tools = {
        "CMAKE_C_COMPILER": (*zig, "cc", *target),
        "CMAKE_CXX_COMPILER": (*zig, "c++", *target),
        "CMAKE_AR": (*zig, "ar"),
        "CMAKE_RANLIB": (*zig, "ranlib"),
    }
    # musl comes without an OpenMP library; ncnn has a small one of its own.
    return Toolchain(tools, ("-DNCNN_SIMPLEOMP=ON",), (), "zig " + _version((*zig, "version")))


def _require_tool(name: str, hint: str) -> str:
    """Path of a program on PATH or beside this interpreter (where pip puts cmake and ninja)."""
    places = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
    path = shutil.which(name, path=os.pathsep.join(places))
    if path is None:
        raise RunnerError(f"Building the runner needs {name}, which is not installed.", hint=hint)
    return path


def _version(command: Sequence[str]) -> str:
    return _run(command, "asking the compiler for its version").splitlines()[0]


def _run(command: Sequence[str], doing: str) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        tail = "\n  ".join(text.strip().splitlines()[-15:])
        raise RunnerError(f"{doing} failed (exit code {done.returncode}):\n  {tail}")
    return text


# ---- ncnn -------------------------------------------------------------------------------------


def _download(stage: Path, progress: Callable[[str], None]) -> Path:
    progress(f"downloading ncnn {NCNN_VERSION} with pip")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    wanted = f"ncnn @ {_NCNN_URL}#sha256={_NCNN_SHA256}"
    _run(
        (*pip, "--no-deps", "--no-binary", "ncnn", "--dest", str(stage), wanted),
        "Downloading ncnn's sources with pip (--sdist FILE takes a file that is already here)",
    )
    return stage / _NCNN_URL.rpartition("/")[2]


def _unpack(sdist: Path, folder: Path) -> Path:
    if not sdist.is_file():
        raise RunnerError(f"{sdist} is not a file.", hint="Leave --sdist out to let pip download.")
    if sha256_of(sdist) != _NCNN_SHA256:
        raise RunnerError(
            f"{sdist} is not ncnn-{NCNN_VERSION}.tar.gz as PyPI has it: its SHA-256 differs.",
            hint="Leave --sdist out to let pip download it.",
        )
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


def _build_ncnn(
    toolchain: Toolchain, arch: str, source: Path, stage: Path, progress: Callable[[str], None]
) -> None:
    """libncnn.a and its headers into ``stage / "result"``."""
    hint = f"Run: {install_command('runner')} (or: pip install cmake ninja)"
    cmake = _require_tool("cmake", hint)
    ninja = _require_tool("ninja", hint)
    build = stage / "build"
    progress(f"compiling ncnn {NCNN_VERSION} for {arch} (about 5 minutes)")
    configure = (
        *(cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"),
        *("-S", str(source), "-B", str(build)),
        *("-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={arch}"),
        *(f"-D{name}={_program(stage, name, argv)}" for name, argv in toolchain.tools.items()),
        *_NCNN_FLAGS,
        *toolchain.ncnn_flags,
        f"-DCMAKE_INSTALL_PREFIX={stage / 'result'}",
    )
    _run(configure, "Configuring ncnn with CMake")
    _run((cmake, "--build", str(build), "--target", "install"), "Compiling ncnn")


def _program(stage: Path, name: str, argv: tuple[str, ...]) -> Path:
    """CMake wants programs, not command lines: a script for each."""
    script = stage / name.lower()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
    script.chmod(0o755)
    return script


# ---- the runner -------------------------------------------------------------------------------


def _compile_runner(toolchain: Toolchain, library: Path, folder: Path) -> None:
    archives = sorted(library.rglob("libncnn.a"))
    if not archives:
        raise RunnerError(
            f"{library} has no libncnn.a.", hint=f"Remove that folder and build again: {library}"
        )
    command = (
        *(*toolchain.cxx, *_RUNNER_FLAGS, *toolchain.runner_flags),
        *(f"-I{library / 'include' / 'ncnn'}", str(SOURCE), str(archives[0])),
        *("-o", str(folder / "ncnn_runner")),
    )
    _run(command, "Compiling the runner")


def _write_facts(folder: Path, arch: str, compiler: str, toolchain: Toolchain) -> None:
    facts = {
        "arch": arch,
        "compiler": compiler,
        "compiler_version": toolchain.version,
        "ncnn_version": NCNN_VERSION,
        "flags": [*_NCNN_FLAGS, *toolchain.ncnn_flags, *_RUNNER_FLAGS, *toolchain.runner_flags],
        "source_sha256": sha256_of(SOURCE),
        "sha256": sha256_of(folder / "ncnn_runner"),
    }
    (folder / "build.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

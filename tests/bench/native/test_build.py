"""Building the runner: everything but the compilation itself, which takes minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobile_export.bench.native import build
from mobile_export.errors import RunnerError, UsageError


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A g++ that writes its arguments into the program it makes; no ncnn is compiled."""
    tool = tmp_path / "bin" / "aarch64-linux-gnu-g++"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo "g++ 1.0"; exit; fi\n'
        'for last in "$@"; do :; done\n'
        'echo "$@" >"$last"\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")

    def make_library(*arguments: object) -> None:
        stage = arguments[3]
        assert isinstance(stage, Path)
        (stage / "result" / "lib").mkdir()
        (stage / "result" / "lib" / "libncnn.a").touch()

    monkeypatch.setattr(build, "_build_ncnn", make_library)
    monkeypatch.setattr(build, "_unpack", lambda sdist, folder: folder)
    monkeypatch.setattr(build, "_download", lambda stage, progress: stage / "sdist")
    return tool


def test_a_missing_runner_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="never built unasked") as error:
        build.find_runner("aarch64", tmp_path)
    assert "mobile-bench build-runner --arch aarch64" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_built_once_and_found(compiler: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    stages: list[str] = []
    made = build.build_runner(cache=cache, progress=stages.append)
    assert made.facts["compiler_version"] == "g++ 1.0"
    assert made.facts["ncnn_version"] == build.NCNN_VERSION
    assert "-static" in made.path.read_text()
    assert build.find_runner("aarch64", cache) == made
    assert stages
    stages.clear()
    assert build.build_runner(cache=cache, progress=stages.append) == made
    assert stages == []
    assert sorted(path.name.partition("-")[0] for path in cache.iterdir()) == ["ncnn", "runner"]


def test_another_architecture_is_not_found(compiler: Path, tmp_path: Path) -> None:
    build.build_runner(cache=tmp_path / "cache")
    with pytest.raises(RunnerError, match="no ncnn runner for x86_64"):
        build.find_runner("x86_64", tmp_path / "cache")


def test_a_changed_source_needs_a_new_runner_but_not_a_new_library(
    compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    build.build_runner(cache=cache)
    changed = tmp_path / "ncnn_runner.cpp"
    changed.write_text(build.SOURCE.read_text() + "// changed\n")
    monkeypatch.setattr(build, "SOURCE", changed)
    with pytest.raises(RunnerError, match="no ncnn runner"):
        build.find_runner("aarch64", cache)
    build.build_runner(cache=cache)
    assert len(list(cache.glob("ncnn-*"))) == 1
    assert len(list(cache.glob("runner-*"))) == 2


def test_a_changed_program_is_not_used(compiler: Path, tmp_path: Path) -> None:
    made = build.build_runner(cache=tmp_path / "cache")
    made.path.write_text("changed")
    with pytest.raises(RunnerError, match="no ncnn runner"):
        build.find_runner("aarch64", tmp_path / "cache")


def test_a_failing_compiler_leaves_nothing(compiler: Path, tmp_path: Path) -> None:
    compiler.write_text(
        '#!/bin/sh\nif [ "$1" = --version ]; then echo "g++ 1.0"; exit; fi\n'
        "echo net.h: No such file >&2; exit 1\n"
    )
    with pytest.raises(RunnerError, match=r"Compiling the runner failed \(exit code 1\)") as error:
        build.build_runner(cache=tmp_path / "cache")
    assert "net.h: No such file" in str(error.value)
    assert not list((tmp_path / "cache").glob("runner-*"))
    assert not list((tmp_path / "cache").glob(".building-*"))


@pytest.mark.parametrize(
    ("arch", "compiler_name", "message"),
    [("armv7", "debian", "No architecture 'armv7'"), ("aarch64", "gcc", "No compiler 'gcc'")],
)
def test_unknown_choices(arch: str, compiler_name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build.build_runner(arch, compiler_name)


def test_a_missing_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunnerError, match="needs aarch64-linux-gnu-g") as error:
        build.build_runner(cache=tmp_path / "cache")
    assert "apt-get install g++-aarch64-linux-gnu" in str(error.value)


def test_a_source_that_is_not_the_pinned_one(tmp_path: Path) -> None:
    sdist = tmp_path / "ncnn.tar.gz"
    with pytest.raises(RunnerError, match="is not a file"):
        build._unpack(sdist, tmp_path / "out")
    sdist.write_text("something else")
    with pytest.raises(RunnerError, match="SHA-256 differs"):
        build._unpack(sdist, tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""Files appear whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobile_export.artifacts.content import sha256_of, size_of
from mobile_export.artifacts.names import artifact_stem, manifest_path
from mobile_export.artifacts.workspace import Workspace
from mobile_export.errors import ArtifactError


def write(work: Workspace, name: str, text: str = "new") -> Path:
    work.path(name).write_text(text)
    return work.commit(name, {"schema": 1})


@pytest.mark.parametrize(
    ("spec", "stem"),
    [
        ("emo_2m", "emo_2m"),
        ("timm/resnet18", "resnet18"),
        ("timm/vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_224.augreg_in21k"),
        ("mynet:build", "mynet_build"),
        ("pkg.net:build?width=2&deep=True", "pkg.net_build_width_2_deep_True"),
        ("some/folder/net.pt2", "net"),
        ("../../etc/passwd:x", "etc_passwd_x"),
    ],
)
def test_stems(spec: str, stem: str) -> None:
    assert artifact_stem(spec) == stem


def test_commit_writes_the_file_and_its_manifest(tmp_path: Path) -> None:
    with Workspace(tmp_path / "a" / "b", ["x.onnx"], force=False) as work:
        final = write(work, "x.onnx")
    assert final.read_text() == "new"
    assert json.loads(manifest_path(final).read_text()) == {"schema": 1}
    assert sorted(p.name for p in final.parent.iterdir()) == ["x.onnx", "x.onnx.manifest.json"]


def test_nothing_is_left_when_nothing_was_committed(tmp_path: Path) -> None:
    with Workspace(tmp_path / "a" / "b", ["x.onnx"], force=False) as work:
        work.path("x.onnx").write_text("half")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("precious")
    with (
        pytest.raises(ArtifactError, match="exists already"),
        Workspace(tmp_path, ["x.onnx"], force=False),
    ):
        pass
    assert (tmp_path / "x.onnx").read_text() == "precious"
    with Workspace(tmp_path, ["x.onnx"], force=True) as work:
        write(work, "x.onnx")
    assert (tmp_path / "x.onnx").read_text() == "new"


def test_force_replaces_a_folder_whole(tmp_path: Path) -> None:
    old = tmp_path / "x.mlpackage"
    (old / "Data").mkdir(parents=True)
    (old / "Data" / "stale").write_text("old")
    with Workspace(tmp_path, [old.name], force=True) as work:
        work.path(old.name).mkdir()
        (work.path(old.name) / "fresh").write_text("new")
        work.commit(old.name, {})
    assert [p.name for p in old.iterdir()] == ["fresh"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [old.name, old.name + ".manifest.json"]


PAIR = ("x.param", "x.bin")


def write_pair(work: Workspace) -> Path:
    for name in PAIR:
        work.path(name).write_text("new")
    return work.commit("x.param", {}, ["x.bin"])


def test_a_companion_is_moved_with_its_artifact(tmp_path: Path) -> None:
    with Workspace(tmp_path, PAIR, force=False) as work:
        write_pair(work)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "x.bin", "x.param", "x.param.manifest.json",
    ]  # fmt: skip


def test_an_existing_companion_needs_force(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_text("precious")
    with (
        pytest.raises(ArtifactError, match=r"x\.bin exists already"),
        Workspace(tmp_path, PAIR, force=False),
    ):
        pass
    with Workspace(tmp_path, PAIR, force=True) as work:
        write_pair(work)
    assert (tmp_path / "x.bin").read_text() == "new"


def test_nothing_is_moved_when_a_companion_was_not_written(tmp_path: Path) -> None:
    (tmp_path / "x.param").write_text("precious")
    with Workspace(tmp_path, PAIR, force=True) as work:
        work.path("x.param").write_text("new")
        with pytest.raises(ArtifactError, match="Cannot write"):
            work.commit("x.param", {}, ["x.bin"])
    assert (tmp_path / "x.param").read_text() == "precious"


def test_a_failed_run_with_force_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("precious")
    with Workspace(tmp_path, ["x.onnx"], force=True) as work:
        work.path("x.onnx").write_text("half")
    assert (tmp_path / "x.onnx").read_text() == "precious"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ArtifactError, match="Cannot write"),
        Workspace(tmp_path / "file" / "out", ["x.onnx"], force=False),
    ):
        pass


def test_a_folder_that_cannot_be_written_to() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("needs /proc, which refuses new files even to root")
    with (
        pytest.raises(ArtifactError, match="Cannot write"),
        Workspace(Path("/proc"), ["x.onnx"], force=False),
    ):
        pass


KILLED = """
import sys, time
from pathlib import Path
from mobile_export.artifacts.workspace import Workspace
with Workspace(Path(sys.argv[1]), ["x.onnx"], force=True) as work:
    work.path("x.onnx").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def start_and_stop(folder: Path, number: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip() == b"ready"
    child.send_signal(number)
    child.communicate(timeout=30)


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    start_and_stop(tmp_path, signal.SIGINT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_kill_9_leaves_no_artifact_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("precious")
    start_and_stop(tmp_path, signal.SIGKILL)
    assert (tmp_path / "x.onnx").read_text() == "precious"
    left = [p.name for p in tmp_path.iterdir() if p.name != "x.onnx"]
    assert len(left) == 1
    assert left[0].startswith(".mobile-export-")
    with Workspace(tmp_path, ["y.onnx"], force=False) as work:
        write(work, "y.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "x.onnx", "y.onnx", "y.onnx.manifest.json",
    ]  # fmt: skip


def test_a_run_in_progress_is_not_cleaned_up(tmp_path: Path) -> None:
    with Workspace(tmp_path, ["x.onnx"], force=False) as first:
        first.path("x.onnx").write_text("first")
        with Workspace(tmp_path, ["y.onnx"], force=False) as second:
            write(second, "y.onnx")
        assert first.path("x.onnx").read_text() == "first"


def test_an_old_folder_is_removed_even_if_its_number_is_in_use(tmp_path: Path) -> None:
    stale = tmp_path / f".mobile-export-{os.getpid()}-abc"
    stale.mkdir()
    os.utime(stale, (time.time() - 2 * 86400,) * 2)
    with Workspace(tmp_path, ["y.onnx"], force=False):
        assert not stale.exists()


def test_sha256_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "x").write_bytes(b"123")
    first = sha256_of(folder)
    (folder / "a" / "x").rename(folder / "a" / "y")
    second = sha256_of(folder)
    (folder / "a" / "y").write_bytes(b"124")
    assert len({first, second, sha256_of(folder)}) == 3
    assert size_of(folder) == 3


def test_sha256_of_a_file_is_the_standard_one(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    assert sha256_of(file) == (  # FIPS 180-2, appendix B.1
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_full_disk(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the disk: the kernel refuses the write in the same place."""
    pytest.importorskip("resource")
    code = """
import resource, signal, sys
from pathlib import Path
from mobile_export.artifacts.workspace import Workspace
from mobile_export.errors import ArtifactError
with Workspace(Path(sys.argv[1]), ["x.onnx"], force=False) as work:
    work.path("x.onnx").write_text("fits")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    try:
        work.commit("x.onnx", {"text": "a manifest of more than ten bytes"})
    except ArtifactError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "Cannot write" in done.stdout
    assert list(tmp_path.iterdir()) == []

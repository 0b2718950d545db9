"""Files appear whole or not at all, whatever happens meanwhile.

Tests `mobile_export/artifacts/`: workspace.py, journal.py, owner.py, replaceable.py, names.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobile_export.artifacts import owner, workspace
from mobile_export.artifacts.content import sha256_of, size_of
from mobile_export.artifacts.journal import finish_moves
from mobile_export.artifacts.names import artifact_stem, manifest_path, require_file_name
from mobile_export.artifacts.owner import this_process
from mobile_export.artifacts.workspace import Workspace
from mobile_export.errors import ArtifactError, MobileExportError
from mobile_export.system.folders import is_local


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


def make_package(folder: Path) -> Path:
    """A folder as Core ML's packages are."""
    (folder / "Data" / "weights").mkdir(parents=True)
    (folder / "Data" / "weights" / "w.bin").write_text("old")
    (folder / "Data" / "model").write_text("old")
    items = {"1": {"path": "model"}, "2": {"path": "weights"}}
    manifest = {"rootModelIdentifier": "1", "itemInfoEntries": items}
    (folder / "Manifest.json").write_text(json.dumps(manifest))
    return folder


def test_force_replaces_a_folder_whole(tmp_path: Path) -> None:
    old = make_package(tmp_path / "x.mlpackage")
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


def fails(folder: Path, names: tuple[str, ...], match: str, *, force: bool = False) -> None:
    before = {p: p.lstat() for p in folder.rglob("*")}
    with (
        pytest.raises(MobileExportError, match=match),
        Workspace(folder, names, force=force) as work,
    ):
        write(work, names[0])
    after = {p: p.lstat() for p in folder.rglob("*")}
    assert list(after) == list(before)
    assert [s.st_ino for s in after.values()] == [s.st_ino for s in before.values()]


@pytest.mark.parametrize(
    "name",
    ["../victim", "a/b", "a\\b", "..", ".", "", ".hidden", "-rf", "a\x1b[2J", "a\nb", "x" * 201,
     "c:x", "/etc/x"],
)  # fmt: skip
@pytest.mark.parametrize("force", [False, True])
def test_names_that_are_not_of_one_file(tmp_path: Path, name: str, force: bool) -> None:
    fails(tmp_path, (name,), "The name", force=force)


def test_a_long_source_has_a_name_that_fits() -> None:
    assert require_file_name(artifact_stem("m:f?" + "é" * 5000) + ".ncnn.param")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("target", ["nowhere", "real"])
def test_a_link_is_never_replaced(tmp_path: Path, target: str, force: bool) -> None:
    (tmp_path / "real").write_text("precious")
    for name in ("x.onnx", "x.onnx.manifest.json"):
        (tmp_path / name).symlink_to(target)
        fails(tmp_path, ("x.onnx",), "is a link" if force else "exists already", force=force)
        (tmp_path / name).unlink()


def test_a_manifest_needs_force(tmp_path: Path) -> None:
    (tmp_path / "x.onnx.manifest.json").write_text("precious")
    fails(tmp_path, ("x.onnx",), r"manifest\.json exists already")


@pytest.mark.parametrize("name", ["x.pt2", "x.pt2.manifest.json"])
def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "photos").mkdir(parents=True)
    (tmp_path / name / "photos" / "one").write_text("precious")
    fails(tmp_path, ("x.pt2",), "exists already")
    fails(tmp_path, ("x.pt2",), "did not write", force=True)


def test_a_package_with_something_else_in_it_is_not_replaced(tmp_path: Path) -> None:
    package = make_package(tmp_path / "x.mlpackage")
    (package / "notes.txt").write_text("precious")
    fails(tmp_path, (package.name,), "did not write", force=True)
    (package / "notes.txt").unlink()
    (package / "Data" / "away").symlink_to("/")
    fails(tmp_path, (package.name,), "did not write", force=True)


def test_a_folder_that_its_manifest_vouches_for_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "x.bundle"
    folder.mkdir()
    (folder / "a").write_text("old")
    facts = {"file": folder.name, "sha256": sha256_of(folder)}
    manifest_path(folder).write_text(json.dumps(facts))
    with Workspace(tmp_path, [folder.name], force=True) as work:
        write(work, folder.name)
    assert folder.read_text() == "new"
    fails_again = tmp_path / "y.bundle"
    fails_again.mkdir()
    (fails_again / "a").write_text("changed since")
    manifest_path(fails_again).write_text(json.dumps({**facts, "file": fails_again.name}))
    fails(tmp_path, (fails_again.name,), "did not write", force=True)


def test_a_file_that_came_during_the_run_is_kept(tmp_path: Path) -> None:
    with Workspace(tmp_path, ["x.onnx"], force=False) as work:
        (tmp_path / "x.onnx").write_text("precious")
        with pytest.raises(ArtifactError, match="exists already"):
            write(work, "x.onnx")
    assert (tmp_path / "x.onnx").read_text() == "precious"


def test_the_second_of_two_runs_is_told(tmp_path: Path) -> None:
    with Workspace(tmp_path, ["x.onnx"], force=True) as first:
        with (
            pytest.raises(ArtifactError, match="Another run is writing"),
            Workspace(tmp_path, ["y.onnx", "X.onnx"], force=True),
        ):
            pass
        write(first, "x.onnx")
    with Workspace(tmp_path, ["x.onnx"], force=True) as second:
        write(second, "x.onnx", "newer")
    assert (tmp_path / "x.onnx").read_text() == "newer"


def test_what_may_be_another_machines_is_left_alone(tmp_path: Path) -> None:
    me = this_process()
    gone = 2**22 + 1  # above the largest number of a process on Linux
    kept = [
        replace(me, machine="0" * 16, pid=gone).prefix + "abc",  # another machine or container
        f".mobile-export-{gone}-abc",  # what older versions made
        replace(me).prefix + "abc",
    ]
    removed = [
        replace(me, pid=gone).prefix + "abc",
        replace(me, started=me.started + 1).prefix + "abc",  # its number is in use again
    ]
    for name in (*kept, *removed):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    if not me.started:
        removed.pop()
    with Workspace(tmp_path, ["y.onnx"], force=False):
        assert all((tmp_path / name).exists() for name in kept)
        assert not any((tmp_path / name).exists() for name in removed)


NAMES = ("x.bin", "x.param", "x.param.manifest.json")

KILLED_BETWEEN = """
import os, signal, sys
from pathlib import Path
from mobile_export.artifacts.workspace import Workspace

folder, count = Path(sys.argv[1]), int(sys.argv[2])
calls = 0

def counted(real):
    def step(*args, **kwargs):
        global calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return step

with Workspace(folder, ["x.param", "x.bin"], force=True) as work:
    for name in ("x.param", "x.bin"):
        if sys.argv[3] == "folder" and name == "x.param":
            work.path(name).mkdir()
            (work.path(name) / "Manifest.json").write_text("new")
        else:
            work.path(name).write_text("new")
    for step in ("link", "mkdir", "replace", "unlink"):
        setattr(os, step, counted(getattr(os, step)))
    work.commit("x.param", {"is": "new"}, ["x.bin"])
"""


def state(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): p.read_text()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
@pytest.mark.parametrize("before", ["nothing", "files", "folder"])
def test_kill_9_in_every_gap_of_a_commit(tmp_path: Path, before: str) -> None:
    seen = set()
    for count in range(1, 40):
        folder = tmp_path / str(count)
        folder.mkdir()
        if before != "nothing":
            (folder / "x.bin").write_text("old")
            (folder / "x.param.manifest.json").write_text("{}")
            if before == "folder":
                make_package(folder / "x.param")
            else:
                (folder / "x.param").write_text("old")
        old = state(folder)
        code = [sys.executable, "-c", KILLED_BETWEEN, str(folder), str(count), before]
        killed = subprocess.run(code, capture_output=True, timeout=60)
        assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
        with Workspace(folder, ["y.onnx"], force=False):
            pass
        found = state(folder)
        if found != old:
            assert found.pop("x.bin") == "new"
            assert json.loads(found.pop("x.param.manifest.json")) == {"is": "new"}
            assert found == {f"x.param{'/Manifest.json' if before == 'folder' else ''}": "new"}
        seen.add(found == old)
        assert not [p for p in folder.iterdir() if p.name.startswith(".")]
        if killed.returncode == 0:
            break
    assert seen == {True, False}
    assert 3 * 2 < count < 39, "every file is linked to its new name and loses its old one"


def test_a_rename_that_fails_undoes_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        (tmp_path / name).write_text("old")
    for count in range(1, 9):
        calls = iter(range(1, 100))

        def failing(real: Any, wrong: int = count, n: Iterator[int] = calls) -> Any:
            def step(*args: Any, **kwargs: Any) -> Any:
                if next(n) == wrong:
                    raise OSError(28, "No space left on device")
                return real(*args, **kwargs)

            return step

        with Workspace(tmp_path, ["x.param", "x.bin"], force=True) as work:
            for name in NAMES[:2]:
                work.path(name).write_text("new")
            with monkeypatch.context() as patched:
                for name in ("replace", "unlink"):
                    patched.setattr(os, name, failing(getattr(os, name)))
                with pytest.raises(ArtifactError, match="No space left"):
                    work.commit("x.param", {}, ["x.bin"])
        assert state(tmp_path) == dict.fromkeys(sorted(NAMES), "old")


def test_a_file_that_comes_in_the_last_moment_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look and the move."""
    with Workspace(tmp_path, ["x.param", "x.bin"], force=False) as work:
        for name in NAMES[:2]:
            work.path(name).write_text("new")
        monkeypatch.setattr(workspace, "require_free", lambda path, force: None)
        (tmp_path / "x.param").write_text("precious")
        with pytest.raises(ArtifactError, match="exists"):
            work.commit("x.param", {}, ["x.bin"])
    assert state(tmp_path) == {"x.param": "precious"}


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with Workspace(tmp_path, ["x.onnx"], force=False) as work:
        assert write(work, "x.onnx").read_text() == "new"
    with Workspace(tmp_path, ["y.onnx"], force=False) as work:
        monkeypatch.setattr(workspace, "require_free", lambda path, force: None)
        (tmp_path / "y.onnx").write_text("precious")
        with pytest.raises(ArtifactError, match="exists"):
            write(work, "y.onnx")
    assert (tmp_path / "y.onnx").read_text() == "precious"


def _as_of_another_boot(folder: Path) -> Path:
    """The only hidden folder, renamed as if the machine had been started again since."""
    (left,) = (p for p in folder.iterdir() if p.name.startswith(".mobile-export-"))
    return left.rename(folder / (replace(this_process(), machine="0" * 16).prefix + "abc"))


@pytest.mark.skipif(sys.platform != "linux", reason="knows the file systems of Linux")
def test_a_power_cut_in_a_commit_is_finished_by_the_next_run(tmp_path: Path) -> None:
    if not is_local(tmp_path):
        pytest.skip("another machine may write to the folder of the tests")
    for name in NAMES:
        (tmp_path / name).write_text("old")
    code = [sys.executable, "-c", KILLED_BETWEEN, str(tmp_path), "6", "files"]
    subprocess.run(code, capture_output=True, timeout=60)
    left = _as_of_another_boot(tmp_path)
    assert (left / "journal.json").exists()
    with Workspace(tmp_path, ["y.onnx"], force=False):
        assert not left.exists()
    assert {state(tmp_path)[name] for name in NAMES[:2]} == {"new"}


@pytest.mark.skipif(sys.platform != "linux", reason="knows the file systems of Linux")
@pytest.mark.parametrize("place", ["new", "old", "draft"])
def test_a_hidden_folder_out_of_an_archive_reaches_nothing_outside(
    tmp_path: Path, place: str
) -> None:
    """A run that was killed leaves no links; whoever packs such a folder may."""
    out, away = tmp_path / "out", tmp_path / "away"
    left = out / f".mobile-export-{'0' * 16}-1-1-abc"
    for folder in (left / "new", left / "old", away):
        folder.mkdir(parents=True)
    for folder in (out, away):
        (folder / "x.txt").write_text("precious")
    names = {"new": "x.txt", "old": "y.txt", "draft": "z.txt"}
    (left / "journal.json").write_text(json.dumps({names[place]: None}))
    (left / "lock").touch()
    if place == "draft":
        (left / "new" / "z.txt").symlink_to(away / "x.txt")
    else:
        (left / place).rmdir()
        (left / place).symlink_to(away if place == "old" else "..", target_is_directory=True)
    if is_local(tmp_path):
        with pytest.raises(ArtifactError, match="is a link"), Workspace(out, ["q"], force=False):
            pass
    assert _shown(out) == _shown(away) == {"x.txt": "precious"}
    if place == "new":  # another folder's file is not taken away either
        (left / "new").unlink()
        (left / "new").symlink_to(away, target_is_directory=True)
        (out / "x.txt").unlink()
        with pytest.raises(ArtifactError, match="is a link"):
            finish_moves(left, out)
        assert (_shown(out), _shown(away)) == ({}, {"x.txt": "precious"})


def _shown(folder: Path) -> dict[str, str]:
    return {name: text for name, text in state(folder).items() if not name.startswith(".")}


@pytest.mark.skipif(sys.platform != "linux", reason="knows the file systems of Linux")
@pytest.mark.parametrize("why", ["held", "shared", "older version"])
def test_what_another_container_or_machine_may_still_hold(
    tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace(tmp_path, ["x.onnx"], force=False):
        left = _as_of_another_boot(tmp_path)
        if why == "held":
            with Workspace(tmp_path, ["y.onnx"], force=False):
                assert left.exists()
    (left / "new").mkdir(parents=True, exist_ok=True)  # its run could not find it to remove it
    if why == "shared":
        (left / "lock").touch()
        monkeypatch.setattr(owner, "is_local", lambda folder: False)
    elif why == "older version":
        (left / "lock").unlink(missing_ok=True)
    else:
        shutil.rmtree(left)
        return
    with Workspace(tmp_path, ["y.onnx"], force=False):
        assert left.exists()


def test_what_was_changed_after_a_kill_is_not_replaced(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_text("old")
    code = [sys.executable, "-c", KILLED_BETWEEN, str(tmp_path), "6", "files"]
    subprocess.run(code, capture_output=True, timeout=60)
    (tmp_path / "x.param").write_text("precious, and longer")
    with (
        pytest.raises(ArtifactError, match="changed since"),
        Workspace(tmp_path, ["y.onnx"], force=True),
    ):
        pass
    assert (tmp_path / "x.param").read_text() == "precious, and longer"
    assert [p.read_text() for p in tmp_path.rglob("old/x.bin")] == ["old"]


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

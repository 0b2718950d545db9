"""Files that travel by the hash of their content: written once, checked when they arrive."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from mobile_export.artifacts.content import sha256_of
from mobile_export.errors import SweepError
from mobile_export.sweep.job import FileRef
from mobile_export.sweep.share import Share


def ref_of(path: Path) -> FileRef:
    return FileRef(path.name, sha256_of(path), str(path))


@pytest.fixture(params=["folder", "file://", "memory://"])
def share(request: pytest.FixtureRequest, tmp_path: Path) -> Share:
    """A folder, its URL, and a place that is no file system (as object stores are none)."""
    url = {"folder": str(tmp_path / "s"), "file://": (tmp_path / "s").as_uri()}
    return Share(url.get(request.param, f"memory://{tmp_path.name}"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine" / "w.pth"
    path.parent.mkdir()
    path.write_bytes(b"weights" * 1000)
    return path


def test_a_file_is_written_once_and_arrives(share: Share, file: Path, tmp_path: Path) -> None:
    ref = ref_of(file)
    assert [share.put(ref), share.put(ref)] == [True, False]
    got = share.get(ref, tmp_path / "worker")
    assert (got.name, got.read_bytes()) == ("w.pth", file.read_bytes())
    assert share._fs.find(share._root) == [share._place(ref.sha256)]


def test_a_folder_arrives(share: Share, file: Path, tmp_path: Path) -> None:
    (file.parent / "a").mkdir()
    (file.parent / "a" / "b.txt").write_text("b")
    ref = ref_of(file.parent)
    assert share.put(ref)
    got = share.get(ref, tmp_path / "worker")
    assert (got.name, sha256_of(got)) == ("mine", ref.sha256)
    assert (got / "a" / "b.txt").read_text() == "b"


def test_what_arrives_damaged_is_refused(share: Share, file: Path, tmp_path: Path) -> None:
    ref = ref_of(file)
    share.put(ref)
    for content in (b"", b"other", b"x" * 10_000):
        share._fs.pipe_file(share._place(ref.sha256), content)
        with pytest.raises(SweepError, match="arrived damaged"):
            share.get(ref, tmp_path / f"worker{len(content)}")


def test_what_is_not_there(share: Share, file: Path, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"fetching w\.pth through"):
        share.get(ref_of(file), tmp_path / "worker")


def test_a_file_that_changed_meanwhile_is_not_sent(share: Share, file: Path) -> None:
    ref = ref_of(file)
    file.write_bytes(b"other")
    with pytest.raises(SweepError, match="has changed since the sweep began"):
        share.put(ref)
    assert not share._fs.exists(share._place(ref.sha256))


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "a\\b"])
def test_names_stay_in_their_folder(share: Share, file: Path, tmp_path: Path, name: str) -> None:
    ref = FileRef(name, sha256_of(file), str(file))
    share.put(ref)
    with pytest.raises(SweepError, match="is no name of a file"):
        share.get(ref, tmp_path / "worker")


def test_an_archive_leads_nowhere_else(tmp_path: Path, file: Path) -> None:
    """Somebody put an archive there whose members lie outside, or are links and pipes."""
    share = Share(str(tmp_path / "s"))
    ref = ref_of(file.parent)
    share.put(ref)
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as archive:
        archive.add(file, "../../outside")
        archive.add(file, "/tmp/absolute-outside")
    share._fs.put_file(str(evil), share._place(ref.sha256))
    with pytest.raises(SweepError, match="arrived damaged"):
        share.get(ref, tmp_path / "worker")
    assert not list(tmp_path.rglob("outside"))
    assert not Path("/tmp/absolute-outside").exists()


def test_a_place_that_is_full_keeps_nothing_by_half(
    share: Share, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: str, target: str, **options: object) -> None:
        share._fs.pipe_file(target, b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(share._fs, "put_file", full)
    with pytest.raises(SweepError, match="No space left on device"):
        share.put(ref_of(file))
    assert share._fs.find(share._root) == []


def test_what_is_no_place(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="cannot travel through nothing://x"):
        Share("nothing://x")


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_a_folder_with_a_pipe_does_not_travel(share: Share, file: Path) -> None:
    ref = ref_of(file.parent)
    os.mkfifo(file.parent / "pipe")
    with pytest.raises(SweepError):
        share.put(ref)

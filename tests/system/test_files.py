"""Regular files are read; what would block or never end is not opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mobile_export.errors import ArtifactError, SourceError
from mobile_export.system.files import (
    read_regular_file,
    regular_file,
    require_free_file,
    write_whole,
)


def test_a_file_and_a_link_to_it(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345")
    link = tmp_path / "link"
    link.symlink_to(path)
    for each in (path, link):
        assert regular_file(each) == 5
        assert regular_file(each, limit=5) == 5
        assert read_regular_file(each, limit=5) == b"12345"


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with path.open("wb") as file:
        file.truncate(5_000_000)
    with pytest.raises(SourceError, match=r"5,000,000 bytes long; at most 1,000 are read"):
        regular_file(path, limit=1000, error=SourceError)
    with pytest.raises(ArtifactError, match="5,000,000"):
        read_regular_file(path, limit=1000)


@pytest.mark.parametrize("kind", ["a named pipe", "a folder", "a device", "a socket"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.close()
    for read in (regular_file, lambda p: read_regular_file(p, limit=9)):
        with pytest.raises(ArtifactError, match=f"cannot be read: it is {kind}"):
            read(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux has a /proc")
def test_what_the_system_makes_up_has_no_length(tmp_path: Path) -> None:
    """/proc/kmsg says that it is a file of no bytes, and whoever reads it waits for ever."""
    link = tmp_path / "x.pth"
    link.symlink_to("/proc/self/status")
    with pytest.raises(ArtifactError, match="no length, and is not empty"):
        regular_file(link)
    with pytest.raises(ArtifactError, match="no length"):
        read_regular_file(link, limit=9)
    (tmp_path / "empty").touch()
    assert regular_file(tmp_path / "empty") == 0


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="There is no file"):
        regular_file(tmp_path / "none")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    with pytest.raises(ArtifactError, match="There is no file"):
        regular_file(tmp_path / "dangling")
    with pytest.raises(ArtifactError, match="cannot be read"):
        regular_file(Path("a\0b"))


def test_what_a_result_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("folder", "link", "dangling"):
        with pytest.raises(ArtifactError, match="not a regular file"):
            require_free_file(tmp_path / name, force=True, error=ArtifactError)
    with pytest.raises(ArtifactError, match="exists already"):
        require_free_file(tmp_path / "file", force=False, error=ArtifactError)
    with pytest.raises(ArtifactError, match="folder does not exist"):
        require_free_file(tmp_path / "no" / "file", force=False, error=ArtifactError)
    require_free_file(tmp_path / "file", force=True, error=ArtifactError)
    require_free_file(tmp_path / "new", force=False, error=ArtifactError)


def test_a_result_is_there_in_full_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "x", b"one", error=ArtifactError)
    write_whole(tmp_path / "x", b"two", error=ArtifactError)
    assert (tmp_path / "x").read_bytes() == b"two"
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "x").stat().st_mode == plain.stat().st_mode
    with pytest.raises(ArtifactError, match="Cannot write"):
        write_whole(tmp_path / "no" / "x", b"three", error=ArtifactError)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match="Cannot write"):
        write_whole(tmp_path / "folder", b"four", error=ArtifactError)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "plain", "x"]

"""What a folder names must lie inside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobile_export.errors import ArtifactError
from mobile_export.system import folders
from mobile_export.system.folders import file_inside, path_inside, require_closed


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "Data" / "weights").mkdir(parents=True)
    (folder / "Data" / "weights" / "w.bin").write_bytes(b"inside")
    (tmp_path / "w.bin").write_bytes(b"outside")
    return folder


def test_a_file_of_its_own(package: Path) -> None:
    assert file_inside(package, "Data/weights/w.bin", limit=6).read_bytes() == b"inside"
    (package / "link").symlink_to("Data/weights/w.bin")
    assert file_inside(package, "link").read_bytes() == b"inside"
    require_closed(package)


@pytest.mark.parametrize(
    "name",
    [
        "../w.bin", "Data/../../w.bin", "Data/./weights/w.bin", "Data//weights/w.bin", "", ".",
        "..", "/etc/passwd", "Data\\..\\w.bin", "Data/weights/w.bin\0", "link/w.bin", "away",
    ],
)  # fmt: skip
def test_a_name_that_leads_outside(package: Path, name: str) -> None:
    (package / "link").symlink_to("..")
    (package / "away").symlink_to(package.parent / "w.bin")
    with pytest.raises(ArtifactError, match="not inside it"):
        path_inside(package, name)


def test_a_folder_or_nothing_where_a_file_is_named(package: Path) -> None:
    with pytest.raises(ArtifactError, match="it is a folder"):
        file_inside(package, "Data/weights")
    with pytest.raises(ArtifactError, match="There is no file"):
        file_inside(package, "Data/none.bin")
    with pytest.raises(ArtifactError, match="at most 5 are read"):
        file_inside(package, "Data/weights/w.bin", limit=5)


def test_what_a_closed_folder_does_not_hold(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = package / "Data" / "away"
    for target in ("../../w.bin", "/", "loop"):
        away.symlink_to(target)
        if target == "loop":
            (package / "Data" / "loop").symlink_to("away")
        with pytest.raises(ArtifactError, match="leads out of"):
            require_closed(package)
        away.unlink()
    (package / "Data" / "loop").unlink()
    os.mkfifo(package / "pipe")
    with pytest.raises(ArtifactError, match="a named pipe"):
        require_closed(package)
    (package / "pipe").unlink()
    monkeypatch.setattr(folders, "MOST_ENTRIES", 2)
    with pytest.raises(ArtifactError, match="more than 2 files"):
        require_closed(package)

"""The table of targets: files of one and of two parts, told apart by their suffix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mobile_export.errors import ArtifactError
from mobile_export.exporters import table as targets
from mobile_export.exporters.row import Format
from mobile_export.exporters.table import FORMATS, format_of_file


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Format:
    """A format of two files."""
    target = replace(FORMATS[0], name="pair", suffix=".pair.graph", companions=(".weights",))
    monkeypatch.setattr(targets, "FORMATS", (*FORMATS, target))
    return target


def test_every_target_recognises_its_own_files(tmp_path: Path) -> None:
    for target in FORMATS:
        artifact = tmp_path / f"a.b{target.suffix}"
        for file in target.files(artifact):
            file.touch()
        assert format_of_file(artifact) is target


def test_files_of_a_format_of_two(pair: Format, tmp_path: Path) -> None:
    artifact = tmp_path / "net.v1.pair.graph"
    assert pair.files(artifact) == (artifact, tmp_path / "net.v1.pair.weights")
    assert FORMATS[0].files(artifact) == (artifact,)


def test_the_companion_must_be_there(pair: Format, tmp_path: Path) -> None:
    for name in ("net.pair.graph", "other.graph"):  # other tools leave the middle part out
        artifact = tmp_path / name
        artifact.touch()
        with pytest.raises(ArtifactError, match=r"\.weights does not exist; it holds the weights"):
            format_of_file(artifact)
        artifact.with_suffix(".weights").touch()
        assert format_of_file(artifact) is pair


def test_the_companion_alone_is_no_artifact(pair: Format, tmp_path: Path) -> None:
    file = tmp_path / "net.pair.weights"
    file.touch()
    with pytest.raises(ArtifactError, match=r"(?s)only the weights.*Give the \.pair\.graph file"):
        format_of_file(file)


def test_a_name_without_suffix(tmp_path: Path) -> None:
    (tmp_path / "net").touch()
    with pytest.raises(ArtifactError, match="no known suffix"):
        format_of_file(tmp_path / "net")

"""The table of targets: files of one and of two parts, told apart by their suffix."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mobile_export.errors import ArtifactError, UsageError
from mobile_export.exporters import table as targets
from mobile_export.exporters.row import INTEGERS, Format, Precision
from mobile_export.exporters.table import FORMATS, format_of_file, lacks_option, precision_names
from mobile_export.system.options import options_of


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


@pytest.mark.parametrize("target", FORMATS, ids=lambda each: each.name)
def test_a_format_has_each_precision_or_says_why_not(target: Format) -> None:
    """The reason is in the refusal."""
    known = {each.name for each in target.precisions}
    assert known.isdisjoint(target.lacks)
    assert known | set(target.lacks) == set(precision_names())
    for name, why in target.lacks.items():
        with pytest.raises(UsageError, match=re.escape(f"not written in {name}: {why}")):
            target.precision(name)


@pytest.mark.parametrize("target", FORMATS, ids=lambda each: each.name)
def test_a_format_has_each_option_of_another_or_says_why_not(target: Format) -> None:
    flags = {name: said.flag for each in FORMATS for name, said in options_of(each.options).items()}
    own = options_of(target.options).keys()
    assert own.isdisjoint(target.lacks_options)
    assert own | target.lacks_options.keys() == flags.keys()
    for name, flag in flags.items():
        assert lacks_option(target.name, flag) == target.lacks_options.get(name, "")


def test_a_precision_is_there_or_lacking() -> None:
    own = Precision("int8", INTEGERS, 8, integers=True)
    with pytest.raises(ValueError, match="has and lacks"):
        replace(FORMATS[0], precisions=(own,), lacks={"int8": "no"})


def test_the_table_of_the_documentation_is_that_of_the_rows() -> None:
    """docs/precision.md: a cell that begins with "no" is of a format that has no such precision."""
    text = Path(__file__).parents[2].joinpath("docs", "precision.md").read_text()
    table = text[text.index("| precision |") :].split("\n\n")[0]
    head, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()
    ]
    columns = {row.title: head.index(row.title) for row in FORMATS}
    found = {name.strip("`"): row for row in rows for name in row[0].split(", ")}
    wanted = [name for name in precision_names() if name.startswith(("int", "palette"))]
    assert sorted(found) == sorted(wanted)
    for name, row in found.items():
        for target in FORMATS:
            cell = row[columns[target.title]]
            has = name in {each.name for each in target.precisions}
            assert cell.startswith("no") != has, (name, target.title, cell)

"""The store: nothing that was reported is lost, whatever happens to the writer."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from mobile_export.bench.record import SCHEMA, Measurement
from mobile_export.bench.store import append, read
from mobile_export.errors import StoreError
from tests.bench.examples import measurement


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = [measurement(model=name, marks=("contended",)) for name in "abc"]
    for one in made:
        assert append(tmp_path / "s.jsonl", one) == ()
    assert list(read(tmp_path / "s.jsonl").measurements) == made


def test_an_absent_store_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "none").measurements == ()


@pytest.mark.parametrize("kept", [1, 40, 400])
def test_a_torn_last_line_is_left_out_and_then_moved_aside(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "s.jsonl"
    append(path, measurement(model="a"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    contents = read(path)
    assert [m.model for m in contents.measurements] == ["a"]
    assert "torn" in contents.notes[0]
    (note,) = append(path, measurement(model="b"))
    assert "torn" in note
    assert [m.model for m in read(path).measurements] == ["a", "b"]
    assert (tmp_path / "s.jsonl.torn").read_bytes() == whole[:kept] + b"\n"


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, measurement())
    path.write_bytes(b"{broken\n" + path.read_bytes())
    with pytest.raises(StoreError, match=r"s\.jsonl:1 is no JSON"):
        read(path)


@pytest.mark.parametrize("line", ["[]", "{}", '{"schema": 99}', '{"schema": 1}'])
def test_what_is_no_measurement_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "s.jsonl").write_text(line + "\n")
    with pytest.raises(StoreError, match=r"s\.jsonl:1"):
        read(tmp_path / "s.jsonl")


def test_a_record_without_newer_fields_is_read() -> None:
    facts = measurement().to_dict()
    for optional in ("check", "before", "after", "marks", "notes", "extra", "label", "warmup"):
        del facts[optional]
    assert Measurement.from_dict(facts).samples == measurement().samples


def test_a_field_of_a_later_version_does_no_harm() -> None:
    facts = measurement().to_dict()
    facts["device"]["colour"] = "blue"
    facts["before"]["mood"] = "good"
    assert Measurement.from_dict(facts | {"surprise": 1}) == measurement()


def _write_many(path: Path, name: str) -> None:
    for _ in range(20):
        append(path, measurement(model=name))


def test_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, name)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    models = [m.model for m in read(path).measurements]
    assert sorted(models) == sorted("abcd" * 20)


def test_every_line_is_plain_json_with_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, measurement(check=None))
    assert json.loads(path.read_text())["schema"] == SCHEMA


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Cannot write"):
        append(tmp_path / "no" / "folder" / "s.jsonl", measurement())
    with pytest.raises(StoreError, match="Cannot write"):
        append(Path("/dev/full"), measurement())

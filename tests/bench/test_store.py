"""The store: nothing that was reported is lost, whatever happens to the writer."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from mobile_export.bench.record import SCHEMA, Measurement
from mobile_export.bench.store import append, read, require_store
from mobile_export.errors import StoreError
from tests.bench.examples import measurement


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = [measurement(model=name, flags=("contended",)) for name in "abc"]
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


def line(**changes: Any) -> dict[str, Any]:
    """A record as the file has it, with values replaced; dots lead inwards."""
    facts: dict[str, Any] = json.loads(json.dumps(measurement().to_dict()))
    for place, value in changes.items():
        *outer, key = place.split("__")
        inner = facts
        for name in outer:
            inner = inner[name]
        inner[key] = value
    return facts


BAD = [
    (b"{broken", "is not JSON"),
    (b"[]", "not valid at its beginning: expected object, got array"),
    (b"{}", "lacks the field schema"),
    (b'{"schema": 99}', "has schema 99; this version reads 1 to 1"),
    (b'{"schema": 1}', "lacks the field time"),
    (b'{"schema": 1, "extra": ' + b"[" * 10**5, "is nested too deeply"),
    (b'{"time": "\xff", "schema": 1}', "is not text in UTF-8"),
    (line(samples=[1, "x"]), "samples[1]: expected int, got str"),
    (line(samples=[0] * 60), "samples[0]: expected int >= 1"),
    (line(samples=[10**40]), "samples[0]: expected int <="),
    (line(marks={}), "marks: expected array"),
    (line(artifact={}), "lacks the field artifact.file"),
    (line(artifact__input_shape=[[]]), "artifact.input_shape[0]: expected int"),
    (line(runner__cores="0-3"), "runner.cores: expected array | null, got str"),
    (line(device__clusters=[{"cores": 4}]), "device.clusters[0].cores: expected array"),
    (line(before__mhz={"a": 1}), "before.mhz"),
    (line(check={"passed": 1}), "check.passed: expected bool"),
    (line(label=7), "label: expected str | null, got int"),
]


@pytest.mark.parametrize(("bad", "said"), BAD, ids=[said for _, said in BAD])
def test_a_bad_line_is_left_out_counted_and_never_lost(
    tmp_path: Path, bad: bytes | dict[str, Any], said: str
) -> None:
    path = tmp_path / "s.jsonl"
    append(path, measurement(model="a"))
    middle = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    path.write_bytes(path.read_bytes() + middle + b"\n")
    append(path, measurement(model="b"))
    contents = read(path)
    assert [m.model for m in contents.measurements] == ["a", "b"]
    (note,) = contents.notes
    assert note.startswith(f"1 line of {path} could not be read and was left out: line 2 ")
    assert said in note
    assert path.read_bytes().split(b"\n")[1] == middle


def test_bad_lines_are_said_once(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, measurement())
    path.write_bytes(path.read_bytes() + b"x\ny\nz\n")
    (note,) = read(path).notes
    assert note.startswith(f"3 lines of {path} could not be read and were left out: line 2 ")


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"my notes\n",
            b"my notes",
            b"{}\n",
            b"[1]\n",
            b'{"schema": 1}\n',
            b"\n",
            b"\0" * 100,
            b"{",
        ),
        b'{"schema": ',
        json.dumps(measurement().to_dict()).encode(),  # the first line, torn at its end
    ],
)
def test_a_file_that_is_no_store_is_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    for write in (lambda: append(path, measurement()), lambda: require_store(path)):
        with pytest.raises(StoreError, match="its first line is not a measurement"):
            write()
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_store_of_a_newer_version_is_a_store(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps(line(schema=2, artifact=[])) + "\n")
    append(path, measurement())
    assert len(read(path).measurements) == 1
    assert "has schema 2" in read(path).notes[0]


def test_pipes_and_devices_are_no_stores(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(StoreError):
            read(path)
        with pytest.raises(StoreError, match="Cannot write"):
            append(path, measurement())
        with pytest.raises(StoreError, match="Cannot write"):
            require_store(path)


def test_a_file_called_torn_is_not_touched(tmp_path: Path) -> None:
    path, mine = tmp_path / "s.jsonl", tmp_path / "s.jsonl.torn"
    append(path, measurement())
    path.write_bytes(path.read_bytes() + b"{")
    mine.write_text("mine")
    (note,) = append(path, measurement())
    assert mine.read_text() == "mine"
    assert str(tmp_path / "s.jsonl.torn2") in note
    assert (tmp_path / "s.jsonl.torn2").read_bytes() == b"{\n"


def test_flags_are_kept_under_the_key_of_the_first_version(tmp_path: Path) -> None:
    """A store of before the word was changed is read."""
    facts = line(marks=["contended"])
    assert "flags" not in facts
    assert read_back(facts).flags == ("contended",)
    assert measurement(flags=("unchecked",)).to_dict()["marks"] == ("unchecked",)


def read_back(facts: dict[str, Any]) -> Measurement:
    return Measurement.from_json(json.dumps(facts).encode())


def test_a_record_without_newer_fields_is_read() -> None:
    facts = line()
    for optional in ("check", "before", "after", "marks", "notes", "extra", "label", "warmup"):
        del facts[optional]
    assert read_back(facts).samples == measurement().samples


def test_a_field_of_a_later_version_does_no_harm() -> None:
    facts = line()
    facts["device"]["colour"] = "blue"
    facts["before"]["mood"] = "good"
    assert read_back(facts | {"surprise": 1}) == measurement()


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

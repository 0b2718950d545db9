"""What a run had finished is kept, however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobile_export.bench.journal import Journal, read_all, recover
from mobile_export.bench.record import Measurement
from mobile_export.bench.runners.runner import RawResult
from mobile_export.bench.store import append, read
from mobile_export.errors import StoreError
from tests.bench.examples import measurement

RUN = """
import sys
from pathlib import Path
from mobile_export.bench.cli.run import signals_interrupt
from mobile_export.bench.journal import Journal
from mobile_export.bench.measure import Limits, measure
from mobile_export.bench.store import append
from tests.bench.examples import FakeDevice, FakeSession, artifact, work
folder = Path(sys.argv[1])
store = folder / "s.jsonl"
limits = Limits(seconds=600, block_seconds=0.02, warmup_seconds=0.1, turns=100_000)
session = FakeSession(lambda index: 2e6)
with signals_interrupt():
    measure(
        FakeDevice(), [work(session, artifact(folder))], limits,
        record=lambda made: append(store, made), keeper=lambda run: Journal(store, run),
    )
"""


def empty() -> Measurement:
    return measurement(samples=(), blocks=(), starts=())


def test_a_run_that_ends_leaves_no_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "s.jsonl", "run-1")
    journal.begin([empty()])
    journal.add(0, 0, RawResult((1, 2, 3)))
    assert [path.name for path in tmp_path.iterdir()] == ["s.jsonl.part-run-1"]
    journal.end()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_of_a_living_run_is_left_alone(tmp_path: Path) -> None:
    store = tmp_path / "s.jsonl"
    journal = Journal(store, "run-1")
    journal.begin([empty()])
    journal.add(0, 0, RawResult((1, 2, 3)))
    assert read_all(store).measurements == ()
    assert recover(store) == ()
    journal.end()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"my notes\n",
        b'{"entry": 0}\n',
        json.dumps(measurement(run="other").to_dict()).encode() + b"\n",
    ],
)
def test_a_file_of_such_a_name_that_is_no_journal_is_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    """Its name alone is no proof that we wrote it."""
    store, mine = tmp_path / "s.jsonl", tmp_path / "s.jsonl.part-run-1"
    mine.write_bytes(content)
    (tmp_path / "s.jsonl.part-run-2").symlink_to(mine)
    (tmp_path / "s.jsonl.part-run-3").mkdir()
    assert recover(store) == ()
    assert read_all(store).measurements == ()
    assert mine.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_not_understood_in_a_journal_is_kept(tmp_path: Path) -> None:
    """A record of a newer version keeps its place, so that blocks go to their own."""
    store = tmp_path / "s.jsonl"
    journal = Journal(store, "run-1")
    journal.begin([empty(), measurement(model="second", samples=(), blocks=(), starts=())])
    journal.add(0, 0, RawResult((1, 2)))
    journal.add(1, 0, RawResult((3, 4)))
    assert journal._stream is not None
    journal._stream.close()
    path = tmp_path / "s.jsonl.part-run-1"
    newer = path.read_bytes().replace(b'{"schema": 1', b'{"schema": 9', 1)
    path.write_bytes(newer)
    notes = recover(store)
    assert [(m.model, m.samples) for m in read(store).measurements] == [("second", (3, 4))]
    assert any("2 lines" in note and "s.jsonl.unread" in note for note in notes)
    assert (tmp_path / "s.jsonl.unread").read_bytes() == newer
    assert recover(store) == ()


@pytest.mark.parametrize("torn", [b"", b'{"entry": 0, "start": 1, "samp'])
def test_what_a_dead_run_left_is_read_and_moved_into_the_store(tmp_path: Path, torn: bytes) -> None:
    store = tmp_path / "s.jsonl"
    append(store, measurement(model="before"))
    journal = Journal(store, "run-1")
    journal.begin([empty(), measurement(model="second", samples=(), blocks=(), starts=())])
    for start, samples in ((0, (1, 2)), (0, (3,)), (1, (4, 5, 6))):
        journal.add(0, start, RawResult(samples))
    assert journal._stream is not None
    journal._stream.write(torn)
    journal._stream.close()  # its lock goes with it, as when the process dies
    _, left = read_all(store).measurements
    assert (left.samples, left.blocks, left.starts) == ((1, 2, 3, 4, 5, 6), (2, 1, 3), (2, 1))
    assert left.flags == ("interrupted",)
    assert any("are in" in note for note in recover(store))
    assert [m.model for m in read(store).measurements] == ["before", "emo_2m"]
    assert [path.name for path in tmp_path.iterdir()] == ["s.jsonl"]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_no_signal_loses_what_was_finished(tmp_path: Path, name: str) -> None:
    run = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not any(path.stat().st_size > 20_000 for path in tmp_path.glob("s.jsonl.part-*")):
        assert time.monotonic() < end
        time.sleep(0.05)
    run.send_signal(getattr(signal, name))
    run.wait(30)
    (made,) = read_all(tmp_path / "s.jsonl").measurements
    assert len(made.samples) > 100
    assert "interrupted" in made.flags
    assert made.check is not None
    assert made.check.passed


def test_a_store_that_cannot_be_written_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "no" / "s.jsonl", "run-1")
    with pytest.raises(StoreError, match="Cannot write the measurement"):
        journal.begin([empty()])

"""The store of sweeps: only added to, whatever kills it; and a file that somebody else made."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from mobile_export.errors import SweepError
from mobile_export.sweep.ledger import Facts, open_ledger, split_run
from tests.sweep.jobs import make_job, make_result

JOBS = [make_job(f"m{n}") for n in range(5)]


def filled(path: Path, count: int = 3) -> Path:
    """A store of one run of five cells with some results."""
    with open_ledger(path, write=True) as ledger:
        ledger.begin("tried", JOBS, "1")
        ledger.add(make_result(job) for job in JOBS[:count])
    return path


def test_results_come_back_in_the_order_of_the_cells(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    with open_ledger(path) as ledger:
        entries = list(ledger.entries(ledger.chosen(None)))
        assert ledger.runs()[1].name == "tried"
    assert [entry.facts.model for entry in entries] == [job.model for job in JOBS]
    assert [entry.result for entry in entries] == [*map(make_result, JOBS[:3]), None, None]
    assert not list(tmp_path.glob("*.lock"))


def test_an_attempt_is_added_once_and_the_latest_counts(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    job = JOBS[0]
    again = msgspec.structs.replace(job, attempt=1)
    with open_ledger(path, write=True) as ledger:
        run = ledger.begin("tried", [job], "1")
        ledger.add([make_result(job, "failed"), make_result(job, "passed")])
        ledger.add([make_result(job, "crashed")])
        assert ledger.last() == {job.cell: (0, "failed")}
        ledger.add([make_result(again, "passed")])
        assert ledger.last() == {job.cell: (1, "passed")}
        (entry,) = ledger.entries(run)
        assert entry.result is not None
        assert (entry.result.status, entry.result.attempt) == ("passed", 1)
    count = sqlite3.connect(path).execute("SELECT count(*) FROM results").fetchone()
    assert count == (2,)


def test_runs_of_one_store(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    with open_ledger(path, write=True) as ledger:
        assert ledger.begin("tried", JOBS[:2], "2") == 2
        assert ledger.chosen(None) == 2
        assert len(list(ledger.entries(1))) == 5
        assert all(entry.result for entry in ledger.entries(2)), "they were there already"
        with pytest.raises(SweepError, match="does not have run 7"):
            ledger.chosen(7)
    assert split_run("a/s.sqlite@12") == (Path("a/s.sqlite"), 12)
    assert split_run("a@b/s.sqlite") == (Path("a@b/s.sqlite"), None)


def test_one_sweep_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with open_ledger(path, write=True) as ledger:
        ledger.begin("tried", JOBS, "1")
        with pytest.raises(SweepError, match="Another sweep"), open_ledger(path, write=True):
            pass
        with open_ledger(path) as other:  # reading is free
            assert len(list(other.entries(1))) == 5


KILLED = """
import sys
from mobile_export.sweep.ledger import open_ledger
from tests.sweep.jobs import make_job, make_result
from pathlib import Path
with open_ledger(Path(sys.argv[1]), write=True) as ledger:
    jobs = [make_job(f"m{n}") for n in range(2000)]
    ledger.begin("killed", jobs, "1")
    for number, job in enumerate(jobs):
        ledger.add([make_result(job)])
        print(number, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_what_was_added_survives_a_kill(tmp_path: Path) -> None:
    """Every result that was told to be added is there, and the store goes on."""
    path = tmp_path / "s.sqlite"
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().splitlines() if line.isdecimal()]
        process.wait()
        with open_ledger(path, write=True) as ledger:
            assert len(ledger.last()) >= max(told) + 1
            assert ledger.runs()


def test_threads_do_not_matter_to_readers(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    found: list[int] = []

    def read() -> None:
        with open_ledger(path) as ledger:
            found.append(len(list(ledger.entries(1))))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [5] * 4


def test_a_full_disk_is_told_and_keeps_what_was_there(tmp_path: Path) -> None:
    """SQLite's own limit on pages gives what a full disk gives: SQLITE_FULL."""
    path = filled(tmp_path / "s.sqlite")
    with open_ledger(path, write=True) as ledger:
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count = {pages}")
        large = [make_result(job, "failed", reason="x" * 60_000) for job in JOBS[3:]]
        with pytest.raises(SweepError, match="database or disk is full") as raised:
            ledger.add(large)
        assert "What was stored before is kept" in str(raised.value)
    with open_ledger(path) as ledger:
        assert len(ledger.last()) == 3


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    """A sweep that was killed while it made the file may leave it."""
    (tmp_path / "s.sqlite").touch()
    filled(tmp_path / "s.sqlite")


def changed(path: Path, *statements: str) -> Path:
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()
    return path


_ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x FROM c"
HOSTILE = [
    ("CREATE TRIGGER t AFTER INSERT ON results BEGIN DELETE FROM results; END",),
    (f"CREATE VIEW v AS {_ENDLESS}",),
    ("DROP TABLE results", f"CREATE VIEW results AS {_ENDLESS}"),
    ("PRAGMA user_version = 9",),
]  # fmt: skip


@pytest.mark.parametrize("statements", HOSTILE)
@pytest.mark.parametrize("write", [False, True])
def test_other_tables_are_refused(tmp_path: Path, statements: tuple[str, ...], write: bool) -> None:
    path = changed(filled(tmp_path / "s.sqlite"), *statements)
    with pytest.raises(SweepError, match="other tables"), open_ledger(path, write=write):
        pass


@pytest.mark.parametrize(
    "result",
    ["", "{}", "[" * 10**6, '{"cell": "x"}', "NULL", '{"status": "good"}', "x" * (5 * 2**20)],
)
def test_records_are_input(tmp_path: Path, result: str) -> None:
    path = filled(tmp_path / "s.sqlite")
    db = sqlite3.connect(path)
    db.execute("UPDATE results SET result = ?", (result,))
    db.commit()
    db.close()
    with pytest.raises(SweepError), open_ledger(path) as ledger:
        list(ledger.entries(1))


@pytest.mark.parametrize("content", [b"x", b"{}", b"SQLite format 3\0" + bytes(200)])
def test_somebody_elses_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(content)
    for write in (False, True):
        with pytest.raises(SweepError, match="no store"), open_ledger(path, write=write):
            pass
    assert path.read_bytes() == content


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    path = changed(tmp_path / "mine.sqlite", "CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(SweepError, match="no store"), open_ledger(path, write=True):
        pass
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="named pipes, links")
def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(SweepError, match="named pipe"), open_ledger(tmp_path / "pipe"):
        pass
    with pytest.raises(SweepError, match="is a link"), open_ledger(tmp_path / "link", write=True):
        pass
    with pytest.raises(SweepError, match="There is no store"), open_ledger(tmp_path / "none"):
        pass
    nowhere = tmp_path / "no" / "s"
    with pytest.raises(SweepError, match=r"no/s\.lock"), open_ledger(nowhere, write=True):
        pass


@pytest.mark.parametrize("cut", [101, 3000, 5000])
def test_a_damaged_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = filled(tmp_path / "s.sqlite")
    content = bytearray(path.read_bytes())
    content[cut : cut + 400] = b"\xff" * 400
    path.write_bytes(content)
    said = ""
    try:
        with open_ledger(path) as ledger:
            entries = list(ledger.entries(ledger.chosen(None)))
        assert all(isinstance(entry.facts, Facts) for entry in entries)
    except SweepError as error:
        said = str(error)
    assert not said or str(path) in said

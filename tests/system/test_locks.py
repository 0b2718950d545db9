"""Locks end with what holds them, and are between processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mobile_export.system.locks import exclusive, lock

pytest.importorskip("fcntl")

HOLD = """
import sys, fcntl
stream = open(sys.argv[1], "ab")
fcntl.flock(stream, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_another_process_is_seen_and_its_end_too(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    words = [sys.executable, "-S", "-c", HOLD, str(file)]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with file.open("rb") as stream:
        assert lock(stream, wait=False) is False
        child.kill()
        child.communicate()
        assert lock(stream, wait=False) is True


def test_a_file_is_free_after_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("ab") as stream, file.open("rb") as other:
        with exclusive(stream):
            stream.write(b"line\n")
            assert lock(other, wait=False) is False
        assert file.read_bytes() == b"line\n"
        assert lock(other, wait=False) is True

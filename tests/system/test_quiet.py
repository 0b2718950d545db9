"""`quiet` captures Python, logging and C output, restores all, and keeps what an error needs."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import subprocess
import sys
import threading
import warnings

import pytest

from mobile_export.system.quiet import NOTE_LINES, quiet


def _noise(word: str) -> None:
    print(f"print {word}")
    print(f"error {word}", file=sys.stderr)
    os.write(1, f"fd1 {word}\n".encode())
    os.write(2, f"fd2 {word}\n".encode())
    ctypes.CDLL(None).puts(f"puts {word}".encode())
    warnings.warn(f"warning {word}", stacklevel=1)
    logging.getLogger("vendor").warning("logging %s", word)


def test_nothing_of_the_block_reaches_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with quiet():
        _noise("inside")
    print("after")
    out, err = capfd.readouterr()
    assert out == "before\nafter\n"
    assert err == ""


def test_streams_warnings_and_logging_are_restored(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        _noise("inside")
    with pytest.warns(UserWarning, match="warning outside"):
        _noise("outside")
    ctypes.CDLL(None).fflush(None)
    out, err = capfd.readouterr()
    assert "inside" not in out + err
    for text in ("print outside", "fd1 outside", "puts outside"):
        assert text in out
    for text in ("error outside", "fd2 outside"):
        assert text in err


def test_disabled_is_an_ordinary_block(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet(enabled=False):
        print("heard")
    assert capfd.readouterr().out == "heard\n"


def test_an_error_keeps_its_type_and_takes_the_last_lines_with_it() -> None:
    def fail() -> None:
        with quiet():
            for line in range(100):
                print("line", line)
            raise KeyError("the key")

    with pytest.raises(KeyError, match="the key") as caught:
        fail()
    (note,) = caught.value.__notes__
    assert note.splitlines()[1:] == [f"line {n}" for n in range(100 - NOTE_LINES, 100)]


def test_an_error_without_output_has_no_note() -> None:
    with pytest.raises(KeyError) as caught, quiet():
        raise KeyError("silent")
    assert not hasattr(caught.value, "__notes__")


def test_output_after_a_note_was_taken_is_appended_not_overwritten() -> None:
    def fail_inside() -> None:
        with quiet():
            print("first line")
            raise KeyError("inner")

    def fail_twice() -> None:
        with quiet():
            with contextlib.suppress(KeyError):
                fail_inside()
            print("second line")
            raise ValueError("outer")

    with pytest.raises(ValueError, match="outer") as outer:
        fail_twice()
    assert outer.value.__notes__[0].splitlines()[1:] == ["first line", "second line"]


def test_blocks_nest_and_overlap_between_threads(capfd: pytest.CaptureFixture[str]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with quiet():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    with quiet():
        thread.start()
        assert entered.wait(10)
    _ = sys.stdout  # still redirected: the thread is inside its block
    os.write(1, b"still quiet\n")
    leave.set()
    thread.join(10)
    os.write(1, b"loud again\n")
    assert capfd.readouterr().out == "loud again\n"


def test_a_stdout_that_is_no_file_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with quiet():
        print("inside")
    print("outside")
    assert stream.getvalue() == "outside\n"


@pytest.mark.parametrize("closed", [(1,), (1, 2)])
def test_a_process_without_stdout(closed: tuple[int, ...]) -> None:
    script = (
        "import os, sys\n"
        "sys.stdout = sys.stderr = None\n"
        + "".join(f"os.close({fd})\n" for fd in closed)
        + "from mobile_export.system.quiet import quiet\n"
        "with quiet():\n"
        "    print('x')\n"
        "    os.system('echo y')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_output_of_child_processes_is_captured(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    assert capfd.readouterr().out == ""


def test_the_tail_is_read_without_pread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pread", raising=False)  # as on Windows

    def fail() -> None:
        with quiet():
            print("first", flush=True)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x") as caught:
        fail()
    assert "first" in "".join(caught.value.__notes__)

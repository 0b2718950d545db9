"""A child that crashes, hangs, fills memory or talks too much is one record."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from mobile_export.system import children
from mobile_export.system.children import Asked, Gone, Limits, run_module

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits are POSIX")

CHILD = """
import os, signal, subprocess, sys
what = sys.argv[1]
if what == "echo":
    print(sys.stdin.read() + "|" + "|".join(sys.argv[2:]))
elif what == "crash":
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
elif what == "hang":
    subprocess.run(["sleep", "60"])
elif what == "limits":
    import resource
    cpu, core = (resource.getrlimit(k)[0] for k in (resource.RLIMIT_CPU, resource.RLIMIT_CORE))
    status = open("/proc/self/status").read() if sys.platform == "linux" else "NoNewPrivs:\t1"
    print(cpu, core, "NoNewPrivs:\t1" in status)
elif what == "memory":
    bytearray(2 << 30)
elif what == "talk":
    while True:
        sys.stdout.write("x" * 65536)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "some_child.py").write_text(CHILD)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    return "some_child"


def test_a_child_that_ends(module: str) -> None:
    ended = run_module(module, ["echo", "a b", ""], text="in")
    assert (ended.code, ended.output, ended.crash) == (0, b"in|a b|\n", None)


def test_a_crash(module: str) -> None:
    ended = run_module(module, ["crash"])
    assert ended.crash == "it crashed (SIGSEGV)"
    assert ended.last_line == "last words"


def test_a_child_that_hangs_is_ended_with_its_own(module: str) -> None:
    start = time.monotonic()
    ended = run_module(module, ["hang"], limits=Limits(seconds=1.0))
    assert ended.code is None
    assert ended.crash == "it did not end in time"
    assert time.monotonic() - start < 30


def test_limits_that_the_system_keeps(module: str) -> None:
    ended = run_module(module, ["limits"], limits=Limits(seconds=7))
    seconds = 7 * (os.cpu_count() or 1) + 1
    assert ended.output.split() == [b"%d" % seconds, b"0", b"True"]


def test_too_much_memory(module: str) -> None:
    ended = run_module(module, ["memory"], limits=Limits(memory=1 << 30))
    assert ended.code == 1
    assert ended.last_line == "MemoryError"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps this limit")
def test_no_more_memory_than_there_is(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file asks for ends the child, and not whatever the system chooses to end."""
    monkeypatch.setattr(children, "memory_here", lambda: 1 << 30)
    monkeypatch.setattr(children, "_LEAST", 1 << 30)
    ended = run_module(module, ["memory"])
    assert (ended.code, ended.last_line) == (1, "MemoryError")


def test_too_much_output(module: str) -> None:
    ended = run_module(module, ["talk"], limits=Limits(output=1 << 20))
    assert ended.code != 0
    assert len(ended.output) <= 1 << 20


def test_the_current_folder_is_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("print('executed')")
    monkeypatch.chdir(tmp_path)
    ended = run_module("only_here", [])
    assert ended.code == 1
    assert b"executed" not in ended.output


ANSWERS = """
import os, signal, sys, time
from mobile_export.system.children import serve

def answer(message):
    print("what a library prints is no answer", flush=True)
    if message == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if message == b"leave":
        os._exit(3)
    if message == b"hang":
        time.sleep(60)
    return message[::-1] + b"%d" % os.getpid()

serve(answer)
"""


@pytest.fixture
def answers(tmp_path: Path, module: str) -> str:
    (tmp_path / "some_answers.py").write_text(ANSWERS)
    return "some_answers"


def test_one_child_answers_every_message(answers: str) -> None:
    child = Asked(answers)
    large = os.urandom(3_000_000)
    first, second = child.ask(b"abc"), child.ask(large)
    pid = first.removeprefix(b"cba")
    assert int(pid) != os.getpid()
    assert second == large[::-1] + pid
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.mark.parametrize(
    ("message", "how"),
    [
        (b"crash", r"it crashed \(SIGSEGV\); last it said: what a library prints is no answer"),
        (b"leave", r"it ended with exit code 3; last it said: what a library prints"),
        (b"hang", r"it did not end in time; last it said: what a library prints"),
    ],
)
def test_a_child_that_does_not_answer(answers: str, message: bytes, how: str) -> None:
    child = Asked(answers, limits=Limits(seconds=2.0))
    assert child.ask(b"abc").startswith(b"cba")
    for _ in range(2):
        with pytest.raises(Gone, match=how if message != b"hang" else None):
            child.ask(message)
        how = r"it (crashed|ended)"  # and it does not come back


def test_a_child_whose_module_is_not_there() -> None:
    with pytest.raises(Gone, match=r"exit code 1; last it said: .*No module named"):
        Asked("there_is_no_such_module").ask(b"")

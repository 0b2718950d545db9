"""Every command of both programs: an error under ``--json`` is JSON on stdout, and a message."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer

from mobile_export.bench.cli import main as bench
from mobile_export.cli import main as export

PROGRAMS: dict[str, Any] = {"mobile-export": export, "mobile-bench": bench}
COMMANDS = [
    (program, command)
    for program, module in PROGRAMS.items()
    for command, made in typer.main.get_command(module.app).commands.items()  # type: ignore[attr-defined]
    if any("--json" in parameter.opts for parameter in made.params)
]
"""Without those that print code or hold commands: they have no such option."""


@pytest.fixture
def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_tmp: Any
) -> Callable[..., tuple[int, str, str]]:
    """Run a program in this process: exit code, stdout and stderr."""

    def run(program: str, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [program, *words])
        with pytest.raises(SystemExit) as stop:
            PROGRAMS[program].main()
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err  # type: ignore[return-value]

    return run


def require_error(code: int, out: str, err: str) -> dict[str, Any]:
    """The error, after it was seen to be told in both ways."""
    assert code == 2
    error: dict[str, Any] = json.loads(out)["error"]
    assert error["exit_code"] == 2
    assert err.startswith(f"error: {error['message']}")
    assert "Traceback" not in err
    return error


@pytest.mark.parametrize(("program", "command"), COMMANDS, ids=map(" ".join, COMMANDS))
def test_a_mistyped_option(program: str, command: str, typed: Any) -> None:
    error = require_error(*typed(program, command, "--json", "--no-such-option"))
    assert "--no-such-option" in error["message"]


WRONG = {
    ("mobile-export", "all"): ("emo_99",),
    ("mobile-export", "prepare"): ("emo_99", "-o", "x.pt2"),
    ("mobile-export", "verify"): ("nothing.onnx",),
    ("mobile-export", "inspect"): ("nothing.onnx",),
    ("mobile-export", "run"): ("nothing.onnx", "nothing.png"),
    ("mobile-export", "list"): ("nothing-of-that-name",),
    ("mobile-export", "info"): ("emo_99",),
    ("mobile-export", "matrix"): (),
    ("mobile-bench", "run"): ("nothing",),
    ("mobile-bench", "queue"): ("nothing",),
    ("mobile-bench", "table"): (),
    ("mobile-bench", "pareto"): ("nothing",),
    ("mobile-bench", "compare"): ("a", "b"),
    ("mobile-bench", "published"): ("--paper", "nothing"),
    ("mobile-bench", "build-runner"): ("--arch", "z80"),
    ("mobile-bench", "rank"): ("--soc", "nothing"),
    ("mobile-bench", "estimate"): ("nothing", "--soc", "nothing"),
}
NEVER_WRONG = {
    ("mobile-export", "doctor"),
    ("mobile-bench", "devices"),
    ("mobile-bench", "runners"),
}
"""They take nothing that could be wrong."""
DOWNLOADS = {("mobile-bench", "prepare-qemu")}
CAN_FAIL = [each for each in COMMANDS if each not in NEVER_WRONG | DOWNLOADS]


@pytest.mark.parametrize(("program", "command"), CAN_FAIL, ids=map(" ".join, CAN_FAIL))
def test_a_wrong_value(program: str, command: str, typed: Any) -> None:
    words = WRONG.get((program, command), ("emo_99",))
    require_error(*typed(program, command, *words, "--json"))

"""What is typed: numbers within their range, and one message of ours for every mistake.

The numbers are those of every command of both programs: a new option of a number is given hostile
ones too.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
import typer

from mobile_export.system.options import Range
from mobile_export.system.typed import number, run_typed

PROGRAMS = {
    "mobile-export": "mobile_export.cli.main",
    "mobile-bench": "mobile_export.bench.cli.main",
}
WORDS = {
    "verify": ["x.onnx", "emo_1m"],
    "prepare": ["emo_1m", "-o", "x.pt2"],
    "matrix": ["emo_1m", "-o", "x.json"],
    "run": ["x.onnx"],
    "queue": ["x.onnx"],
    "compare": ["a", "b"],
}
"""What a command needs beside the number; ``emo_1m`` where it is not here"""
HOSTILE = (
    "nan",
    "-nan",
    "inf",
    "-inf",
    "1e400",
    "-1",
    "9" * 30,
    "9" * 5000,
    "1e30",
    "",
    "x",
    "0x10",
)
"""No option takes any of them, but ``--mean`` takes -1."""


def _numbers() -> Iterator[tuple[str, str, str]]:
    """Program, command and flag of everything that is typed as a number, or as several."""
    for program, module in PROGRAMS.items():
        for info in importlib.import_module(module).app.registered_commands:
            assert info.callback is not None
            name = info.name or info.callback.__name__.replace("_", "-")
            hints = get_type_hints(info.callback, include_extras=True)
            for parameter in inspect.signature(info.callback).parameters.values():
                kind, *said = get_args(hints.get(parameter.name, parameter.annotation))
                flag = "--" + parameter.name.replace("_", "-")
                parts = {kind, *get_args(kind)}
                if said and (parts & {int, float} or flag in ("--size", "--mean", "--std")):
                    yield program, name, flag


NUMBERS = list(_numbers())
ONCE = {(program, flag): (program, name, flag) for program, name, flag in reversed(NUMBERS)}
"""Commands that share an option share its parameter: each is tried in the first one."""


def _typed(
    program: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> tuple[object, str, str]:
    monkeypatch.setattr(sys, "argv", [program, *words])
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(PROGRAMS[program]).main()
    said = capsys.readouterr()
    return stop.value.code, said.out, said.err


def test_there_are_numbers() -> None:
    assert len(NUMBERS) > 40
    assert {program for program, _, _ in NUMBERS} == PROGRAMS.keys()
    assert ("mobile-export", "onnx", "--std") in NUMBERS
    assert ("mobile-bench", "run", "--timeout") in NUMBERS


@pytest.mark.parametrize(("program", "command", "flag"), ONCE.values(), ids=lambda value: value)
def test_no_number_out_of_range_is_taken(
    program: str, command: str, flag: str,
    in_tmp: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    own = WORDS.get(command, ["emo_1m"])
    nms = ["--nms"] if flag.startswith("--nms-") else []
    for value in set(HOSTILE) - ({"-1"} if flag == "--mean" else set()):
        code, _, said = _typed(
            program, [command, *own, *nms, f"{flag}={value}"], monkeypatch, capsys
        )
        assert code == 2, value
        assert said.startswith("error: "), said
        assert flag in said or "is not a list of numbers" in said, said
        assert len(said) < 500
    assert not list(in_tmp.iterdir())


@pytest.mark.parametrize(
    ("program", "words", "said"),
    [
        ("mobile-export", ["onnx"], "Missing argument"),
        ("mobile-export", ["onnx", "emo_1m", "--bogus"], "No such option: --bogus"),
        ("mobile-export", ["onnx", "emo_1m", "--\x1b]0;owned\x07"], r"--\x1b]0;owned\x07"),
        ("mobile-export", ["onyx"], "No such command"),
        ("mobile-bench", ["run"], "Missing argument"),
        ("mobile-bench", ["table", "--as"], "--as"),
    ],
)
def test_what_is_no_command_line(
    program: str, words: list[str], said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One message on stderr, JSON on stdout if it was asked for, no usage text of many lines."""
    code, out, err = _typed(program, words, monkeypatch, capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err
    assert "\x1b" not in err
    assert "--help" in err.splitlines()[-1]
    code, out, _ = _typed(program, [words[0], "--json", *words[1:]], monkeypatch, capsys)
    assert code == 2
    assert json.loads(out)["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    ("program", "words", "meant"),
    [
        ("mobile-bench", ["tabel", "--as", "html"], "mobile-bench table"),
        ("mobile-bench", ["compair", "a", "b"], "mobile-bench compare"),
        ("mobile-export", ["sweep", "dif", "a", "b"], "mobile-export sweep diff"),
    ],
)
def test_what_is_nearly_a_command_is_not_taken_for_a_file(
    program: str, words: list[str], meant: str,
    in_tmp: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    code, _, err = _typed(program, words, monkeypatch, capsys)
    assert code == 2
    first, second = err.splitlines()
    assert "no command" in first
    assert meant + "." in second


def test_an_option_before_everything_is_one_of_run(
    in_tmp: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--device`` is nearly the command ``devices``."""
    code, _, err = _typed("mobile-bench", ["--device", "local", "nothing"], monkeypatch, capsys)
    assert code == 2
    assert "There is no file of nothing" in err


def test_a_file_that_is_called_nearly_as_a_command(
    in_tmp: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is measured, here refused for the lack of its manifest."""
    (in_tmp / "tables.onnx").write_bytes(b"x")
    code, _, err = _typed("mobile-bench", ["tables"], monkeypatch, capsys)
    assert code == 2
    assert "tables.onnx" in err
    assert "no command" not in err


@pytest.mark.parametrize(
    ("words", "said", "others"),
    [
        ("mobile-export ncnn emo_1m --input-dtype=uint8", "has no --input-dtype: a blob is of",
         "onnx, tflite, all"),
        ("mobile-export coreml emo_1m --input-dtype uint8",
         "has no --input-dtype: with --image-input the file takes an image", "onnx, tflite, all"),
        ("mobile-export onnx emo_1m --target ios17", "has no --target: ", "coreml, all"),
        ("mobile-export ncnn emo_1m --nms-iou 0.3", "has no --nms-iou.", "onnx, coreml, tflite"),
        ("mobile-bench table --threads 1", "mobile-bench table has no --threads.", "run"),
    ],
)  # fmt: skip
def test_an_option_of_another_command(
    words: str, said: str, others: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """It is told whose option it is, and why this format has it not."""
    program, *rest = words.split()
    code, _, err = _typed(program, rest, monkeypatch, capsys)
    assert code == 2
    assert said in err
    assert f"\nCommands that have it: {others}" in err


def test_nothing_typed_is_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for program in PROGRAMS:
        _, out, err = _typed(program, [], monkeypatch, capsys)
        assert (out + err).startswith("Usage:")


def test_a_command_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def end(code: int = number(within=Range(0, 5, whole=True), help="It ends with.")) -> None:
        if code == 5:
            raise EOFError("no more")
        raise typer.Exit(code)

    monkeypatch.setattr(sys, "argv", ["end", "--code", "3"])
    assert run_typed(app, help="-h") == 3
    monkeypatch.setattr(sys, "argv", ["end", "--code", "5"])
    with pytest.raises(EOFError, match="no more"):
        run_typed(app, help="-h")


@pytest.mark.parametrize(
    ("group", "commands"), [("sweep", "run, status, diff, report"), ("app", "android, ios")]
)
def test_a_group_without_a_command_names_its_commands(
    group: str,
    commands: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["mobile-export", group])
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(PROGRAMS["mobile-export"]).main()
    assert stop.value.code == 2
    assert f"{group} needs a command: {commands}.\n" in capsys.readouterr().err

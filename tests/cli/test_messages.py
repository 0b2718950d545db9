"""Messages name arguments where they are raised, and options where they are printed.

Tests `mobile_export/cli/messages.py`.
"""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest
import typer

import mobile_export
from mobile_export.bench.cli.main import main as bench_main
from mobile_export.bench.store import append
from mobile_export.cli.main import main as export_main
from mobile_export.cli.messages import flags, said_of_options, typed_error
from mobile_export.errors import MobileExportError, SourceError, UsageError
from mobile_export.exporters.table import FORMATS
from tests.bench.examples import measurement


@pytest.mark.parametrize(
    ("raised", "printed"),
    [
        ("`size` is 0x3.", "--size is 0x3."),
        ("`num_classes` is 0.", "--num-classes is 0."),
        ('give a file with `weights="FILE"`.', "give a file with --weights FILE."),
        ("add `allow_missing=True`", "add --allow-missing"),
        ("`iou_threshold` 2 is out of range.", "--nms-iou 2 is out of range."),
        ("`no_passes` leaves it out", "--no-pass leaves it out"),
        ("`image_input` and `classifier`", "--image-input and --classifier"),
        ("`normalise` is a function of yours", "`normalise` is a function of yours"),
    ],
)
def test_arguments_become_options(raised: str, printed: str) -> None:
    assert said_of_options(raised) == printed


def test_json_values_are_translated_too() -> None:
    facts = [{"error": "`size` is odd", "hint": None, "count": 3}]
    assert said_of_options(facts) == [{"error": "--size is odd", "hint": None, "count": 3}]


def test_an_error_keeps_its_exit_code() -> None:
    class Failed(SourceError):
        exit_code = 1

    said = typed_error(Failed("`size` is odd.", hint="Leave `size` out."))
    assert isinstance(said, MobileExportError)
    assert (said.message, said.hint, said.exit_code) == ("--size is odd.", "Leave --size out.", 1)
    assert typed_error(UsageError("No.")).hint is None


PACKAGE = Path(mobile_export.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
NO_ARGUMENTS = {"example", "forward", "if"}
"""Names in backticks that a message means as code"""
OF_OTHERS = {"--install", "--nthreads", "--resources"}
"""Options of other programs: xcode-select, dask worker"""


def constants(tree: ast.AST) -> list[tuple[int, str]]:
    """Texts of a module without docstrings, and without what `system.options.option` is given."""
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(id(node.value))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("option", "argument"):
            left_out |= {id(each) for each in ast.walk(node)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in left_out
    ]


def messages(tree: ast.AST) -> list[tuple[int, str]]:
    """Texts of what errors are given: `SomethingError(...)`, and every ``hint``."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error"):
            leaves = [each for each in ast.walk(node) if isinstance(each, ast.Constant)]
            found += [(leaf.lineno, leaf.value) for leaf in leaves if isinstance(leaf.value, str)]
    return found


@cache
def every_option(tool: str) -> set[str]:
    if tool == "mobile-export":
        from mobile_export.cli.main import app
    else:
        from mobile_export.bench.cli.main import app
    commands = [typer.main.get_command(app)]
    for command in commands:  # a group's own, such as `app android`, are added as it goes
        commands += getattr(command, "commands", {}).values()
    return {name for command in commands for p in command.params for name in p.opts} | {"--help"}


def rooms(*names: str) -> list[Path]:
    return [file for file in FILES if file.relative_to(PACKAGE).parts[0] in names]


OURS = [file for file in FILES if file not in rooms("cli", "bench", "sweep")]


@pytest.mark.parametrize("file", OURS, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_options_are_named_by_command_lines_only(file: Path) -> None:
    found = [text for text in constants(ast.parse(file.read_text())) if OPTION.search(text[1])]
    assert found == []


@pytest.mark.parametrize("tool", ["mobile-export", "mobile-bench"])
def test_every_option_that_a_message_names_exists(tool: str) -> None:
    files = rooms("cli", "sweep") if tool == "mobile-export" else rooms("bench")
    known = every_option(tool) | every_option("mobile-export") | OF_OTHERS
    for file in files:
        for line, text in messages(ast.parse(file.read_text())):
            assert set(OPTION.findall(text)) <= known, f"{file}:{line}"


EXISTING = {
    "mobile-export": [
        *(
            f"{name} emo_1m -o . --name x"
            for name in ("onnx", "coreml", "tflite", "ncnn", "tnn", "all")
        ),
        "prepare emo_1m -o x.pt2",
        "matrix emo_1m -o x.json",
    ],
    "mobile-bench": [
        "table --store s.jsonl -o x.md",
        "table --store s.jsonl --plot x.svg",
        "prepare-qemu --folder .",
        "run x.onnx --store x.md",
        "queue x.onnx --store x.md",
    ],
}


@pytest.mark.parametrize(
    ("tool", "line"), [(tool, line) for tool, lines in EXISTING.items() for line in lines]
)
def test_what_exists_is_said_in_options(
    tool: str, line: str,
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """No command that writes tells a person of ``force=True``, and each names what can be typed."""
    names = [f"x{row.suffix}" for row in FORMATS] + ["x.pt2", "x.json", "x.md", "x.svg"]
    for name in names:
        (in_tmp / name).write_text("mine")
    append(in_tmp / "s.jsonl", measurement())
    monkeypatch.setattr(sys, "argv", [tool, *line.split()])
    with pytest.raises(SystemExit) as stop:
        (export_main if tool == "mobile-export" else bench_main)()
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.startswith("error: ")
    assert "`" not in said
    assert set(OPTION.findall(said)) <= every_option(tool)
    assert re.search(r"--force|--store|--folder|-o\b", said), said
    assert all((in_tmp / name).read_text() == "mine" for name in names)


def test_every_argument_that_a_message_names_is_an_option() -> None:
    """So every hint, translated, names an option that some command has."""
    assert set(flags().values()) <= every_option("mobile-export")
    for file in OURS:
        for line, text in messages(ast.parse(file.read_text())):
            named = {found[1] for found in re.finditer(r"`([a-z_]+)(?:=[^`]*)?`", text)}
            assert named <= set(flags()) | NO_ARGUMENTS, f"{file}:{line}"

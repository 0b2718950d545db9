"""Messages name arguments where they are raised, and options where they are printed."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import typer

import mobile_export
from mobile_export.cli.messages import flags, said_of_options, typed_error
from mobile_export.errors import MobileExportError, SourceError, UsageError


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
OF_OTHERS = {"--install"}
"""Options of other programs: xcode-select"""


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
    group = typer.main.get_command(app)
    commands = [group, *group.commands.values()]  # type: ignore[attr-defined]
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


def test_every_argument_that_a_message_names_is_an_option() -> None:
    """So every hint, translated, names an option that some command has."""
    assert set(flags().values()) <= every_option("mobile-export")
    for file in OURS:
        for line, text in messages(ast.parse(file.read_text())):
            named = {found[1] for found in re.finditer(r"`([a-z_]+)(?:=[^`]*)?`", text)}
            assert named <= set(flags()) | NO_ARGUMENTS, f"{file}:{line}"

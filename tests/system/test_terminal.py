"""What files and devices say is shown, never obeyed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mobile_export.errors import ArtifactError
from mobile_export.system.tables import plain_table
from mobile_export.system.terminal import (
    Progress,
    escape,
    print_error,
    printable,
    stdout_console,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 \u00a0", "plain é 漢 \u00a0"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("\u202ecod\u2028", r"\u202ecod\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_markup_in_a_name_is_text() -> None:
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, color_system="truecolor", highlight=False).print(
        escape("[red]x[/red]\x1b[31m")
    )
    assert stream.getvalue() == "[red]x[/red]\\x1b[31m\n"


def test_a_message_keeps_its_lines_only(capsys: pytest.CaptureFixture[str]) -> None:
    """What is indented, that is; other lines are of a name, and could be a command to type."""
    print_error(ArtifactError("\x1b[2Jone\n  two\nRun: x", hint="a\nb\x07"))
    assert capsys.readouterr().err == "error: \\x1b[2Jone\n  two\\nRun: x\na\nb\\x07\n"


def test_a_name_between_colons_is_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    """rich would make one of ``:two:``; a model is named ``module:factory``."""
    print_error(ArtifactError("made from m:two: code", hint="m:two:"))
    assert capsys.readouterr().err == "error: made from m:two: code\nm:two:\n"
    stdout_console().print(escape("m:two: at 224x224"))
    table = plain_table("model", names=("model",))
    table.add_row("m:two:")
    stdout_console().print(table)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "m:two: at 224x224",
        "model",
        "m:two:",
    ]


def test_a_line_that_is_said_stays_and_the_stage_goes() -> None:
    from rich.progress import Progress as Bar
    from rich.progress import TextColumn, TimeElapsedColumn

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60, color_system=None)
    columns = (TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=console, transient=True, auto_refresh=False) as bar:
        progress = Progress(bar)
        progress("2 of 5: [/no]")
        bar.refresh()
        progress.say("passed one.onnx")
    text = stream.getvalue()
    assert "0:00:00 2 of 5: [/no]" in text
    assert "passed one.onnx\n" in text
    Progress().say("nowhere")
    Progress()("nowhere")

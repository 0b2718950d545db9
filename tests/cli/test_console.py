"""Names from files on the terminal: nothing in them is obeyed. Tests cli/console.py."""

from __future__ import annotations

from typing import Any

import pytest

from mobile_export.cli.console import print_facts
from mobile_export.system.terminal import stderr_console, stdout_console

HOSTILE = [
    "\x1b[31m",
    "\x1b]0;t\x07",
    "\x9b31m",
    "a\u202eb",
    "z\u200bw",
    "a\nb\r",
    "[/no]",
    "\u2028",
]


def is_safe(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_what_inspect_found(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts: dict[str, Any] = dict.fromkeys(("file", "format", "version", "precision"), name)
    item = {"name": name, "shape": [name, None, 3], "dtype": name}
    print_facts(facts | {"bytes": 1, "inputs": [item], "outputs": [item], "ops": {name: 1}})
    said = capsys.readouterr().out
    assert is_safe(said)
    assert len(said.strip().split("\n")) == 7


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_what_somebody_forgot_to_escape(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for console in (stdout_console(), stderr_console()):
        console.print(name, markup=False)
    said = capsys.readouterr()
    assert is_safe(said.out)
    assert is_safe(said.err)

"""What ``mobile-export run`` prints: an answer in words, that of several machines side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.tables import plain_table
from ..system.terminal import escape, stderr_console, stdout_console

if TYPE_CHECKING:
    from ..answers.decode import Answer, Result
    from ..answers.machine import Machine
    from ..answers.prepare import Prepared

__all__ = ["print_answers", "print_notes"]

_MOST = 20
"""Lines of objects or regions."""


def print_answers(
    picture: Path, answers: Sequence[tuple[Machine, tuple[Answer, Prepared]]]
) -> None:
    """The answers on one picture, a column for each machine."""
    out = stdout_console()
    prepared = answers[0][1][1]
    size = "{}x{}".format(*prepared.size)
    out.print(escape(f"{picture} ({size}): {prepared.rule}"), soft_wrap=True)
    table = plain_table(*(escape(f"{each.name} ({each.runtime})") for each, _ in answers))
    columns = [_lines(answer) for _, (answer, _) in answers]
    for row in zip_longest(*columns, fillvalue=""):
        table.add_row(*map(escape, row))
    out.print(table)
    for machine, (answer, _) in answers:
        for note in answer.notes:
            stderr_console().print(f"[yellow]note:[/] {escape(f'{machine.name}: {note}')}")


def print_notes(machines: Sequence[Machine]) -> None:
    """What a reader has to know of the machines, each sentence once with the names of those that it
    is about."""
    for note in dict.fromkeys(note for each in machines for note in each.notes):
        names = ", ".join(each.name for each in machines if note in each.notes)
        stderr_console().print(f"[yellow]note:[/] {escape(f'{names}: {note}')}", soft_wrap=True)


def _lines(answer: Answer) -> list[str]:
    """An answer, a line for each thing that it says."""
    from ..answers.draw import said

    if answer.classes:
        return [f"{each.score:7.2%}  {said(each)}" for each in answer.classes]
    if answer.regions:
        lines = [f"{each.share:7.2%}  {said(each)}" for each in answer.regions]
        return _cut(lines, "regions")
    lines = []
    for each in answer.objects:
        assert each.box is not None
        edges = ", ".join(f"{edge:.0f}" for edge in each.box)
        lines.append(f"{each.score:7.2%}  {said(each)}  [{edges}]")
    if lines:
        return _cut(lines, "objects")
    if any(each.meaning == "boxes" for each in answer.results):
        return ["no object"]
    return [_numbers(each) for each in answer.results]


def _numbers(result: Result) -> str:
    """Shape, range and meaning of an output."""
    low, high = result.range or (None, None)
    said = "no numbers" if low is None else f"{low:.4g} to {high:.4g}"
    meaning = f" ({result.meaning})" if result.meaning else ""
    return f"{result.name} {list(result.value.shape)}: {said}{meaning}"


def _cut(lines: list[str], what: str) -> list[str]:
    left = len(lines) - _MOST
    return lines if left <= 0 else [*lines[:_MOST], f"and {left} more {what}"]

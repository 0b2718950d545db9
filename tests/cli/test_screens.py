"""Screens on terminals of 80, 100 and 120 columns. Tests system/tables.py and what prints with it.

The pictures in data/screens are rewritten by ``python -m tests.cli.screens``; read them before you
keep them.
"""

from __future__ import annotations

import re

import pytest

from mobile_export.system.tables import plain_table
from mobile_export.system.terminal import stdout_console
from tests.cli.screens import FOLDER, SCREENS, WIDTHS, bench_rows, shown


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_as_it_was(name: str, width: int) -> None:
    assert shown(SCREENS[name], width) == (FOLDER / f"{name}-{width}.txt").read_text()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCREENS)
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(name: str, width: int) -> None:
    text = shown(SCREENS[name], width)
    said = {"doctor": ("to get one:",)}.get(name, ())  # lines that the terminal itself may break
    lines = [line for line in text.splitlines() if not any(mark in line for mark in said)]
    assert max(map(len, lines)) <= width
    assert "…" not in text


@pytest.mark.parametrize("width", [40, 60, *WIDTHS, 200])
def test_a_bench_table_keeps_its_figures(width: int) -> None:
    text = shown(SCREENS["bench"], width)
    for row in bench_rows():
        assert re.search(rf"{row.median_ms:,.2f}\s+±{row.half_width:.1%}", text)


def test_what_all_lines_share_stands_above_and_differences_stay() -> None:
    above, *table = shown(SCREENS["bench"], 120).splitlines()
    assert above == "type: fp32, device: local, threads: 1, output: ok"
    assert "runs in" in table[0]  # two runtimes
    assert "contended: its threads did not have a core each, all the time" in "\n".join(table)


def test_a_column_without_room_is_named() -> None:
    def screen() -> None:
        table = plain_table("name", "one", "two", right=("one", "two"), spare=("two", "one"))
        table.add_row("x" * 30, "1" * 20, "2" * 20)
        stdout_console().print(table)

    assert "No room" not in shown(screen, 100)
    assert shown(screen, 50).endswith("No room here for: two.\n")
    assert "1" * 20 in shown(screen, 50)
    assert shown(screen, 30).endswith("No room here for: one, two.\n")


def test_a_name_stays_in_one_line_rather_than_a_spare_column() -> None:
    def screen() -> None:
        table = plain_table(
            "file", "runs in", "spare", right=("spare",), names=("file",), spare=("spare",)
        )
        table.add_row("mobilenetv3_050.mlpackage", "evaluator " * 4, "2" * 20)
        stdout_console().print(table)

    assert "mobilenetv3_050.mlpackage " in shown(screen, 64)
    assert shown(screen, 64).endswith("No room here for: spare.\n")
    assert "No room" not in shown(screen, 80)


def test_a_figure_is_wider_than_the_terminal_rather_than_cut() -> None:
    def screen() -> None:
        table = plain_table("name", "figure", right=("figure",))
        table.add_row("a name", "123456789.123456789")
        stdout_console().print(table)

    assert "123456789.123456789" in shown(screen, 20)


def test_markup_of_cells_is_not_counted() -> None:
    def screen() -> None:
        table = plain_table("state")
        table.add_row("[bold red]failed[/]")
        stdout_console().print(table)

    assert shown(screen, 80) == "state\nfailed\n"

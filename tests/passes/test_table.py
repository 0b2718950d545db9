"""The table of passes: its rows, what a choice of them gives, and what cannot be left out."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

import mobile_export.passes as room
from mobile_export.errors import UsageError
from mobile_export.exporters.table import FORMATS
from mobile_export.passes.table import PASSES, ROWS, notes_on, select_passes, stage_of


def test_every_pass_has_one_row_and_a_reason() -> None:
    """A module of the room that holds a function of its own name is a pass."""
    found = set()
    for module in pkgutil.iter_modules([str(Path(room.__file__).parent)]):
        loaded = importlib.import_module(f"{room.__name__}.{module.name}")
        function = getattr(loaded, module.name, None)
        if callable(function) and function.__annotations__.get("return") == "PassResult":
            found.add(function)
    assert {row.function for row in ROWS} == found
    assert len(ROWS) == len(found)
    assert all(len(row.why.split()) > 4 for row in ROWS)


def test_stages_stand_in_the_order_in_which_they_run() -> None:
    stages = [row.stage for row in ROWS]
    assert stages == sorted(stages, key=["shared", "rounds", "last"].index)


@pytest.mark.parametrize("row", FORMATS, ids=lambda row: row.name)
def test_formats_choose_passes_that_exist(row) -> None:  # type: ignore[no-untyped-def]
    chosen = {function.__name__ for function in select_passes(row.passes.without, row.passes.add)}
    assert set(row.passes.add) <= chosen
    assert not set(row.passes.without) & chosen


def test_chosen_passes_keep_the_order_of_the_table() -> None:
    chosen = select_passes(["fold_norms"], ["split_depthwise", "limit_rank"])
    assert list(chosen) == [row.function for row in ROWS if row.function in chosen]
    names = [function.__name__ for function in chosen]
    assert len(names) == len(PASSES) + 1
    assert "fold_norms" not in names
    assert stage_of(chosen[-1]) == "last"


@pytest.mark.parametrize("choice", [{"without": ["fold_normz"]}, {"extra": ["fold_normz"]}])
def test_unknown_names(choice: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match="no pass 'fold_normz'") as caught:
        select_passes(**choice)
    assert "fold_norms" in (caught.value.hint or "")


def test_normalize_ops_always_runs_and_says_so() -> None:
    assert select_passes(["normalize_ops"]) == select_passes()
    (note,) = notes_on(["normalize_ops", "fold_norms", "normalize_ops"])
    assert note.startswith("normalize_ops always runs")
    assert note.endswith("leaving it out does nothing.")
    assert notes_on(["fold_norms"]) == ()

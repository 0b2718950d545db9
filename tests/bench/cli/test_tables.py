"""`mobile-bench table`: it says what it wrote, and why something is empty."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobile_export.bench.cli.main import main
from tests.bench.examples import measurement

Table = Callable[..., tuple[str, str]]


@pytest.fixture
def table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_tmp: Path
) -> Table:
    """Run ``table`` on a store that holds these measurements: stdout and stderr."""

    def run(*words: str, store: list[Any]) -> tuple[str, str]:
        lines = (json.dumps(each.to_dict()) for each in store)
        Path("mobile-bench.jsonl").write_text("".join(f"{line}\n" for line in lines))
        monkeypatch.setattr(sys, "argv", ["mobile-bench", "table", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        said = capsys.readouterr()
        return said.out, said.err

    return run


@pytest.mark.parametrize(
    "words", [(), ("--as", "markdown"), ("--as", "csv"), ("--paper",)], ids=str
)
def test_an_empty_table_says_why(table: Table, words: tuple[str, ...]) -> None:
    _, err = table(*words, store=[measurement(flags=("contended",))])
    assert "The table is empty: what was measured is flagged (1 contended)" in err
    _, err = table(*words, "--label", "mine", store=[measurement(label="yours")])
    assert "no measurement of the store has the label 'mine'; it has yours" in err
    _, err = table(*words, store=[measurement()])
    assert "empty" not in err


def test_an_empty_page_says_why_and_that_it_was_written(table: Table) -> None:
    out, err = table("--as", "html", "-o", "r.html", store=[measurement(flags=("throttled",))])
    assert out == ""
    assert "r.html written" in err
    page = Path("r.html").read_text()
    assert "is flagged (1 throttled)" in page
    assert "<table>" not in page
    out, err = table("--json", "-o", "r.json", store=[measurement()])
    assert (out, "r.json written" in err) == ("", True)


def test_a_plot_without_measured_points_says_why(table: Table) -> None:
    pytest.importorskip("matplotlib")
    _, err = table("--plot", "p.svg", store=[measurement(model="mynet:build")])
    assert "p.svg written" in err
    assert "no accuracy (top-1) is published of mynet:build at 224x224" in " ".join(err.split())
    _, err = table("--plot", "q.svg", store=[measurement()])
    assert "no measured point" not in err


def test_a_metric_that_nobody_has_is_refused(
    table: Table, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a plot, too; the user's own may have any name."""
    Path("own.csv").write_text("model,accuracy,metric\nemo_2m,40,box AP\n")
    table("--metric", "box AP", "--accuracy", "own.csv", store=[measurement()])
    for metric in ("banana", "box AP"):
        monkeypatch.setattr(sys, "argv", ["mobile-bench", "table", "--metric", metric])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr().err
        assert (stop.value.code, f"the accuracy {metric!r}" in said) == (2, True)
        assert "Valid: --metric mIoU, top-1" in said


def test_the_page_has_date_machine_versions_and_parity(table: Table) -> None:
    parity = {
        "verdict": "passed", "max_rel": 1.8e-6, "tolerance": 1e-5, "runtime": "onnxruntime 1.31.1"
    }  # fmt: skip
    made = measurement(parity=parity, versions={"mobile-export": "0.1", "torch": "2.14.1"})
    page, _ = table("--as", "html", store=[made])
    for fact in (
        "2026-11-21 00:00", "SoC &amp; Co", "4.0 GiB", "torch 2.14.1", "Written by mobile-export",
        "passed in onnxruntime 1.31.1: error 1.8e-06 of the output range, 1.0e-05 allowed",
    ):  # fmt: skip
        assert fact in page
    strange = measurement(parity={"verdict": "<b>", "max_rel": "x", "tolerance": None})
    page, _ = table("--as", "html", store=[strange])
    assert "&lt;b&gt;: error not told" in page

"""examples/sweep.toml, ten models, on a real cluster of two processes; then its page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mobile_export.cli.main import main

pytest.importorskip("distributed")
SPEC = Path(__file__).parents[2] / "examples" / "sweep.toml"


def typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[object, str]:
    """Exit code and stdout."""
    monkeypatch.setattr(sys, "argv", ["mobile-export", "sweep", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, capsys.readouterr().out


@pytest.mark.slow
def test_the_example(
    in_tmp: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out = typed(capsys, monkeypatch, str(SPEC), "--on", "dask:2", "--json")
    facts = json.loads(out)
    assert (code, facts["counts"], facts["problems"]) == (0, {"passed": 10}, [])
    assert len({row["model"] for row in facts["results"]}) == 10
    workers = {row["result"]["worker"] for row in facts["results"]}
    assert len(workers) == 2, "both processes had a part in it"
    for row in facts["results"]:
        (step,) = row["result"]["steps"]
        assert step["error"] <= step["tolerance"] <= 1e-4
    code, out = typed(capsys, monkeypatch, str(SPEC), "--on", "dask:1", "--json")
    again = json.loads(out)
    assert (code, again["added"], again["results"]) == (0, 0, facts["results"])
    assert typed(capsys, monkeypatch, "report", "sweep.sqlite", "-o", "page.html")[0] == 0
    page = (in_tmp / "page.html").read_text()
    assert page.count('class="passed"') == 10

"""`mobile-export sweep`, as it is typed. Tests cli/sweep.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mobile_export.cli.main import main
from mobile_export.sweep.job import Measured
from mobile_export.sweep.ledger import open_ledger
from mobile_export.sweep.models import _hashed
from tests.sweep.jobs import make_job, make_result
from tests.sweep.test_run import NETS

pytest.importorskip("onnxruntime")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sweep(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Typed:
    """Run the command in this process (its cells are processes): exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mobile-export", "sweep", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, said.out, said.err

    return run


def write(folder: Path, *names: str, more: str = "") -> None:
    listed = json.dumps(names)
    (folder / "s.toml").write_text(
        f'formats = ["onnx"]\n{more}[[models]]\nnames = {listed}\nsizes = [32]\n'
    )


def test_a_sweep_runs_goes_on_and_is_compared(folder: Path, sweep: Typed) -> None:
    """An export, nothing to do, then worse code of the same name."""
    write(folder, "nets:Mean")
    code, out, err = sweep("s.toml", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["counts"], facts["added"]) == ({"passed": 1}, 1)
    step = facts["results"][0]["result"]["steps"][0]
    assert step["error"] <= step["tolerance"] <= 1e-4
    assert step["bytes"] > 0
    again = json.loads(sweep("run", "s.toml", "--json")[1])
    assert (again["run"], again["added"], again["results"]) == (2, 0, facts["results"])
    (folder / "nets.py").write_text(NETS.replace("return x.mean((2, 3))", "raise ValueError(x)"))
    _hashed.cache_clear()
    code, out, _ = sweep("s.toml", "--json")
    assert (code, json.loads(out)["added"]) == (1, 1), "the code has changed"
    code, out, _ = sweep("diff", "s.sqlite@2", "s.sqlite", "--json")
    assert code == 1
    (change,) = json.loads(out)["changes"]
    assert (change["what"], change["model"]) == ("failure", "nets:Mean 32")
    assert change["after"].startswith("refused: ")
    assert sweep("diff", "s.sqlite@1", "s.sqlite@2")[0] == 0
    assert json.loads(sweep("status", "s.sqlite@1", "--json")[1])["results"] == facts["results"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kill_of_the_client(folder: Path, sweep: Typed) -> None:
    """kill -9: its processes are gone, and the store is whole and has no result."""
    write(folder, "nets:hang", more="time_limit = 600\n")
    process = subprocess.Popen([sys.executable, "-m", "mobile_export", "sweep", "s.toml"])
    while not (folder / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while subprocess.run(["pgrep", "-f", "nets:hang"], capture_output=True).stdout:
        assert time.monotonic() < end, "the cell outlived its sweep"
        time.sleep(0.05)
    code, out, _ = sweep("status", "s.sqlite", "--json")
    assert (code, json.loads(out)["counts"]) == (3, {"no result": 1})


def stored(path: Path, *results: Any) -> None:
    with open_ledger(path, write=True) as ledger:
        jobs = [make_job(f"m{n}") for n in range(len(results))]
        ledger.begin("tried", jobs, "1")
        ledger.add(make_result(job, **given) for job, given in zip(jobs, results, strict=True))


def test_regressions_decide_the_exit_code(folder: Path, sweep: Typed) -> None:
    def ms(low: float, high: float) -> Any:
        return (Measured("ort cpu", "ms", (low + high) / 2, low, high),)

    stored(folder / "a.sqlite", {"measured": ms(1, 1.1)}, {"size": 1000}, {})
    stored(folder / "b.sqlite", {"measured": ms(1.2, 1.3)}, {"size": 2000}, {"status": "failed"})
    code, out, _ = sweep("diff", "a.sqlite", "b.sqlite")
    assert code == 1
    for word in ("slower", "larger", "failure", "1.05 ms (1 to 1.1)", "2,000 bytes"):
        assert word in out
    assert "3 cells compared, 3 regressions" in out
    assert sweep("diff", "b.sqlite", "a.sqlite")[0] == 0
    larger = json.loads(sweep("diff", "a.sqlite", "b.sqlite", "--larger", "2", "--json")[1])
    assert larger["regressions"] == 2


def test_hostile_texts_are_spelled_out(folder: Path, sweep: Typed) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[red]"
    job = msgspec.structs.replace(make_job("m"), model=evil, model_words=(evil,))
    with open_ledger(folder / "a.sqlite", write=True) as ledger:
        ledger.begin(evil, [job], evil)
        ledger.add([make_result(job, "failed", reason=evil)])
    for words in (["status", "a.sqlite"], ["diff", "a.sqlite", "a.sqlite"]):
        assert "\x1b" not in sweep(*words)[1]


def test_mistakes_are_one_message(folder: Path, sweep: Typed) -> None:
    write(folder, "emo_1n")
    code, _, err = sweep("s.toml")
    assert code == 2
    assert err.startswith("error: s.toml, line 3: neither the zoo nor timm has a model 'emo_1n'.")
    assert "Did you mean emo_1m" in err
    assert sorted(path.name for path in folder.iterdir()) == ["nets.py", "s.toml"]
    assert sweep("status", "s.sqlite")[0] == 2

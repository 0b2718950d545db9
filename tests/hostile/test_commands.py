"""Hostile files through every command: the promises of the README and of docs/security.md.

One assertion for all of them, `tests.hostile.sandbox.faults`. A small sample runs always;
``pytest tests/hostile/test_commands.py -m matrix --hostile-seed N`` runs thousands (20 minutes of a
core). Some of them, or one again:

    python -m tests.hostile.goods GOODS
    python -m tests.hostile.sandbox GOODS SCRATCH SEED COUNT FIRST
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobile_export.bench.cli.main import app as bench
from mobile_export.cli.main import app as export
from mobile_export.exporters.table import FORMATS
from mobile_export.pipeline import ExportReport
from tests.hostile.commands import BENCH, EXPORT, NO_FILES, SLOTS, typed_commands, typed_paths
from tests.hostile.corpus import KINDS, RANDOM, Corpus
from tests.hostile.goods import make_goods
from tests.hostile.sandbox import Case, Ended, cases, faults

ROOT = Path(__file__).parents[2]
FEW, MANY = 24, 2000
pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks")


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory, exported: Callable[..., ExportReport]) -> Path:
    reports = [exported(row.name) for row in FORMATS if not row.missing()]
    return make_goods(tmp_path_factory.mktemp("goods"), reports)


def test_every_command_has_its_rows() -> None:
    """A new command, argument or path is given hostile files too, or this fails."""
    found = {*typed_paths(EXPORT, export), *typed_paths(BENCH, bench)}
    assert found == {slot.key for slot in SLOTS}
    commands = {
        (program, command)
        for program, app in ((EXPORT, export), (BENCH, bench))
        for command, _ in typed_commands(app)
    }
    assert commands - {key[:2] for key in found} == NO_FILES
    assert {kind for slot in SLOTS for kind in slot.kinds} <= KINDS.keys()
    assert KINDS.keys() == RANDOM.keys()


def test_the_corpus_is_the_same_every_time(goods: Path, tmp_path: Path) -> None:
    corpus = Corpus(goods)
    for kind in ("artifact", "checkpoint", "program", "store"):
        for seed in (*range(len(KINDS[kind]), len(KINDS[kind]) + 3), 10**6):
            made = []
            for turn in "ab":
                folder = tmp_path / f"{kind}-{seed}-{turn}"
                folder.mkdir()
                path, _ = corpus.make(kind, seed, folder)
                made.append({f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()})
            assert path.name in made[0] or path.is_dir()
            assert made[0].keys() == made[1].keys()
    assert list(cases(3, 50)) == list(cases(3, 50))


def _run(
    goods: Path, scratch: Path, seed: int, count: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """The faults of ``count`` cases; ``tell`` is given what the sandbox says meanwhile."""
    words = [sys.executable, "-m", "tests.hostile.sandbox", str(goods), str(scratch), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (scratch / "found.json").open("w+") as answer:
        child = subprocess.Popen(
            [*words, str(count)], stdout=answer, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env=environment,
        )  # fmt: skip
        assert child.stderr is not None
        said = []
        for line in child.stderr:
            said.append(line)
            tell(line)
        assert child.wait() == 0, "".join(said)[-3000:]
        answer.seek(0)
        found: dict[str, Any] = json.loads(answer.read().splitlines()[-1])
        return found


def test_a_few_hostile_files(goods: Path, tmp_path: Path) -> None:
    found = _run(goods, tmp_path, 0, FEW, lambda line: None)
    assert found["wrong"] == []
    assert found["codes"].get("2", 0) > FEW / 3, "most of them are refused"


@pytest.mark.matrix
def test_thousands_of_hostile_files(
    goods: Path,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says how far it is, and every fault at once."""

    def tell(line: str) -> None:
        with capsys.disabled():
            sys.stderr.write(line)

    found = _run(goods, tmp_path, pytestconfig.getoption("--hostile-seed"), MANY, tell)
    assert found["wrong"] == []


def _ended(**changes: Any) -> Ended:
    facts: dict[str, Any] = {
        "code": 2, "output": b"", "messages": b"error: x is damaged.\n", "seconds": 1.0,
        "memory": 1000, "words": [], "made": "",
    }  # fmt: skip
    return Ended(**facts | changes)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"code": 0, "messages": b""}, None),
        ({"code": -11}, "exit code -11"),
        ({"code": 70}, "exit code 70"),
        ({"messages": b""}, "0 messages"),
        ({"messages": b"error: a\nerror: b\n"}, "2 messages"),
        ({"code": 0}, "exit code 0"),
        ({"messages": b"error: mobile-export itself failed: x\n"}, "a bug of ours"),
        ({"messages": b"error: Traceback (most recent call last):\n"}, "a traceback"),
        ({"messages": b"error: \x1b[2J\n"}, "control characters"),
        ({"messages": b"error: \xff\n"}, "not UTF-8"),
        ({"canary": True}, "executed"),
        ({"untrue": "passed, but the error is 1"}, "passed"),
        ({"seconds": 1000.0}, "1000 seconds"),
        ({"memory": 10**8}, "MiB"),
        ({"changed": ["here/x"]}, "outside"),
        ({"changed": ["in/x"]}, "outside"),
        ({"left": [".mobile-export-1"]}, "hidden"),
        ({"left": ["x.onnx"]}, "and files"),
        ({"code": 1, "messages": b"", "left": ["x.onnx"]}, "without a manifest"),
    ],
)
def test_what_is_a_fault(changes: dict[str, Any], fault: str | None) -> None:
    slot = next(slot for slot in SLOTS if slot.key == (EXPORT, "inspect", "file"))
    found = faults(Case(slot, "artifact", 0), _ended(**changes))
    if fault is None:
        assert found == []
    else:
        assert any(fault in each for each in found), found

"""The README's blocks, run top to bottom in one folder that was empty.

A block under a paragraph that says ``**Needs** …`` needs what not everybody has (the network, a
checkpoint, a checkout) and is not run; the paragraph says so to the reader, too. Of blocks that
show a screen (``console``), the lines behind ``$`` are run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mobile_export.exporters.table import FORMATS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOOLS = {"mobile-export": "mobile_export", "mobile-bench": "mobile_export.bench.cli.main"}


def blocks(text: str) -> list[tuple[str, str, bool]]:
    """(language, what it runs, whether it needs something) of every block."""
    found = []
    for match in _FENCE.finditer(text):
        before = re.sub(r"<!--.*?-->", "", text[: match.start()], flags=re.DOTALL)
        paragraph = before.rstrip().rpartition("\n\n")[2]
        language, body = match.groups()
        if language == "console":
            lines = (line[2:] for line in body.splitlines() if line.startswith("$ "))
            body = "\n".join(lines) + "\n"
        found.append((language, body, "**Needs** " in paragraph))
    return found


def test_blocks_are_told_apart() -> None:
    text = (
        "**Needs** a phone:\n\n<!-- x -->\n```sh\none\n```\n\nb\n\n```console\n$ two\nsaid\n```\n"
    )
    assert blocks(text) == [("sh", "one\n", True), ("console", "two\n", False)]
    found = blocks(README.read_text("utf-8"))
    assert {language for language, _, _ in found} <= {"sh", "console", "python"}
    assert sum(needs for _, _, needs in found) == 3
    assert sum(not needs for _, _, needs in found) >= 4


LIGHT = re.compile(r"mobile-export (list|info|doctor)\b")
"""Commands that export nothing."""


@pytest.fixture
def run_as_printed(tmp_path: Path) -> Callable[[str, str], str]:
    """Runs a block (its language, its text) in one folder that was empty; what it prints."""
    missing = [row.title for row in FORMATS if row.missing()]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    tools, folder = tmp_path / "bin", tmp_path / "empty"
    tools.mkdir()
    folder.mkdir()
    for name, module in TOOLS.items():
        script = f'#!/bin/sh\nexec "{sys.executable}" -P -m {module} "$@"\n'
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    home = {"HOME": str(tmp_path), "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": paths}

    def run(language: str, body: str) -> str:
        words = [sys.executable, "-c", body] if language == "python" else ["bash", "-exc", body]
        started = time.monotonic()
        done = subprocess.run(
            words, cwd=folder, env={**os.environ, **home}, capture_output=True, text=True
        )
        print(f"{time.monotonic() - started:.0f} s: {body}")
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    return run


@pytest.mark.skipif(os.name != "posix", reason="runs a shell")
def test_what_is_fast_runs_as_printed(run_as_printed: Callable[[str, str], str]) -> None:
    """Your own code, as it is written there, and every command that exports nothing."""
    found = [body for _, body, needs in blocks(README.read_text("utf-8")) if not needs]
    (own,) = [body for body in found if body.startswith("cat > mynet.py")]
    said = run_as_printed("sh", own)
    assert said.count("passed") == 2
    light = [line for body in found for line in body.splitlines() if LIGHT.match(line)]
    assert len(light) >= 4
    said = run_as_printed("sh", "\n".join(light))
    assert "emo_2m" in said


@pytest.mark.matrix
@pytest.mark.skipif(os.name != "posix", reason="runs a shell")
def test_every_block_runs_as_printed(run_as_printed: Callable[[str, str], str]) -> None:
    """20 exports: 6 minutes where nothing else runs."""
    for language, body, needs in blocks(README.read_text("utf-8")):
        if not needs:
            run_as_printed(language, body)

"""A terminal obeys nothing that stands in a name: each command that shows one, on a terminal.

Names are those of files, of tensors inside them, of models, of folders on the path and of rows in
lists and stores. Colours and the progress line are ours; what the names hold is spelled out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mobile_export.pipeline import ExportReport
from tests.bench.examples import measurement

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")

EVIL = "\x1b]0;owned\x07\x1b[2J\u202e\u2028[blink]"
"""Sets the title, clears the screen, turns the writing around, breaks the line, is rich's markup"""
OURS = re.compile(rb"\x1b\[(\?25[lh]|[0-9;]*m|[0-9]*[AK]|2K)|[\r\n]|\x1b\]8;[^\x1b]*\x1b\\")
"""What rich writes itself: colours, the cursor, lines that are replaced"""
NET = """
from tests.conftest import make_source

def build():
    return make_source().module
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, exported: Callable[..., ExportReport]) -> Path:
    """An ONNX file with an evil name, and evil names in it; lists and stores of such names."""
    onnx = pytest.importorskip("onnx")
    here = tmp_path_factory.mktemp("evil")
    good = exported("onnx").artifacts[0].path
    assert good is not None
    model = onnx.load(str(good))
    old = model.graph.output[0].name
    for node in model.graph.node:
        node.name += EVIL
        node.output[:] = [EVIL if name == old else name for name in node.output]
    model.graph.output[0].name = EVIL
    onnx.save(model, str(here / f"{EVIL}.onnx"))
    shutil.copy(good, here / f"good{EVIL}.onnx")
    (here / "net.py").write_text(NET)
    (here / "list.txt").write_text(f"a{EVIL.replace(chr(0x2028), '')}\n".replace("\u2028", ""))
    facts = json.loads(json.dumps(measurement(label=EVIL).to_dict()))
    facts["artifact"]["file"] = f"{EVIL}.onnx"
    (here / "s.jsonl").write_text(json.dumps(facts) + "\n")
    tool = here / f"bin{EVIL}".replace(":", "") / "benchmark_model"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    return here


def on_a_terminal(module: str, words: list[str], here: Path) -> tuple[int, bytes]:
    """Exit code, and everything that a command wrote to the terminal that it runs on."""
    import pty

    controller, terminal = pty.openpty()
    path = f"{next(here.glob('bin*'))}:{os.environ['PATH']}"
    child = subprocess.Popen(
        [sys.executable, "-m", module, *words],
        cwd=here, stdin=terminal, stdout=terminal, stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "PATH": path, "OMP_NUM_THREADS": "1",
             "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # the terminal is gone with its last process
            break
        if not part:
            break
        seen += part
    os.close(controller)
    return child.wait(), seen


EXPORT, BENCH = "mobile_export", "mobile_export.bench"
SHOWN = rb"\\x1b]0;owned\\x07"
COMMANDS = [
    (EXPORT, ["inspect", f"{EVIL}.onnx"], 0, SHOWN),
    (EXPORT, ["verify", f"good{EVIL}.onnx", "net:build", "--size", "32"], 0, SHOWN),
    (EXPORT, ["onnx", f"{EVIL}.pt2"], 2, SHOWN),
    (EXPORT, ["prepare", "net:build", "--size", "32", "-o", f"out{EVIL}.pt2"], 2, SHOWN),
    (EXPORT, ["list", EVIL], None, b""),
    (EXPORT, ["doctor"], 0, b""),
    (EXPORT, ["matrix", "--models", "list.txt", "--formats", "onnx", "-o", "m.json"], 1, SHOWN),
    (BENCH, ["run", f"{EVIL}.onnx", "--time-limit", "0.1"], 2, SHOWN),
    (BENCH, ["queue", f"{EVIL}.onnx"], 2, SHOWN),
    (BENCH, ["table", "--store", "s.jsonl", "--all"], 0, SHOWN),
    (BENCH, ["compare", EVIL, f"x{EVIL}", "--store", "s.jsonl"], 2, SHOWN),
    (BENCH, ["published", "--table", EVIL], 2, SHOWN),
]

SLOW = [
    (EXPORT, ["onnx", f"net:build?a={EVIL}", "--size", "32"], 2, SHOWN),
    (EXPORT, ["info", f"emo{EVIL}"], 2, SHOWN),
    (EXPORT, ["matrix", f"net:x{EVIL}", "--formats", "onnx", "-o", "n.json"], 1, SHOWN),
]


@pytest.mark.parametrize(
    ("module", "words", "code", "shown"),
    [*COMMANDS, *(pytest.param(*each, marks=pytest.mark.matrix) for each in SLOW)],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_a_terminal_obeys_no_name(
    module: str, words: list[str], code: int | None, shown: bytes, folder: Path
) -> None:
    ended, seen = on_a_terminal(module, words, folder)
    assert code is None or ended == code, seen.decode(errors="replace")[-1500:]
    rest = OURS.sub(b"", seen).decode()
    raw = {each for each in rest if not each.isprintable()}
    assert not raw, (raw, rest[-1500:])
    assert b"owned\x07" not in seen
    assert b"\x1b[5m" not in seen, "markup in a name made it blink"
    assert shown.replace(b"\\\\", b"\\") in re.sub(rb"\s", b"", OURS.sub(b"", seen)), rest[-1500:]

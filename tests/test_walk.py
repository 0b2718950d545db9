"""The walk of ``mobile-export onnx`` in docs/architecture.md is the order of the calls."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"

SPY = """
import json, sys
wanted = {tuple(step) for step in json.loads(sys.argv[1])}
seen = []

def spy(frame, event, argument):
    if event == "call":
        name = frame.f_globals.get("__name__", "").removeprefix("mobile_export.")
        step = (name, frame.f_code.co_name)
        if step in wanted and step not in seen:
            seen.append(step)

sys.argv = ["mobile-export", "onnx", "emo_1m", "--size", "32"]
from mobile_export.cli.main import main
sys.setprofile(spy)
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
finally:
    sys.setprofile(None)
    print("\\n" + json.dumps(seen))
"""


def test_the_walk_is_the_order_of_the_calls(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    block = re.search(r"```walk\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    walk = [line.split() for line in block[1].splitlines()]
    done = subprocess.run(
        [sys.executable, "-c", SPY, json.dumps(walk)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == walk

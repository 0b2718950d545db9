"""A copy of the process may die; this one goes on, and knows how it died."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobile_export.system.forked import CAN_FORK

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="no copies of processes")

SCRIPT = """
import os, signal, sys
from mobile_export.system.forked import Died, from_a_copy

def work(send):
    send(1)
    send({"two": 2})
    WHAT

try:
    for said in from_a_copy(work):
        print(said, flush=True)
except Died as death:
    print("died:", death)
print("on")
"""


@pytest.mark.parametrize(
    ("what", "end"),
    [
        ("pass", []),
        ("os.abort()", ["died: SIGABRT"]),
        (
            "os.kill(os.getpid(), 9)",
            ["died: SIGKILL: perhaps the machine had no memory left"],
        ),
        ("os._exit(3)", ["died: exit code 3"]),
        ("raise ValueError", ["died: exit code 1"]),
    ],
)
def test_what_a_copy_said_and_how_it_ended(what: str, end: list[str]) -> None:
    """In a process of its own: this one has threads."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("WHAT", what)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["1", "{'two': 2}", *end, "on"]


def test_a_copy_ends_with_the_process() -> None:
    script = SCRIPT.replace("send(1)", "send(os.getpid())").replace("WHAT", "signal.pause()")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        copy = int(one.stdout.readline())
        one.kill()
    end = time.monotonic() + 20
    while Path(f"/proc/{copy}").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


EXPORT = """
import os, sys, torch
from pathlib import Path
import mobile_export.exporters.ncnn.writer as writer
from mobile_export import api
from mobile_export.exporters.config import ExportConfig
from mobile_export.sources.request import ModelRequest

writer.write = lambda *given: os.kill(os.getpid(), int(sys.argv[2]))
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
report = api.export_request(
    ModelRequest.of(net, size=32), ["tnn", "ncnn", "onnx"], ExportConfig(out_dir=Path(sys.argv[1])),
    name="net", finished=lambda result: print(result.format), apart=True,
)
print({each.format: each.parity.status for each in report.artifacts})
print([str(each.error) for each in report.failures])
"""


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
def test_a_converter_that_dies_loses_its_own_format_only(number: int, tmp_path: Path) -> None:
    for name in ("ncnn", "onnx", "onnxruntime"):
        pytest.importorskip(name)
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(tmp_path), str(int(number))],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    *formats, statuses, failures = done.stdout.splitlines()
    assert formats == ["tnn", "ncnn", "onnx"]
    assert statuses == "{'tnn': 'passed', 'onnx': 'passed'}"
    assert f"The process that wrote the ncnn file ended ({signal.Signals(number).name}" in failures
    assert "Written and right in this run: TNN, ONNX." in failures
    assert not [file.name for file in tmp_path.iterdir() if "ncnn" in file.name]
    assert not list(tmp_path.glob(".mobile-export-*"))

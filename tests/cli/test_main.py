"""The command line as a person and as a script meet it: exit codes, streams, messages."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import need

pytest.importorskip("onnxruntime")

NET = '''
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, num_classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 2, 1)
        self.head = nn.Linear(width, num_classes)
    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))

class Branch(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

class Only64(nn.Module):
    def forward(self, x):
        if x.shape[-1] != 64:
            raise ValueError("this network takes 64 pixels")
        return x.mean((2, 3))

class Chaos(nn.Module):
    """Amplifies rounding: float32 is far from float64."""
    def forward(self, x):
        x = x.mean((2, 3))
        for _ in range(40):
            x = torch.sin(7 * x)
        return x

class Slow(nn.Module):
    def forward(self, x):
        import time
        print("forward", flush=True)
        time.sleep(0.5)
        return x.mean((2, 3))

def build(width=4, num_classes=10):
    print("hello from the factory")
    return Net(width, num_classes)

def wait():
    import sys, time
    sys.__stderr__.write("")
    open("started", "w").close()
    time.sleep(60)
'''


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mobile_export", *words], cwd=cwd, capture_output=True, text=True
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mynet.py").write_text(NET)
    return tmp_path


def outputs(folder: Path) -> list[str]:
    return sorted(
        p.name for p in folder.iterdir() if p.name not in ("mynet.py", "__pycache__", "started")
    )


def test_a_users_own_network(folder: Path) -> None:
    done = run("onnx", "mynet:build?width=6", "--size", "32x48", "-o", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout
    assert "hello" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr, "no colour in a pipe"
    assert outputs(folder / "out") == [
        "mynet_build_width_6.onnx", "mynet_build_width_6.onnx.manifest.json",
    ]  # fmt: skip


def test_json_is_all_of_stdout(folder: Path) -> None:
    done = run("onnx", "mynet:build", "--size", "32", "--json", cwd=folder)
    report = json.loads(done.stdout)
    assert report["artifacts"][0]["parity"]["passed"] is True
    assert report["weights"]["kind"] == "own"
    assert done.stderr == ""
    facts = json.loads(run("inspect", "mynet_build.onnx", "--json", cwd=folder).stdout)
    assert facts["inputs"] == [{"name": "image", "shape": [1, 3, 32, 32], "dtype": "float32"}]
    (folder / "own").mkdir()
    np.save(folder / "own" / "a.npy", np.ones((3, 32, 32)))
    words = ("verify", "mynet_build.onnx", "mynet:build", "--samples", "own", "--json")
    verified = run(*words, cwd=folder)
    assert verified.returncode == 0
    parity = json.loads(verified.stdout)["parity"]
    assert parity["passed"] is True
    assert parity["samples"] == 1 + report["artifacts"][0]["parity"]["samples"]


def test_verify_takes_the_size_of_the_file_and_sees_another_model(folder: Path) -> None:
    assert run("onnx", "mynet:build", "--size", "32x48", cwd=folder).returncode == 0
    done = run("verify", "mynet_build.onnx", "mynet:build", "--seed", "1", "--layers", cwd=folder)
    assert done.returncode == 1
    assert "failed" in done.stdout
    assert "conv" in done.stdout


def test_every_format_through_one_command(folder: Path) -> None:
    for name in ("coreml", "tflite"):
        need(name)
    done = run("all", "mynet:build", "--size", "32", "--json", cwd=folder)
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [a["format"] for a in report["artifacts"]] == ["onnx", "coreml", "tflite", "ncnn", "tnn"]
    assert done.stderr == "", "no vendor's noise"


def test_a_terminal_sees_progress(folder: Path) -> None:
    pty = pytest.importorskip("pty")
    controller, worker = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "mobile_export", "onnx", "mynet:build", "--size", "32"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=worker,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(worker)
    seen = b""
    while True:
        try:
            part = os.read(controller, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert child.wait() == 0
    assert b"tracing" in seen
    assert b"exporting" in seen
    assert b"passes: " in seen, "the pass at work is named"


def test_verbose_runs_say_each_stage_on_a_line(folder: Path) -> None:
    done = run("onnx", "mynet:build", "--size", "32", "--json", "--verbose", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^ *\d+\.\d s  (.+)$", done.stderr, re.MULTILINE)
    assert lines[:2] == ["loading mynet:build", "tracing"]
    assert any(line.startswith("passes: fold_norms, ") for line in lines)
    assert lines[-2:] == ["ONNX: exporting", "ONNX: checking"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["onnx", "emo_3m"], ["emo_3m", "emo_2m"]),
        (["onnx", "mynet:biuld"], ["biuld", "build"]),
        (["onnx", "nothere:build"], ["nothere"]),
        (["onnx", "mynet:build?depth=3"], ["depth", "width"]),
        (["onnx", "missing.pt2"], ["missing.pt2"]),
        (["onnx", "mynet:build", "--weights", "none.pth"], ["none.pth"]),
        (["onnx", "mynet:build", "--size", "big"], ["big", "512x1024"]),
        (["onnx", "mynet:build", "--mean", "a,b"], ["a,b"]),
        (["onnx", "mynet:Only64", "--size", "32"], ["takes 64 pixels", "mynet.py", "--size"]),
        (["onnx", "mynet:Branch"], ["depends on the values of a tensor", "torch.where"]),
        (["coreml", "mynet:build", "--target", "ios9"], ["ios9", "ios15"]),
        (["coreml", "mynet:build", "--precision", "fp8"], ["fp8", "fp16"]),
        (["coreml", "mynet:build", "--classifier"], ["10 classes", "--labels"]),
        (["tflite", "mynet:build", "--layout", "chwn"], ["chwn", "nhwc"]),
        (["verify", "missing.onnx", "mynet:build"], ["missing.onnx"]),
        (["onnx", "mynet:build", "--samples", "nowhere"], ["--samples nowhere", ".npy"]),
        (["inspect", "mynet.py"], ["no known suffix", ".onnx"]),
        (["onnx", "mynet:build", "-o", "mynet.py/x"], ["mynet.py/x", "with -o."]),
    ],
    ids=lambda value: " ".join(value) if "onnx" in str(value[0]) else None,
)
def test_bad_input(folder: Path, words: list[str], said: list[str]) -> None:
    done = run(*words, cwd=folder)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for text in said:
        assert text in done.stderr
    assert len(done.stderr.splitlines()) <= 6
    assert outputs(folder) == []


def test_existing_outputs_are_not_overwritten(folder: Path) -> None:
    (folder / "mynet_build.onnx").write_text("precious")
    done = run("onnx", "mynet:build", "--size", "32", cwd=folder)
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert (folder / "mynet_build.onnx").read_text() == "precious"
    assert run("onnx", "mynet:build", "--size", "32", "--force", cwd=folder).returncode == 0
    assert (folder / "mynet_build.onnx").stat().st_size > 100


def test_an_ill_conditioned_model_is_inconclusive(folder: Path) -> None:
    done = run("onnx", "mynet:Chaos", "--size", "16", cwd=folder)
    assert done.returncode == 1
    assert "inconclusive" in done.stdout
    assert "PyTorch's own float32" in done.stderr
    assert outputs(folder) == []


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_ctrl_c(folder: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "mobile_export", "onnx", "mynet:wait", "-o", "out"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if (folder / "started").exists():
            break
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert "Interrupted" in err
    assert outputs(folder) == []


def test_a_bug_of_ours_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mobile_export import api as doctor
    from mobile_export.cli import main as cli

    def fail() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(doctor, "diagnose", fail)
    monkeypatch.setattr(sys, "argv", ["mobile-export", "doctor"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "RuntimeError: boom" in capsys.readouterr().err


def test_an_error_is_json_on_stdout_too(tmp_path: Path) -> None:
    done = run("onnx", "emo_99", "--json", cwd=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert "emo_99" in error["message"]
    assert error["exit_code"] == 2
    assert done.stderr.startswith("error: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_result_that_cannot_be_printed_is_no_lost_file(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mobile_export", "onnx", "mynet:build", "--size", "32"],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert "could not be printed" in done.stderr
    assert "Nothing was written" not in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list(folder.glob("*.onnx"))) == 1


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor in a shell")
def test_a_closed_stdout_is_said_and_takes_no_file(folder: Path) -> None:
    words = f"{sys.executable} -m mobile_export onnx mynet:build --size 32 >&-"
    done = subprocess.run(words, shell=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert "could not be printed" in done.stderr
    assert "nothing was written" not in done.stderr
    (file,) = folder.glob("*.onnx")
    assert file.with_name(f"{file.name}.manifest.json").exists()


def test_version(tmp_path: Path) -> None:
    import mobile_export

    assert run("--version", cwd=tmp_path).stdout == f"mobile-export {mobile_export.__version__}\n"


def test_doctor_and_list(tmp_path: Path) -> None:
    done = run("doctor", cwd=tmp_path)
    assert done.returncode == 0
    assert "onnxruntime" in done.stdout
    rows = json.loads(run("list", "--json", cwd=tmp_path).stdout)
    row = next(row for row in rows if row["name"] == "emo_2m")
    assert row["macs_m"] == pytest.approx(row["paper_macs_m"], rel=0.02)
    assert "Table 7" in row["source"]


def test_prepare_looks_at_its_output_before_the_work(folder: Path) -> None:
    (folder / "x.pt2").write_text("precious")
    done = run("prepare", "no_such_module:build", "-o", "x.pt2", cwd=folder)
    assert done.returncode == 2
    assert "x.pt2 exists already" in done.stderr
    assert (folder / "x.pt2").read_text() == "precious"

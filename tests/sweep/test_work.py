"""What a worker does with a job: steps, limits, versions. Tests sweep/processes.py and code.py.

The steps run a module that stands in for the programs and prints what they print, so that no
network is built; `test_command` runs the programs themselves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import mobile_export
from mobile_export.sweep import work
from mobile_export.sweep.code import code_digest
from mobile_export.sweep.job import Result
from mobile_export.sweep.processes import Done, Processes
from mobile_export.sweep.work import benched, run_job, versions_here
from tests.sweep.jobs import make_job

PARITY = {
    "verdict": "passed", "max_rel": 1e-6, "tolerance": 1e-5, "runtime": "onnxruntime 1",
    "emulated": False, "worst": "noise-0", "notes": [], "float32_error": 1e-7,
}  # fmt: skip


class Told(Processes):
    """Answers of programs, and what was typed."""

    def __init__(self, **answers: Done) -> None:
        super().__init__()
        self.answers, self.typed = answers, []

    def run(self, words: Any, **options: Any) -> Done:
        self.typed.append((options.get("module", "mobile_export"), *words))
        return self.answers[words[0]]


def exported(verdict: str = "passed", **changes: Any) -> Done:
    parity = {**PARITY, "verdict": verdict, **changes}
    artifact = {"parity": parity, "bytes": 7, "seconds": {"export": 1.0}, "path": "/x/emo_1m.onnx"}
    return Done(int(verdict != "passed"), json.dumps({"artifacts": [artifact]}), "")


def statuses(result: Result) -> list[tuple[str, str]]:
    return [(step.step, step.status) for step in result.steps]


JOB = make_job(
    steps=("export", "verify", "evaluate"),
    model_words=("--size", "64"),
    words={
        "export": ("--precision", "fp32"),
        "verify": ("--runtime", "openvino"),
        "evaluate": ("--data", "d"),
    },
)  # fmt: skip
FIGURE = {"name": "top-1", "unit": "%", "value": 70.0, "low": 69.0, "high": 71.0}


def evaluated(left_out: int = 0) -> Done:
    row = {"name": "x.onnx", "runtime": "onnxruntime 1", "figures": [FIGURE]}
    pictures = [{"picture": "a", "reason": "b"}] * left_out
    return Done(int(left_out > 0), json.dumps({"rows": [row], "left_out": pictures}), "")


def test_steps_follow_each_other() -> None:
    told = Told(
        onnx=exported(), verify=Done(0, json.dumps({"parity": PARITY}), ""), evaluate=evaluated()
    )
    result = run_job(JOB, told)
    assert statuses(result) == [("export", "passed"), ("verify", "passed"), ("evaluate", "passed")]
    assert (result.status, result.reason, result.problem) == ("passed", None, None)
    export, _, evaluate = result.steps
    assert (export.error, export.tolerance, export.bytes) == (1e-6, 1e-5, 7)
    assert (evaluate.measured[0].name, evaluate.measured[0].better) == ("top-1", "high")
    first, verify, last = told.typed
    assert first[:3] == ("mobile_export", "onnx", "emo_1m")
    assert first[-4:] == ("--size", "64", "--precision", "fp32")
    assert verify[1:4] == ("verify", "/x/emo_1m.onnx", "emo_1m")
    assert verify[-2:] == ("--runtime", "openvino")
    assert last[last.index("--data") :][:2] == ("--data", "d")


RAN = {"device": "a device", "max_rel": 0.5, "tolerance": 0.01, "passed": True}
PLACED = {
    "accelerator": "gpu", "title": "GPU", "said_by": "LiteRT 2", "share": 0.95, "problem": "",
    "run": RAN,
}  # fmt: skip


def test_placement_is_a_step() -> None:
    gpu, run = PLACED, RAN
    wrong = {**gpu, "run": {**run, "passed": False}}
    unknown = {**gpu, "accelerator": "vulkan", "share": None, "run": None, "problem": "no device"}
    job = make_job(steps=("export", "placement"), words={"export": ()})
    for rows, status, reason in (
        ([gpu], "passed", None),
        ([wrong], "failed", "GPU: not the model's outputs, 0.5 off"),
        ([unknown], "inconclusive", "GPU: no device"),
        ([gpu, unknown], "inconclusive", "GPU: no device"),
        ([wrong, unknown], "failed", "GPU: not the model's outputs, 0.5 off; GPU: no device"),
    ):
        answer = Done(int(status == "failed"), json.dumps(rows), "")
        programs = Told(onnx=exported(), placement=answer)
        result = run_job(job, programs)
        assert statuses(result) == [("export", "passed"), ("placement", status)]
        assert (result.status, result.reason) == (status, reason)
        assert programs.typed[-1] == ("mobile_export", "placement", "/x/emo_1m.onnx", "--json")
        told = result.steps[1]
        assert [m.name for m in told.measured] == ["nodes on gpu"] * (rows != [unknown])
        assert told.runtime == (None if rows == [unknown] else "LiteRT 2 on a device")


@pytest.mark.parametrize("printed", ["", "[]", "{}", "3", '{"artifacts": []}'])
def test_a_process_that_ends_without_a_report_has_crashed(printed: str) -> None:
    """The model's own code may end it: ``os._exit(0)``."""
    steps = ("export", "verify", "evaluate", "placement", "bench")
    good = {
        "onnx": exported(), "verify": Done(0, json.dumps({"parity": PARITY}), ""),
        "evaluate": evaluated(), "placement": Done(0, json.dumps([PLACED]), ""),
        "run": Done(0, "", ""),
    }  # fmt: skip
    words: dict[str, tuple[str, ...]] = dict.fromkeys(steps, ())
    for index, name in enumerate(good):
        job = make_job(steps=steps[: index + 1], words=words)
        result = run_job(job, Told(**{**good, name: Done(0, printed, "")}))
        assert result.status == "crashed"
        assert result.reason == "the process ended without a report"


def test_a_step_that_does_not_pass_ends_the_job() -> None:
    told = Told(onnx=exported(), verify=Done(2, "", "error: it cannot load x\n"))
    result = run_job(JOB, told)
    assert statuses(result) == [("export", "passed"), ("verify", "refused")]
    assert (result.status, result.reason) == ("refused", "it cannot load x")
    result = run_job(JOB, Told(onnx=exported("failed", max_rel=0.5)))
    assert statuses(result) == [("export", "failed")]
    assert result.of("verify") is None
    result = run_job(JOB, Told(onnx=Done(-9, "", "")))
    assert (result.status, result.reason) == ("crashed", "killed by signal SIGKILL")
    told = Told(
        onnx=exported(), verify=Done(0, json.dumps({"parity": PARITY}), ""), evaluate=evaluated(2)
    )
    assert run_job(JOB, told).reason == "2 pictures could not be judged"


@pytest.mark.parametrize("text", ["No space left on device", "[Errno 122] Disk quota exceeded"])
def test_a_full_disk_is_the_workers_problem(text: str) -> None:
    result = run_job(JOB, Told(onnx=Done(2, "", f"error: Cannot write x: {text}.\n")))
    assert (result.steps, result.status) == ((), "passed")
    assert "no space is left" in (result.problem or "")


def test_a_worker_without_room_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(work.tempfile, "TemporaryDirectory", full)
    assert "No space left on device" in (run_job(JOB, Told()).problem or "")


def test_a_worker_of_another_version_is_refused_by_name() -> None:
    wanted = versions_here({"numpy": ""})
    assert run_job(make_job(versions=wanted), Told(onnx=exported())).problem is None
    for name in ("numpy", "mobile-export", "python"):
        job = make_job(versions={**wanted, name: "0.0"})
        told = Told(onnx=exported())
        problem = run_job(job, told).problem or ""
        assert f"worker {work.here()} is refused: it has {name} {wanted[name]}" in problem
        assert "the sweep has 0.0" in problem
        assert told.typed == []


def test_the_code_counts_not_only_the_version() -> None:
    version, _, digest = code_digest()["mobile-export"].partition("+")
    assert version == mobile_export.__version__
    assert len(digest) == 12


def test_measurements() -> None:
    row = {
        "runner": "onnxruntime 1", "backend": "cpu", "median_ms": 1.5, "low_ms": 1.4,
        "high_ms": 1.6, "flags": [],
    }  # fmt: skip
    facts = benched({"measurements": [row], "failures": []})
    assert facts["status"] == "passed"
    assert (facts["measured"][0].low, facts["measured"][0].high) == (1.4, 1.6)
    facts = benched({"measurements": [row | {"flags": ["contended"]}], "failures": []})
    assert (facts["status"], facts["reason"]) == ("inconclusive", "onnxruntime 1 cpu: contended")
    facts = benched({"measurements": [row | {"flags": ["wrong_output"]}], "failures": []})
    assert facts["status"] == "failed"
    assert benched({"measurements": [], "failures": [{"error": "gone"}]})["reason"] == "gone"


PROGRAM = """
import os, sys, time
if sys.argv[1] == "memory":
    kept = bytearray(3 * 2**30)
if sys.argv[1] == "sleep":
    open("started", "w").write(str(os.getpid()))
    time.sleep(600)
print("out", os.getcwd(), os.environ["OMP_NUM_THREADS"])
print("err", file=sys.stderr)
raise SystemExit(3)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_a_process(program: Path) -> None:
    until = time.monotonic() + 60
    done = Processes().run(["x"], module="program", until=until, folder=program)
    assert (done.code, done.stdout, done.stderr) == (3, f"out {program} 1\n", "err\n")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory")
def test_a_limit_of_memory(program: Path) -> None:
    until = time.monotonic() + 60
    done = Processes().run(["memory"], module="program", until=until, memory=2**30)
    assert done.code == 1
    assert "MemoryError" in done.stderr


def test_a_limit_of_time(program: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        Processes().run(["sleep"], module="program", until=time.monotonic() + 1, folder=program)
    wait_for(lambda: not alive(program))


def test_all_are_killed_and_none_begins(program: Path) -> None:
    processes = Processes()
    found: list[Any] = []

    def run() -> None:
        until = time.monotonic() + 60
        found.append(processes.run(["sleep"], module="program", until=until, folder=program))

    thread = threading.Thread(target=run)
    thread.start()
    wait_for((program / "started").exists)
    processes.kill()
    thread.join(30)
    assert found[0].code == -9
    with pytest.raises(RuntimeError):
        run()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_a_cell_ends_with_its_worker(program: Path) -> None:
    """kill -9 of a worker leaves no process behind that would slow down what comes next."""
    code = (
        "import time\nfrom mobile_export.sweep.processes import Processes\n"
        "Processes().run(['sleep'], module='program', until=time.monotonic() + 60)"
    )
    path = f"{Path(mobile_export.__file__).parents[1]}:{program}"
    worker = subprocess.Popen(
        [sys.executable, "-c", code], cwd=program, env={**os.environ, "PYTHONPATH": path}
    )
    wait_for(lambda: (program / "started").exists() and (program / "started").read_text() != "")
    assert alive(program)
    worker.kill()
    worker.wait()
    wait_for(lambda: not alive(program))


def alive(folder: Path) -> bool:
    """Whether the process that said its number is there."""
    try:
        state = Path(f"/proc/{(folder / 'started').read_text()}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)

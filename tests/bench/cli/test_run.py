"""``mobile-bench`` as people run it: real files, real runtimes, this machine and ssh."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from torch import nn

import mobile_export
from mobile_export.bench import files as bench_files
from mobile_export.bench.arm.prepare import prepare as prepare_qemu
from mobile_export.bench.cli import main as cli
from mobile_export.bench.devices import local
from mobile_export.bench.devices.local import LocalDevice
from mobile_export.bench.runners import RunnerRow
from mobile_export.bench.store import append, read, require_store
from mobile_export.errors import MobileExportError, StoreError
from mobile_export.pipeline import ExportReport
from tests.bench.examples import measurement
from tests.bench.sshd import SSHD, running_sshd
from tests.conftest import TinyDetector

QUICK = ("--time-limit", "0.3", "--interval", "0.5", "--starts", "1")


def bench(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of one command line."""
    monkeypatch.setattr(sys, "argv", ["mobile-bench", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.fixture
def run(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def call(*words: str) -> tuple[int, str, str]:
        code = bench(*words, monkeypatch=monkeypatch)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def files(in_tmp: Path, exported: Callable[..., ExportReport]) -> Path:
    """``tiny.onnx`` and ``tiny.tflite`` with their manifests in the current folder."""
    for name in ("onnx", "tflite"):
        for file in exported(name).artifacts[0].files:
            (in_tmp / file.name).write_bytes(file.read_bytes())
    return in_tmp


def test_a_file_that_ends_with_detections_is_timed_and_said_to_be_unchecked(
    in_tmp: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    options = mobile_export.NmsOptions(score_threshold=0.1, max_detections=30)
    module = TinyDetector().eval()
    mobile_export.export(module, "onnx", ".", name="boxes", size=64, nms=options)
    code, _, err = run("--device", "local", "boxes.onnx", *QUICK)
    assert code == 0, err
    (made,) = read(Path("mobile-bench.jsonl")).measurements
    assert made.check is None
    assert "unchecked" in made.flags
    assert "the file gives the objects that are left" in err
    assert len(made.samples) > 0


def test_a_model_on_this_machine_ends_in_one_table(
    files: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = run("--device", "local", "tiny", *QUICK)
    assert code == 0, err
    assert "tiny.onnx" in out
    assert "tiny.tflite" in out
    made = read(Path("mobile-bench.jsonl")).measurements
    assert {m.artifact["format"] for m in made} == {"onnx", "tflite"}
    assert len({m.run for m in made}) == 1
    for m in made:
        assert m.check is not None
        assert m.check.passed
        assert m.check.compared == 10
        assert len(m.samples) >= 3
        assert all(sample > 1000 for sample in m.samples)
        assert m.peak_memory is not None
        assert m.peak_memory > 10 * 2**20
        assert m.before.load is not None
    assert run("table", "--all")[0] == 0


def test_json_is_only_json(files: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("run", "tiny.onnx", "--json", *QUICK)
    assert code == 0
    (row,) = json.loads(out)["measurements"]
    assert row["file"] == "tiny.onnx"
    assert row["output"] == "ok"
    assert row["median_ms"] > 0


def test_a_file_that_computes_something_else(
    files: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    """The manifest vouches for the file, but what it says the model computes is another thing."""
    place = files / "tiny.onnx.manifest.json"
    manifest = json.loads(place.read_text())
    output = manifest["expected"]["outputs"][0]
    values = np.frombuffer(base64.b64decode(output["values"]), "<f4")
    output["values"] = base64.b64encode((-values).tobytes()).decode()
    place.write_text(json.dumps(manifest))
    code, out, err = run("tiny.onnx", *QUICK)
    assert code == 1
    assert "wrong" in out
    assert "of the output range off" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "mobile-export all nothing"),
        (["nothing.onnx"], "does not exist"),
        (["tiny", "--device", "toaster"], "There is no device 'toaster'"),
        (["tiny", "--device", "local:2"], "is no device"),
        (["tiny", "--device", "ssh://"], "names no host"),
        (["tiny", "--runner", "foo"], "There is no runner 'foo'"),
        (["tiny", "--format", "gif"], "Nothing on local runs files of the format gif"),
        (["tiny", "--threads", "0"], "--threads is 0"),
        (["tiny", "--cores", "4096"], "no such cores"),
        (["tiny", "--backend", "npu"], "no backend 'npu'"),
        (["tiny", "--precision", "fp16"], "does not compute in fp16"),
        (["tiny", "--interval", "0"], "--interval"),
        (["tiny", "--fixed-performance"], "no mode of fixed performance"),
        (["tiny", "--store", "no/where/s.jsonl", *QUICK], "Cannot write the measurement"),
        (["tiny.onnx", "--runner", "litert"], "runs tiny.onnx"),
        (["tiny", "--store", "tiny.onnx.manifest.json"], "its first line is not a measurement"),
        (["table"], "holds no measurement"),
        (["table", "--store", "/dev/zero"], "it is a device"),
        (["table", "--as", "jpeg"], "no table as 'jpeg'"),
        (["compare", "a", "b"], "no store file, and no label or model"),
        (["compare", "a", "b", "--threshold", "-1"], "--threshold is -"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    files: Path, run: Callable[..., tuple[int, str, str]], words: Sequence[str], said: str
) -> None:
    code, out, err = run(*words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert out == ""


def test_a_changed_file_is_not_measured(
    files: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    with (files / "tiny.onnx").open("ab") as stream:
        stream.write(b"\0")
    code, _, err = run("tiny")
    assert code == 2
    assert "SHA-256 differs" in err


def test_a_file_that_no_runtime_can_load(
    files: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    """The others go on, and the exit code says that not all was measured."""
    from mobile_export.artifacts.content import sha256_of

    (files / "tiny.onnx").write_bytes(b"no model")
    place = files / "tiny.onnx.manifest.json"
    manifest = json.loads(place.read_text()) | {"sha256": sha256_of(files / "tiny.onnx")}
    place.write_text(json.dumps(manifest))
    code, out, err = run("tiny", *QUICK)
    assert code == 2
    assert "cannot load tiny.onnx" in err
    assert "tiny.tflite" in out


def test_fixed_performance_ends_with_the_run_also_on_ctrl_c(
    files: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Steady(LocalDevice):
        switched: ClassVar[list[str]] = []

        @contextmanager
        def fixed_performance(self) -> Iterator[None]:
            self.switched.append("on")
            try:
                yield
            finally:
                self.switched.append("off")

    def interrupt(*_: object, **__: object) -> None:
        assert Steady.switched[-1] == "on"
        raise KeyboardInterrupt

    monkeypatch.setattr("mobile_export.bench.devices.connect", lambda spec: Steady())
    assert run("tiny.onnx", "--fixed-performance", *QUICK)[0] == 0
    assert Steady.switched == ["on", "off"]
    monkeypatch.setattr("mobile_export.bench.measure.measure", interrupt)
    assert run("tiny.onnx", "--fixed-performance", *QUICK)[0] == 130
    assert Steady.switched == ["on", "off"] * 2


def test_two_labels_are_compared(in_tmp: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    store = in_tmp / "mobile-bench.jsonl"
    append(store, measurement(label="before", run="1"))
    append(store, measurement(label="after", run="2", median_ms=6.0, seed=1))
    code, out, _ = run("compare", "before", "after")
    assert code == 1
    assert ("slower by more than 5%" in out, "<0.001" in out) == (True, True)
    assert run("compare", "before", "after", "--threshold", "0.3")[0] == 0
    code, out, _ = run("compare", "after", "before", "--json")
    (pair,) = json.loads(out)
    assert code == 0
    assert pair["ratio"] == pytest.approx(5 / 6, rel=0.01)
    assert pair["significant"]
    assert not pair["regressed"]
    assert pair["answer"] == "not slower"
    append(store, measurement(label="old", run="3", starts=()))  # of before there were starts
    code, out, _ = run("compare", "old", "after")
    assert code == 3
    assert "cannot tell: too few starts" in out


def test_two_models_and_two_stores_are_compared(
    in_tmp: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    append(Path("mobile-bench.jsonl"), measurement(model="emo_1m"))
    append(Path("mobile-bench.jsonl"), measurement(model="timm/x", median_ms=4.0, seed=1))
    append(Path("other.jsonl"), measurement(model="emo_1m", run="2", seed=2))
    code, out, _ = run("compare", "emo_1m", "timm/x", "--json")
    assert code == 0
    assert json.loads(out)[0]["paired"]
    code, out, _ = run("compare", "mobile-bench.jsonl", "other.jsonl", "--json")
    assert code == 0
    assert not json.loads(out)[0]["paired"]
    code, _, err = run("compare", "emo_1m", "emo_1m")
    assert code == 2
    assert "no two measurements of the same kind" in err


def test_tables_are_not_overwritten(in_tmp: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    append(Path("mobile-bench.jsonl"), measurement())
    assert run("table", "--as", "csv", "-o", "t.csv")[0] == 0
    assert Path("t.csv").read_text().startswith("model,")
    code, _, err = run("table", "--as", "csv", "-o", "t.csv")
    assert (code, "exists already" in err) == (2, True)
    assert run("table", "--as", "html", "-o", "t.csv", "--force")[0] == 0


def test_what_is_left_out_of_a_store_is_said_once(
    in_tmp: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    store = Path("mobile-bench.jsonl")
    append(store, measurement(label="before", run="1"))
    append(store, measurement(label="after", run="2", seed=1))
    with store.open("ab") as stream:
        stream.write(b"{}\n" * 3)
    for words in (["table"], ["compare", "before", "after"]):
        code, _, err = run(*words)
        assert code == 0
        assert err.count("3 lines of mobile-bench.jsonl could not be read") == 1


def test_devices_and_runners(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("devices", "--json")
    assert code == 0
    here = next(entry for entry in json.loads(out) if entry["spec"] == "local")
    assert here["info"]["memory_mb"] > 100
    code, out, _ = run("runners", "--json")
    assert {"onnxruntime", "litert", "ncnn", "torch"} <= {row["name"] for row in json.loads(out)}


def test_ctrl_c_keeps_what_was_measured(files: Path) -> None:
    slow = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1))
    mobile_export.export(slow.eval(), "onnx", name="slow", size=(64, 64))
    command = [sys.executable, "-m", "mobile_export.bench.cli.main", "slow.onnx"]
    running = subprocess.Popen(
        [*command, "--time-limit", "60", "--interval", "0.000001"], stderr=subprocess.PIPE
    )
    time.sleep(0.1)
    deadline = time.monotonic() + 30
    while not any("worker.py" in line for line in _children(running.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(3)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    (made,) = read(Path("mobile-bench.jsonl")).measurements
    assert "interrupted" in made.flags
    assert made.samples


def _children(pid: int) -> list[str]:
    """Command lines of the children of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{child}/cmdline").read_text() for child in listed]


@pytest.fixture
def there(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """This machine behind a real sshd, as ``--device`` names it."""
    if SSHD is None:
        pytest.skip("needs Debian's openssh-server")
    with running_sshd(tmp_path_factory.mktemp("sshd")) as (address, tools):
        monkeypatch.setenv("PATH", str(tools), prepend=":")
        yield f"ssh://{address}{sys.executable}"


def test_the_same_over_ssh(
    files: Path, run: Callable[..., tuple[int, str, str]], there: str
) -> None:
    """The worker is pushed and runs there; both runtimes' real outputs."""
    code, out, err = run("-d", there, "tiny", *QUICK)
    assert code == 0, err
    assert "tiny.tflite" in out
    for m in read(Path("mobile-bench.jsonl")).measurements:
        assert m.check is not None
        assert m.check.passed
        assert m.device.kind == "ssh"
    code, _, err = run("-d", f"{there.removesuffix(sys.executable)}/no/such/python", "tiny", *QUICK)
    assert code == 2
    assert "Python does not run on" in err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import contextlib, sys\n"
        "from mobile_export.bench.cli.main import main\n"
        "for words in (['--help'], ['run', '--help'], ['table', '--help']):\n"
        "    sys.argv = ['mobile-bench', *words]\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):\n"
        "        main()\n"
        "heavy = {'numpy', 'torch', 'matplotlib', 'onnxruntime', 'ncnn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_errors_are_json_too(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("table", "--json", monkeypatch=monkeypatch) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["exit_code"] == 2
    assert said.err.startswith("error: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_table_that_cannot_be_printed(in_tmp: Path) -> None:
    append(Path("s.jsonl"), measurement())
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mobile_export.bench", "table", "--store", "s.jsonl"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 2
    assert "could not be printed" in done.stderr
    assert "itself failed" not in done.stderr
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("words", [("-o", "t.md"), ("--plot", "t.png")])
def test_a_table_is_not_written_through_a_link(
    in_tmp: Path, words: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    append(Path("s.jsonl"), measurement())
    Path(words[1]).symlink_to("elsewhere")
    for force in ((), ("--force",)):
        words_ = ("table", "--store", "s.jsonl", *words, *force)
        assert bench(*words_, monkeypatch=monkeypatch) == 2
    assert not Path("elsewhere").exists()


def test_a_store_is_not_made_through_a_link(in_tmp: Path) -> None:
    Path("s.jsonl").symlink_to("elsewhere")
    with pytest.raises(StoreError, match="does not exist"):
        require_store(Path("s.jsonl"))
    assert not Path("elsewhere").exists()


@pytest.mark.parametrize("name", ["thesis.tex", "root"])
def test_prepare_qemu_replaces_its_own_folder_only(in_tmp: Path, name: str) -> None:
    folder = in_tmp / "mine"
    folder.mkdir()
    (folder / "prepared.json").write_text('{"versions": {}}' if name == "thesis.tex" else "[]")
    (folder / name).write_text("precious")
    with pytest.raises(MobileExportError, match="not made by prepare-qemu"):
        prepare_qemu(folder, force=True)
    assert (folder / name).read_text() == "precious"


def test_published_tables_are_printed(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("published", "--paper", "freenet", "--table", "5")
    assert code == 0
    assert "FreeNet (AAAI 2025), Table 5" in out
    assert "precision not stated" in out
    assert "seed" not in out
    code, out, _ = run("published", "--paper", "SeaFormer++", "--table", "3", "--as", "csv")
    assert len(out.splitlines()) == 1 + 17
    code, out, _ = run("published", "--json")
    assert len(json.loads(out)) == 427
    code, _, err = run("published", "--table", "99")
    assert (code, "Valid: --table" in err) == (2, True)
    code, _, err = run("published", "--paper", "ResNet")
    assert (code, "No latencies are known of a paper 'ResNet'" in err) == (2, True)


def test_a_queue_goes_on_where_it_was(
    files: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    quick = [f"--option={word}" for word in ("--time-limit=0.3", "--starts=1")]
    code, out, err = run("queue", ".", "--device", "local", "--json", *quick)
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["started", "done"] * 2
    assert len(read(Path("mobile-bench.jsonl")).measurements) == 2
    code, out, err = run("queue", ".", "--device", "local", *quick)
    assert (code, out) == (0, "")
    assert "2 of 2 are in mobile-bench.jsonl already" in err
    code, out, err = run("queue", ".", "--json", *quick, "--option=--threads=2")
    assert (code, out.count('"done"')) == (0, 2), err
    threads = [made.runner["threads"] for made in read(Path("mobile-bench.jsonl")).measurements]
    assert threads == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "ssh://-oProxyCommand=x"], "names no host"),
        (["--device", "local", "--device", "adb:-x"], "names no device"),
        (["--device", "toaster"], "There is no device 'toaster'"),
        (["--option=--threds=4"], "No such option"),
        (["--option=--threads=0"], "--threads is 0"),
        (["--option=--store=x"], "Give --store to the queue itself"),
        (["--option=other.onnx"], "Give FILE to the queue itself"),
        (["--option=--help"], "No such option"),
        (["--option=--size=big"], "size"),
    ],
)
def test_a_queue_refuses_at_once_what_can_never_be_measured(
    words: list[str], said: str, files: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    """It waits half an hour for a device that is away, so not for one that cannot be."""
    code, out, err = run("queue", "tiny.onnx", *words)
    assert (code, out) == (2, "")
    assert said in err


def test_a_table_for_a_paper(in_tmp: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    append(Path("mobile-bench.jsonl"), measurement())
    Path("own.csv").write_text("model,accuracy\nemo_2m,74.25\nnobody,1\n")
    code, out, err = run("table", "--paper", "--as", "latex", "--accuracy", "own.csv")
    assert (code, r"\toprule" in out, "74.25" in out) == (0, True, True)
    assert "nobody, which is not in the table" in err
    assert "iPhone 14" in run("table", "--as", "csv", "--paper")[1]
    assert "iPhone 14" not in run("table", "--paper", "FreeNet", "--as", "markdown")[1]
    assert "EMO, Table 11" in run("table", "--paper")[1]
    rows = json.loads(run("table", "--paper", "EMO", "--json")[1])
    assert {row["accuracy"] for row in rows} == {75.1}
    code, _, err = run("table", "--paper", "NoPaper")
    assert (code, "NoPaper" in err) == (2, True)


def test_several_devices_are_measured_one_after_the_other(
    files: Path, run: Callable[..., tuple[int, str, str]], there: str
) -> None:
    code, out, err = run("-d", "local", "--device", there, "tiny.onnx", *QUICK)
    assert code == 0, err
    made = read(Path("mobile-bench.jsonl")).measurements
    assert [m.device.spec for m in made] == ["local", there]
    assert out.count("tiny.onnx") == 2
    rows = json.loads(run("table", "--all", "--json", "-d", there, "-d", "local")[1])
    assert {row["device"] for row in rows} == {"local", there}
    assert len(json.loads(run("table", "--all", "--json", "-d", "ssh")[1])) == 1
    code, _, err = run("table", "-d", "adb:1")
    assert (code, "no measurement of 'adb:1'" in err, there in err) == (2, True, True)


def test_a_device_that_is_not_there_stops_no_other(
    files: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = run("-d", "ssh://127.0.0.1:9", "-d", "local", "tiny.onnx", "--json", *QUICK)
    facts = json.loads(out)
    assert code == 2
    assert [row["device"] for row in facts["measurements"]] == ["local"]
    assert [failure["device"] for failure in facts["failures"]] == ["ssh://127.0.0.1:9"]
    Path("mobile-bench.jsonl").unlink()
    code, _, err = run("-d", "local", "-d", "phone", "tiny.onnx", *QUICK)
    assert (code, "no device 'phone'" in err) == (2, True)
    assert not Path("mobile-bench.jsonl").exists()


def test_everything_is_asked_hashed_and_made_once(
    files: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two files in two starts: the device's facts, each file's hash, each runner."""
    counts: Counter[str] = Counter()

    def counted(owner: Any, name: str, key: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def call(*words: Any, **options: Any) -> Any:
            counts[key(*words)] += 1
            return original(*words, **options)

        monkeypatch.setattr(owner, name, call)

    counted(bench_files, "sha256_of", lambda path: path.name)
    counted(local, "clusters_of", lambda facts: "describe")
    counted(RunnerRow, "runner", lambda row: row.name)
    code, _, err = run("tiny.onnx", "tiny.tflite", *QUICK[:-1], "2", "--format", "onnx")
    assert code == 0, err
    assert counts.pop("describe") == 1
    assert counts.pop("tiny.onnx") == counts.pop("tiny.tflite") == 1
    assert {"onnxruntime", "litert"} <= set(counts)
    assert set(counts.values()) == {1}

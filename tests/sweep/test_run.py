"""`mobile-export matrix`: one row per cell whatever becomes of it, resumable, nothing lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mobile_export.errors import ArtifactError, UsageError
from mobile_export.sweep import cell
from mobile_export.sweep.cell import Cell, Row, cells_of
from mobile_export.sweep.report import is_markdown_of_ours, markdown
from mobile_export.sweep.run import read_models, run_matrix
from mobile_export.sweep.store import Matrix

pytest.importorskip("onnxruntime")

NETS = """
import os, time
import torch
from torch import nn

class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))

class Branch(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

def die():
    os.abort()

def bug():
    import mobile_export.pipeline.captured

    mobile_export.pipeline.captured.make_reference = None
    return Mean()

def hang():
    open("started", "a").close()
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mobile_export", "matrix", *words], capture_output=True, text=True
    )


def test_every_fate_is_a_row(folder: Path) -> None:
    models = ("nets:Mean", "nets:Branch", "nets:die", "nets:bug")
    done = run(*models, "--formats", "onnx", "--json")
    assert done.returncode == 1
    rows = json.loads(done.stdout)
    assert [row["status"] for row in rows] == ["passed", "refused", "crashed", "crashed"]
    assert rows[0]["error"] <= rows[0]["tolerance"] <= 1e-4
    assert rows[1]["reason"]
    assert rows[2]["reason"] == "killed by signal SIGABRT"
    assert rows[3]["reason"].startswith("mobile-export itself failed: TypeError")
    assert sorted(path.name for path in folder.glob("matrix.*")) == ["matrix.json", "matrix.md"]
    assert json.loads((folder / "matrix.json").read_text())["rows"] == rows
    document = (folder / "matrix.md").read_text()
    assert "| onnx | 4 | 1 | 1 | 2 |" in document
    assert "- nets:die, onnx: crashed: killed by signal SIGABRT" in document


def test_a_time_limit_ends_a_cell(folder: Path) -> None:
    rows = run_matrix([Cell("nets:hang", None, "onnx")], Matrix(folder / "m.json"), time_limit=1)
    assert [(row.status, row.reason) for row in rows] == [("timeout", "not done in 1 s")]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_keeps_what_is_done_and_ends_what_runs(folder: Path) -> None:
    matrix = Matrix(folder / "m.json")
    matrix.add(Row("nets:Mean", None, "onnx", None, "passed", error=0.0))
    words = ["matrix", "nets:Mean", "nets:hang", "--formats", "onnx", "-o", "m.json"]
    process = subprocess.Popen([sys.executable, "-m", "mobile_export", *words])
    while not (folder / "started").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
    assert [row.model for row in Matrix(folder / "m.json").rows] == ["nets:Mean"]
    running = subprocess.run(["pgrep", "-f", f"nets:hang.*{folder}"], capture_output=True)
    assert not running.stdout


def test_a_second_run_goes_on_and_retry_runs_failures_again(folder: Path) -> None:
    cells = [Cell("nets:no_such", None, "onnx"), Cell("nets:Mean", None, "onnx")]
    matrix = Matrix(folder / "m.json")
    done = Row("nets:Mean", None, "onnx", None, "passed", error=0.0, seconds=123.0)
    lost = Row("nets:no_such", None, "onnx", None, "crashed", reason="power cut")
    matrix.add(done)
    matrix.add(lost)
    assert run_matrix(cells, Matrix(folder / "m.json")) == [lost, done]
    again = run_matrix(cells, Matrix(folder / "m.json"), retry=True)
    assert again[1] == done
    assert again[0].status == "refused"
    assert "no_such" in (again[0].reason or "")


def test_lists_of_models(tmp_path: Path) -> None:
    text = "emo_1m 256 # a zoo name\n\nresnet18 3x224x224\ntimm/vit_tiny_patch16_224\n"
    (tmp_path / "list.txt").write_text(text + "seaformer_tiny_seg?output=labels 512x1024\n")
    assert read_models(tmp_path / "list.txt") == [
        ("emo_1m", "256"),
        ("timm/resnet18", "224x224"),
        ("timm/vit_tiny_patch16_224", None),
        ("seaformer_tiny_seg?output=labels", "512x1024"),
    ]


@pytest.mark.parametrize("text", ["emo_1m big", "emo_1m 224 224", "# nothing\n"])
def test_lists_that_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UsageError):
        read_models(tmp_path / "list.txt")


def test_a_list_of_too_many_models(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"model_{n}\n" for n in range(5000)))
    with pytest.raises(UsageError, match="more than 4,096 models"):
        read_models(tmp_path / "list.txt")


def test_a_model_that_nobody_has_starts_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of them are refused at once, and the file is written once."""
    pytest.importorskip("timm")
    started: list[str] = []
    written: list[int] = []

    def start(cell: Cell, *rest: object) -> Row:
        started.append(cell.model)
        return Row(
            cell.model, cell.size, cell.format, None, "passed", None, None, None, False, None, 1
        )

    monkeypatch.setattr("mobile_export.sweep.run._run_cell", start)
    monkeypatch.setattr(Matrix, "write", lambda self: written.append(len(self.rows)))
    names = [f"no_such_{n}" for n in range(300)]
    cells = cells_of(
        [*((name, None) for name in names), ("timm/nope", None), ("emo_1m", None)], ["onnx"]
    )
    rows = run_matrix(cells, Matrix(tmp_path / "m.json"))
    assert started == ["emo_1m"]
    assert [row.status for row in rows] == ["refused"] * 301 + ["passed"]
    assert "no_such_7" in (rows[7].reason or "")
    assert "timm" in (rows[300].reason or "")
    assert written == [301, 302]


def test_formats_with_a_precision() -> None:
    models = [("a", None), ("b", "64")]
    cells = cells_of(models, ["onnx", "tflite:fp16", "onnx"])
    assert cells == [
        Cell("a", None, "onnx"),
        Cell("a", None, "tflite", "fp16"),
        Cell("b", "64", "onnx"),
        Cell("b", "64", "tflite", "fp16"),
    ]
    for wrong in ("onxx", "onnx:fp8"):
        with pytest.raises(UsageError):
            cells_of(models, [wrong])


def test_a_judge_is_a_column_of_its_own(folder: Path) -> None:
    """``--runtime`` runs the formats that have it, beside the rows of the export alone."""
    pytest.importorskip("openvino")
    Matrix(folder / "m.json").add(Row("nets:Mean", None, "onnx", None, "passed", error=0.0))
    done = run("nets:Mean", "--runtime", "openvino", "-o", "m.json", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["format"], row["judge"], row["status"]) == ("onnx", "openvino", "passed")
    assert row["runtime"].startswith("OpenVINO ")
    assert row["bytes"] > 0
    assert row["error"] <= row["tolerance"] <= 1e-4
    assert len(Matrix(folder / "m.json").rows) == 2
    head = "| model | size | onnx | onnx in openvino |"
    assert head in (folder / "m.md").read_text().splitlines()


def test_what_a_judge_says_counts() -> None:
    parity = {
        "verdict": "failed",
        "max_rel": 5e-2,
        "tolerance": 1e-5,
        "runtime": "OpenVINO 1",
        "emulated": False,
        "worst": "noise-0:logits",
    }
    said = cell.second_outcome(1, json.dumps({"parity": parity}), "")
    assert (said["status"], said["error"], said["runtime"]) == ("failed", 5e-2, "OpenVINO 1")
    assert said["reason"] == "error 5.0e-02 of the output range in noise-0:logits"
    assert cell.second_outcome(-6, "", "")["status"] == "crashed"
    assert cell.second_outcome(2, "", "error: it cannot load x")["status"] == "refused"


def test_a_judge_that_a_format_has_not() -> None:
    with pytest.raises(UsageError, match="TFLite files are not executed with 'openvino'"):
        cells_of([("a", None)], ["tflite"], "openvino")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"rows": 3, "schema": 1}', '{"schema": 9, "rows": []}']
)
def test_somebody_elses_file_is_left_alone(folder: Path, text: str) -> None:
    (folder / "m.json").write_text(text)
    with pytest.raises(ArtifactError):
        Matrix(folder / "m.json")
    done = run("nets:Mean", "--formats", "onnx", "-o", "m.json")
    assert done.returncode == 2
    assert (folder / "m.json").read_text() == text


def test_markdown_has_a_line_per_model_and_size() -> None:
    row = Row("emo_1m", None, "onnx", None, "passed", error=1.2e-6)
    other = replace(row, size="512", format="coreml", error=4e-3, emulated=True)
    lines = markdown([row, other]).splitlines()
    assert "| emo_1m | its own | 1e-06 |  |" in lines
    assert "| emo_1m | 512 |  | 4e-03* |" in lines


@pytest.mark.parametrize(
    ("verdicts", "status", "error"),
    [
        (("passed", "passed"), "passed", 1e-6),
        (("passed", "failed"), "failed", 2e-2),
        (("failed", "inconclusive"), "failed", 1e-6),
    ],
)
def test_a_file_passes_under_all_options_or_not(
    verdicts: tuple[str, str], status: str, error: float
) -> None:
    """ncnn's files are judged with float32 options and with the default ones."""
    main, default = (
        {
            "verdict": verdict,
            "max_rel": max_rel,
            "tolerance": 1e-2,
            "runtime": "ncnn",
            "emulated": False,
            "worst": "noise-0:logits",
            "float32_error": 1e-6,
        }
        for verdict, max_rel in zip(verdicts, (1e-6, 2e-2), strict=True)
    )
    artifact = {"parity": {**main, "others": [default]}, "bytes": 1, "seconds": {"export": 1.0}}
    outcome = cell.outcome(int(status != "passed"), json.dumps({"artifacts": [artifact]}), "")
    assert (outcome["status"], outcome["error"]) == (status, error)


def test_passes_left_out_are_counted_apart() -> None:
    good = Row("emo_1m", None, "onnx", None, "passed", error=1e-6)
    rows = [good, replace(good, model="emo_2m", left_out=("fold_norms",))]
    lines = markdown(rows).splitlines()
    assert "| format | cells | passed | a pass left out |" in lines
    assert "| onnx | 2 | 2 | 1 |" in lines
    assert "- emo_2m, onnx: without fold_norms: please report" in lines
    assert "left out" not in markdown([good])


def test_rows_with_passes_left_out_are_kept(tmp_path: Path) -> None:
    row = Row("emo_1m", None, "onnx", None, "passed", left_out=("fold_norms",))
    Matrix(tmp_path / "m.json").add(row)
    assert Matrix(tmp_path / "m.json").rows == (row,)


def test_somebody_elses_notes_are_left_alone(folder: Path) -> None:
    (folder / "notes.md").write_text("# My notes")
    done = run("nets:Mean", "--formats", "onnx", "-o", "notes.json")
    assert done.returncode == 2
    assert "notes.md" in done.stderr
    assert (folder / "notes.md").read_text() == "# My notes"
    assert not (folder / "notes.json").exists()


def test_only_the_named_module_comes_from_the_current_folder(folder: Path) -> None:
    (folder / "typer.py").write_text("open('ran', 'w')")
    rows = run_matrix([Cell("nets:Mean", None, "onnx")], Matrix(folder / "m.json"))
    assert [row.status for row in rows] == ["passed"]
    assert not (folder / "ran").exists()


def test_only_a_matrix_is_replaced_with_force(folder: Path) -> None:
    (folder / "package.json").write_text('{"name": "mine"}')
    done = run("nets:Mean", "--formats", "onnx", "-o", "package.json", "--force")
    assert done.returncode == 2
    assert "is not the result of mobile-export matrix" in done.stderr
    assert (folder / "package.json").read_text() == '{"name": "mine"}'
    matrix = Matrix(folder / "m.json")
    matrix.add(Row("nets:Mean", None, "onnx", None, "passed", error=0.0))
    assert Matrix(folder / "m.json", anew=True).rows == ()


ROW = {"model": "m", "size": None, "format": "onnx", "precision": None, "status": "passed"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"schema": 1}', "lacks the field rows"),
        ('{"schema": 1, "rows": {}}', "rows: expected array"),
        ('{"x": ' + "[" * 10**6, "nested too deeply"),
        (b"\xff", "is not JSON"),
        ("", "is not JSON"),
        *(
            (json.dumps({"schema": 1, "rows": [ROW | {name: value}]}), f"rows[0].{name}: ")
            for name, value in [
                ("error", "x"), ("error", -1), ("seconds", []), ("status", "good"), ("model", 1),
                ("bytes", -1), ("left_out", 5), ("reason", {}), ("model", "x" * 2000),
            ]
        ),
    ],
)  # fmt: skip
def test_a_matrix_is_input(folder: Path, content: str | bytes, said: str) -> None:
    file = folder / "m.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ArtifactError, match=re.escape(said)):
        Matrix(file)


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_pipes_are_not_waited_for(folder: Path) -> None:
    for name in ("m.json", "m.md", "list.txt"):
        os.mkfifo(folder / name)
    with pytest.raises(ArtifactError, match="named pipe"):
        Matrix(folder / "m.json")
    assert not is_markdown_of_ours(folder / "m.md")
    with pytest.raises(UsageError, match="named pipe"):
        read_models(folder / "list.txt")


def test_hostile_names_stay_in_their_cell() -> None:
    name = "x|\n# [a](b) <script>\x1b[31m\u202e`*"
    rows = [
        Row(name, name, name, name, "crashed", reason=name, left_out=(name,)),
        Row("m", None, "onnx", None, "passed", error=1e-6, emulated=True),
    ]
    lines = markdown(rows).splitlines()
    assert not any(line.startswith("# ") for line in lines[1:])
    for line in lines:
        assert line.isprintable()
        assert "<script>" not in line.replace("\\<", "")
        assert not re.search(r"(?<!\\)\[", line)
    tables = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables[:4]} == {6}
    assert any("1e-06*" in line for line in tables)


@pytest.mark.parametrize("line", ["os:system?command=true", "mynet:build 32", "--force"])
def test_a_list_names_no_code(tmp_path: Path, line: str) -> None:
    (tmp_path / "list.txt").write_text(f"emo_1m\n{line}\n")
    with pytest.raises(UsageError, match=r"Line 2 .*names no code"):
        read_models(tmp_path / "list.txt")


def test_a_result_is_not_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("other.json")
    with pytest.raises(ArtifactError, match="is a link"):
        Matrix(tmp_path / "link.json")


def test_two_runs_into_one_result_lose_nothing(tmp_path: Path) -> None:
    first, second = Matrix(tmp_path / "m.json"), Matrix(tmp_path / "m.json")
    rows = [Row(name, None, "onnx", None, "passed", 1e-6) for name in "abc"]
    first.add(rows[0])
    second.add(rows[1])
    first.add(rows[2])
    assert set(Matrix(tmp_path / "m.json").rows) == set(rows)

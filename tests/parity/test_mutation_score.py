"""Damaged files of every format do not pass.

Tests benchmarks/mutation_score.py and its editors on small networks; docs/mutation.md has the table
over many models.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobile_export.exporters.table import get_format
from mobile_export.graph.program import Program
from mobile_export.pipeline import ExportReport
from mobile_export.pipeline.captured import References
from mobile_export.sources.table import Source
from tests.conftest import need

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILES = [
    (name, precision)
    for name, precision in (
        ("onnx", "fp32"), ("coreml", "fp32"), ("coreml", "fp16"), ("tflite", "fp32"),
        ("tflite", "fp16"), ("ncnn", "fp32"), ("ncnn", "fp16"), ("tnn", "fp32"), ("tnn", "fp16"),
    )
]  # fmt: skip
SAMPLE = [("onnx", "fp32"), ("coreml", "fp16"), ("tflite", "fp32"), ("ncnn", "fp32"),
          ("tnn", "fp16")]  # fmt: skip
SURE = {
    "input ignored", "flipped left-right", "channels swapped", "weights permuted", "bias dropped",
    "padding off by one", "filters reversed", "sum becomes a difference",
}  # fmt: skip
"""Kinds of damage none of which may pass, here."""


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return importlib.import_module("mutation_score")


@pytest.mark.parametrize(
    ("name", "precision"),
    [pytest.param(*each, marks=() if each in SAMPLE else (pytest.mark.matrix,)) for each in FILES],
)
def test_damaged_files_do_not_pass(
    name: str,
    precision: str,
    score: Any,
    source: Source,
    program: Program,
    exported: Callable[..., ExportReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need(name)
    row = get_format(name)
    chosen = None if precision == row.precision(None).name else precision
    (artifact,) = exported(name, precision=chosen).artifacts
    assert artifact.path is not None
    score.leave_probe_out(monkeypatch.setattr)
    written = score.Written(
        "tiny", row, row.precision(precision), artifact.path, program,
        References(source, program), score.Others(source.module, source.input),
    )  # fmt: skip
    found = list(score.records(written, 1, set()))
    kinds = {record["kind"] for record in found}
    assert found[0]["kind"] == "none"
    assert found[0]["status"] == "passed"
    assert {*SURE, "weights x 1.02", "activation replaced", "epsilon x 10"} <= kinds | {
        "padding off by one"  # of SAME in TFLite
    }
    passed = [record for record in found[1:] if record["status"] == "passed"]
    assert [r for r in passed if r["kind"] in SURE] == []
    for record in passed:  # on 24 other images, too, it is hardly beyond what is allowed
        assert record["others"]["max_rel"] <= 1.5 * record["others"]["allowed"], record
        assert record["tolerance"] <= (0.01 if precision == "fp16" else 1e-5), record
        assert record["others"]["spread_error"] <= 0.1, record
    refused = [record for record in found if record["status"] == "refused"]
    assert refused == [], "an editor wrote what no runtime takes"


def test_a_survivor_is_told_from_one_below_tolerance(
    score: Any, source: Source, program: Program, exported: Callable[..., ExportReport]
) -> None:
    """Parity is made blind: it has one sample only, on which the file is right."""
    row = get_format("onnx")
    need("onnx")
    path = exported("onnx").artifacts[0].path
    assert path is not None
    references = References(source, program)
    whole = references.get()
    one = type(whole)(whole.samples[:1], whole.outputs[:1], whole.float32_error)
    references._made[False], references._strong[False] = one, ()
    others = score.Others(source.module, source.input)
    written = score.Written("tiny", row, row.precision(None), path, program, references, others)
    found = {record["kind"]: record for record in score.records(written, 0, set())}
    ignored = found["input ignored"]  # it always returns what the first sample gives
    assert ignored["status"] == "passed"
    assert ignored["below_tolerance"] is False
    assert ignored["others"]["spread_error"] == pytest.approx(1.0, abs=0.01)
    page = importlib.import_module("mutation_page").page(list(found.values()))
    assert "| input ignored | 0/1 |" in page
    ((off,),) = others.errors(written.load(), row.precision(None), whole.float32_error)
    assert off.size < 1e-5 <= off.bound.size
    assert off.spread < 1e-4


def test_a_whole_model_is_scored(
    score: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("onnx")
    monkeypatch.setattr(score, "chosen_sites", lambda *args: iter(()))
    rows = [get_format("onnx")]
    found = list(score.score("espcn_x2@16", rows, tmp_path, 1, lambda *file: set()))
    assert [(r["kind"], r.get("status")) for r in found] == [
        ("none", "passed"),
        ("input ignored", "failed"),
        ("flipped left-right", "failed"),
        ("complete", None),
    ]


def test_results_are_resumed(score: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = score.Results(tmp_path / "a.jsonl")
    facts = {"model": "m", "format": "onnx", "precision": "fp32", "where": "x"}
    results.add({**facts, "kind": "bias dropped"})
    results.add({**facts, "kind": "complete"})
    with results.path.open("a") as stream:
        stream.write('{"model": "m", "cut')  # the run was killed here
    again = score.Results(results.path).done("m", "onnx", "fp32")
    assert {"bias dropped|x", "complete"} <= again
    assert score.Results(results.path).done("m", "onnx", "fp16") == set()


@pytest.mark.parametrize("name", ["onnx", "coreml", "tflite", "ncnn", "tnn"])
def test_an_editor_changes_the_copy_only(
    name: str, score: Any, tmp_path: Path, exported: Callable[..., ExportReport]
) -> None:
    need(name)
    (artifact,) = exported(name).artifacts
    assert artifact.path is not None
    path = tmp_path / artifact.path.name
    for file in get_format(name).files(artifact.path):
        (shutil.copytree if file.is_dir() else shutil.copy)(file, tmp_path / file.name)

    def content(at: Path) -> dict[str, bytes]:
        files = [at, *at.rglob("*")] if at.is_dir() else get_format(name).files(at)
        return {str(f.relative_to(at.parent)): f.read_bytes() for f in files if f.is_file()}

    before = content(path)
    editor = score.editor_of(name, path)
    bias = next(site for site in editor.sites() if site.kind == "bias dropped")
    (tmp_path / "damaged").mkdir()
    editor.write(bias, tmp_path / "damaged" / path.name)
    assert content(path) == before
    after = content(tmp_path / "damaged" / path.name)
    assert after.keys() == before.keys()
    changed = [key for key in before if after[key] != before[key]]
    assert len(changed) == 1


def test_the_page_is_made_of_the_results_beside_it(score: Any) -> None:
    """But for the line that says when, and with which versions."""
    made = importlib.import_module("mutation_page").page(
        score.Results(score.RESULTS).records, score.MODELS
    )
    written = (BENCHMARKS.parent / "docs" / "mutation.md").read_text()
    lines = [
        [line for line in text.splitlines() if not line.startswith("Written ")]
        for text in (made, written)
    ]
    assert lines[0] == lines[1]

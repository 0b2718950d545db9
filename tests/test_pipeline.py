"""From source to proven files, and what happens when a file does not pass."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.artifacts.content import sha256_of
from mobile_export.cli.console import finished_line, print_export
from mobile_export.errors import BUG, ExportError, MissingExtraError, PassError, UsageError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.interface import Adapted, Prepared
from mobile_export.exporters.onnx import session as onnx_runtime
from mobile_export.exporters.onnx import writer as onnx_exporter
from mobile_export.exporters.row import Format
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.graph.editor import GraphEditor
from mobile_export.graph.program import Program
from mobile_export.lowering import ir
from mobile_export.pipeline import ExportReport, export_program, preparation
from mobile_export.sources.table import Source
from mobile_export.system.install import install_command
from mobile_export.system.versions import Library
from tests.conftest import make_source, need

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def run(source: Source, folder: Path, *targets: Format, **options: Any) -> ExportReport:
    config = ExportConfig(out_dir=folder, **options)
    return export_program(lambda: source, "tiny", targets or (get_format("onnx"),), config)


def test_every_format_from_one_trace(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    for target in FORMATS:
        need(target.name)
    calls: list[object] = []
    forward = type(source.module).forward

    def counted(self: object, x: object) -> object:
        import torch

        if torch.compiler.is_exporting():
            calls.append(x)
        return forward(self, x)  # type: ignore[arg-type]

    monkeypatch.setattr(type(source.module), "forward", counted)
    report = run(source, tmp_path, *FORMATS)
    assert report.exit_code == 0
    assert len(calls) == 1, "the model's own code was captured once"
    files = [file.name for t in FORMATS for file in t.files(Path(f"tiny{t.suffix}"))]
    manifests = [f"tiny{t.suffix}.manifest.json" for t in FORMATS]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files + manifests)


def test_it_is_told_which_of_how_many_formats_goes_on_and_what_became_of_each(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One format, whose converter fails, and one that is written."""
    stages: list[str] = []
    lines: list[str] = []

    def broken(*given: object) -> None:
        raise ExportError("The converter gave up [here].")

    monkeypatch.setattr(onnx_exporter, "write", broken)
    export_program(
        lambda: source,
        "tiny",
        (get_format("onnx"), get_format("tnn")),
        ExportConfig(out_dir=tmp_path),
        progress=stages.append,
        finished=lambda result: lines.append(finished_line(result)),
    )
    counted = [stage[:6] for stage in stages if " of " in stage]
    assert list(dict.fromkeys(counted)) == ["1 of 2", "2 of 2"]
    assert "error" in lines[0]
    assert "onnx: The converter gave up" in lines[0]
    assert re.search(r"passed.* .*tiny\.tnnproto \d\.\de-\d\d \(\d+ s\)", lines[1])


class Histogram(nn.Module):
    """What neither ncnn nor TNN has, and ONNX has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.histc(x, 4, -1.0, 1.0) + x.mean()


def test_a_refusal_of_two_formats_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One message in the end with both names; while it runs, the second refers to the first."""
    said: dict[str, str] = {}
    lines: list[str] = []
    source = make_source(Histogram())
    report = export_program(
        lambda: source,
        "histogram",
        [get_format(name) for name in ("onnx", "ncnn", "tnn")],
        ExportConfig(out_dir=tmp_path),
        finished=lambda result: lines.append(finished_line(result, said)),
    )
    assert [failure.format for failure in report.failures] == ["ncnn", "tnn"]
    assert "aten.histc" in lines[1]
    assert lines[2] == "[bold red]error[/] tnn: as for ncnn"
    capsys.readouterr()
    print_export(report)
    text = " ".join(capsys.readouterr().err.split())
    assert text.count("aten.histc") == 1
    assert "error: ncnn, tnn: aten.histc" in text
    assert text.count("Written and right in this run: ONNX") == 1


def test_the_json_that_was_promised(exported: Callable[..., ExportReport]) -> None:
    report = exported("onnx").to_dict()
    json.dumps(report, allow_nan=False)
    (artifact,) = report["artifacts"]
    assert {"format", "path", "files", "bytes", "seconds", "parity"} <= set(artifact)
    assert {"load", "passes", "export", "parity"} <= set(artifact["seconds"])
    assert {
        "runtime", "emulated", "max_abs", "max_rel", "cosine", "tolerance", "passed",
    } <= set(artifact["parity"])  # fmt: skip
    assert artifact["bytes"] == Path(artifact["path"]).stat().st_size
    assert all(Path(file).exists() for file in artifact["files"])


def test_the_manifest(exported: Callable[..., ExportReport]) -> None:
    path = exported("onnx").artifacts[0].path
    assert path is not None
    manifest = json.loads(path.with_name(path.name + ".manifest.json").read_text())
    assert manifest["sha256"] == sha256_of(path)
    assert manifest["companions"] == []
    assert manifest["source"] == "TinyNet"
    assert manifest["input"]["shape"] == [1, 3, 32, 32]
    assert manifest["parity"]["passed"] is True
    assert {"torch", "onnx", "onnxruntime", "mobile-export"} <= set(manifest["tools"])


def test_emulation_is_said(exported: Callable[..., ExportReport]) -> None:
    import sys

    pytest.importorskip("coremltools")
    assert exported("onnx").artifacts[0].parity.emulated is False
    assert exported("coreml").artifacts[0].parity.emulated is (sys.platform != "darwin")


@pytest.fixture
def wrong_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime whose file is 0.1 % off."""
    run_file = onnx_runtime._OnnxSession.run

    def wrong(self: Any, sample: Any) -> list[np.ndarray]:
        return [array * 1.001 for array in run_file(self, sample)]

    monkeypatch.setattr(onnx_runtime._OnnxSession, "run", wrong)


def test_a_file_that_fails_parity_is_not_kept(
    tmp_path: Path, source: Source, wrong_results: None
) -> None:
    report = run(source, tmp_path / "out")
    assert report.exit_code == 1
    assert report.artifacts[0].parity.status == "failed"
    assert report.artifacts[0].path is None
    assert not (tmp_path / "out").exists()


def test_keep_failed(tmp_path: Path, source: Source, wrong_results: None) -> None:
    report = run(source, tmp_path, keep_failed=True)
    assert report.exit_code == 1
    path = report.artifacts[0].path
    assert path is not None
    manifest = json.loads(path.with_name(path.name + ".manifest.json").read_text())
    assert manifest["parity"]["passed"] is False


class Panic(BaseException):
    """As libraries in Rust raise it: no `Exception`."""


@pytest.mark.parametrize(
    "error", [ExportError("refused"), IndexError("list index out of range"), Panic("unreachable")]
)
def test_one_format_failing_does_not_stop_the_others(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """An exception of a converter's own does not, either."""
    pytest.importorskip("coremltools")

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(onnx_exporter, "write", refuse)
    report = run(source, tmp_path, get_format("onnx"), get_format("coreml"))
    assert [failure.format for failure in report.failures] == ["onnx"]
    assert [artifact.format for artifact in report.artifacts] == ["coreml"]
    assert report.exit_code == 2
    assert (tmp_path / "tiny.mlpackage").exists()
    assert not (tmp_path / "tiny.onnx").exists()
    [failure] = report.failures
    assert (failure.error is error) == isinstance(error, ExportError)
    assert failure.error.message.startswith(BUG) != isinstance(error, ExportError)
    with pytest.raises(type(error)):
        run(source, tmp_path, get_format("onnx"))


def test_a_missing_extra_names_the_install_command(tmp_path: Path, source: Source) -> None:
    target = replace(
        get_format("onnx"), libraries=(Library("not_installed_at_all", "x", ">=1,<2"),)
    )
    with pytest.raises(MissingExtraError, match=re.escape(install_command("onnx"))):
        run(source, tmp_path / "out", target)
    assert not (tmp_path / "out").exists()


def test_the_disk_fills_up_while_exporting(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from mobile_export.errors import ArtifactError

    def full(program: object, path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onnx_exporter, "write", full)
    with pytest.raises(ArtifactError, match="No space left on device"):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_of_ours_that_does_not_load_is_our_mistake(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def garbage(program: object, path: Path, *_: object) -> None:
        path.write_bytes(b"no protobuf")

    monkeypatch.setattr(onnx_exporter, "write", garbage)
    with pytest.raises(
        ExportError, match=r"mobile-export itself failed.*ONNX.*does not load"
    ) as caught:
        run(source, tmp_path / "out")
    assert ".mobile-export" not in str(caught.value), "nor is its draft's folder named"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("precision", "error", "said"), [
    ("fp16", 0.012, True), ("fp16", 40.0, True), ("fp32", 0.012, False),
])  # fmt: skip
def test_a_float16_error_of_any_size_names_the_other_precision(
    precision: str,
    error: float,
    said: bool,
    exported: Callable[..., ExportReport],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (artifact,) = exported("coreml").artifacts
    parity = replace(artifact.parity, status="failed", precision=precision, max_rel=error)
    print_export(replace(exported("coreml"), artifacts=(replace(artifact, parity=parity),)))
    text = capsys.readouterr().err
    assert "parity failed" in text
    assert ("--precision fp32" in text) == said


def test_what_is_adapted_is_proven(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A format that hands its converter something else is stopped before anything is written."""

    def adapt(program: Program, job: object) -> Adapted:
        graph = GraphEditor(program)
        for node in graph.find(torch.ops.aten.add.Tensor):
            a, b = node.args
            graph.replace(node, graph.call(torch.ops.aten.sub.Tensor, a, b, like=node), "wrong")
        return Adapted(graph.result().program)

    monkeypatch.setattr(onnx_exporter, "adapt", adapt)
    with pytest.raises(PassError, match=r"ONNX's converter is given of TinyNet computes something"):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_layer_graph_is_proven(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower = preparation.lower

    def wrong(program: Program, **options: Any) -> ir.LayerGraph:
        graph = lower(program, **options)
        layers = [
            replace(layer, weight=layer.weight * 1.001) if hasattr(layer, "weight") else layer
            for layer in graph.layers
        ]
        return replace(graph, layers=tuple(layers))

    monkeypatch.setattr(preparation, "lower", wrong)
    with pytest.raises(PassError, match=r"The layer graph of TinyNet computes something else"):
        run(source, tmp_path / "out", get_format("tnn"))


def test_a_writer_that_edits_what_was_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = onnx_exporter.write

    def meddling(prepared: Prepared, path: Path, job: Any) -> None:
        next(iter(prepared.program.exported.state_dict.values())).mul_(1.5)
        write(prepared, path, job)

    monkeypatch.setattr(onnx_exporter, "write", meddling)
    with pytest.raises(ExportError, match=r"the writer of ONNX files changed the proven graph"):
        run(make_source(), tmp_path / "out")


WHY = {
    "refuses": "the converter refuses it",
    "crashes": "does not load",
    "computes something else": "its error was",
}


@pytest.mark.parametrize("how", WHY)
def test_a_pass_that_a_converter_cannot_take_is_left_out(
    how: str, tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault stands and falls with fold_norms: with it, no batch norm is left."""
    write = onnx_exporter.write

    def touchy(prepared: Prepared, path: Path, job: Any) -> None:
        calls = {node.target for node in prepared.program.exported.graph.nodes}
        folded = torch.ops.aten.batch_norm.default not in calls
        if folded and how == "refuses":
            raise ExportError("the converter refuses it")
        write(prepared, path, job)
        if folded and how == "crashes":
            path.write_bytes(b"nothing that loads")
        if folded and how == "computes something else":
            model = onnx.load(str(path))
            weights = model.graph.initializer[0]
            array = onnx.numpy_helper.to_array(weights)
            weights.CopyFrom(onnx.numpy_helper.from_array(array * 1.5, weights.name))
            onnx.save(model, str(path))

    monkeypatch.setattr(onnx_exporter, "write", touchy)
    report = run(source, tmp_path / "out")
    (artifact,) = report.artifacts
    assert artifact.parity.passed
    assert artifact.left_out == ("fold_norms",)
    assert report.exit_code == 0
    (note,) = [note for note in report.notes if "left out" in note]
    assert note.startswith("onnx: pass fold_norms left out: with all passes, ")
    assert WHY[how] in note
    assert note.endswith("Please report the model")
    assert artifact.path is not None
    kept = json.loads(artifact.path.with_name("tiny.onnx.manifest.json").read_text())
    assert "fold_norms" not in [each["name"] for each in kept["passes"]]


def test_where_no_pass_is_to_blame_the_first_error_stands(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def refuse(*words: object) -> None:
        calls.append(words)
        raise ExportError(f"refused, try {len(calls)}")

    monkeypatch.setattr(onnx_exporter, "write", refuse)
    with pytest.raises(ExportError, match="refused, try 1"):
        run(source, tmp_path / "out")
    assert len(calls) == 2, "once with the passes, once without"


class DeadHead(nn.Module):
    """A second output behind a ReLU that no image opens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = self.conv(x).mean((2, 3))
        return pooled, torch.relu(pooled - 1e4)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_no_format_passes_with_an_output_that_nothing_moves(tmp_path: Path, precision: str) -> None:
    rows = [row for row in FORMATS if precision in {each.name for each in row.precisions}]
    for row in rows:
        need(row.name)
    report = run(make_source(DeadHead()), tmp_path, *rows, precision=precision, keep_failed=True)
    assert report.failures == ()
    assert [artifact.parity.deciding.status for artifact in report.artifacts] == [
        "inconclusive"
    ] * len(rows)
    assert report.exit_code == 1
    for artifact in report.artifacts:
        (dead,) = artifact.parity.unmoved
        assert f"{dead} does not change with the input" in artifact.parity.notes[-1]


class OwnSamples(nn.Module):
    """Opens its head for very bright images only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.mean((2, 3)) - 1e4)


def test_own_samples_are_run_as_well_and_can_decide(tmp_path: Path) -> None:
    source = make_source(OwnSamples())
    assert not run(source, tmp_path / "a").artifacts[0].parity.passed
    own = tmp_path / "own"
    own.mkdir()
    np.save(own / "bright.npy", np.full((3, 32, 32), 3e4))
    report = run(source, tmp_path / "b", samples=own)
    assert report.artifacts[0].parity.passed


def test_own_samples_are_looked_for_before_the_model_is_loaded(tmp_path: Path) -> None:
    def load() -> Source:
        raise AssertionError("loaded")

    config = ExportConfig(out_dir=tmp_path, samples=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="`samples`"):
        export_program(load, "tiny", (get_format("onnx"),), config)
    assert list(tmp_path.iterdir()) == []

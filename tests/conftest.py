"""Fixtures that several test modules share: small networks, and the files made of them."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from mobile_export.detection.options import NmsOptions
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.coreml.options import CoreMLOptions
from mobile_export.exporters.interface import Prepared, runtime_of, writer_of
from mobile_export.exporters.processing import processed
from mobile_export.exporters.table import get_format
from mobile_export.exporters.tflite.options import TFLiteOptions
from mobile_export.graph.capture import trace
from mobile_export.graph.program import Program
from mobile_export.graph.specs import OutputSpec
from mobile_export.lowering.lower import lower
from mobile_export.parity.session import Session
from mobile_export.pipeline import ExportReport, export_program
from mobile_export.sources import table
from mobile_export.sources.table import ModelRequest, Source

# A shell that starts tests in the background makes them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-docs", action="store_true", help="write the tables that tests measure into docs/"
    )
    parser.addoption(
        "--write-screens", action="store_true", help="keep this run's screens in tests/apps/screens"
    )
    parser.addoption(
        "--hostile-seed", type=int, default=1, help="of the thousands of tests/hostile"
    )


class TinyNet(nn.Module):
    """A little of everything: strided and depthwise convolution, norms, attention, a classifier."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU()
        )
        self.mixer = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.head = nn.Linear(8, classes)
        self.num_classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.mixer(x)
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        attention = (q @ k.transpose(-2, -1) * 8**-0.5).softmax(dim=-1)
        tokens = tokens + nn.functional.gelu(attention @ v)
        return self.head(tokens.mean(dim=1))


class MultiOutput(nn.Module):
    """Returns a dict with one tensor under two names, and a feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.conv(x)
        pooled = features.mean((2, 3))
        return {"out": pooled, "out_kd": pooled, "features": features}


class TinyDetector(nn.Module):
    """48 anchors on a grid of 4 x 4 over 64 x 64 pixels: boxes, cut at the border, and scores."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 4, 1))
        self.scores = nn.Conv2d(16, 3 * (classes + 1), 1)
        self.deltas = nn.Conv2d(16, 3 * 4, 1)
        self.classes = classes

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.stem(x)
        logits = self.scores(features).permute(0, 2, 3, 1).reshape(1, -1, self.classes + 1)
        deltas = self.deltas(features).permute(0, 2, 3, 1).reshape(1, -1, 4)
        cell = torch.arange(deltas.shape[1], dtype=x.dtype) // 3
        centres = torch.stack([cell % 4, cell // 4], -1) * 16 + 8 + deltas[..., :2] * 4
        halves = 10 * torch.exp(deltas[..., 2:] * 0.3)
        boxes = torch.cat([centres - halves, centres + halves], -1).clamp(0, 64)
        return {"boxes": boxes, "scores": (logits * 4).softmax(-1)[..., :-1]}


def load_source(model: Any, **options: Any) -> Source:
    """The source of a model, from the keywords of `ModelRequest.of`."""
    return table.load_source(ModelRequest.of(model, **options))


def make_source(
    module: nn.Module | None = None, size: tuple[int, int] = (32, 32), seed: int = 0
) -> Source:
    """A source of a module (`TinyNet` by default) with seeded weights and busy norm statistics."""
    torch.manual_seed(seed)
    module = TinyNet() if module is None else module
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean.normal_(0, 0.3)
            child.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(child.weight, 0.5, 1.5)
            nn.init.normal_(child.bias, std=0.3)
    return load_source(module.eval(), size=size)


def need(name: str) -> None:
    """Skip the test when the libraries of a format are not installed."""
    for library in get_format(name).libraries:
        pytest.importorskip(library.module)


def sampled(cases: Iterable[Any], kept: Callable[[Any], bool]) -> list[Any]:
    """Cases of a matrix for ``parametrize``: those that are kept run always, the others with
    ``-m matrix``."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=marks)
        for case in cases
        for marks in [() if kept(case) else pytest.mark.matrix]
    ]


def write_file(
    name: str,
    program: Program,
    path: Path,
    *,
    precision: str | None = None,
    options: object = None,
    nms: NmsOptions | None = None,
) -> None:
    """Write one file of a program as it is, without passes, proof or parity."""
    row = get_format(name)
    job = ExportConfig(
        precision=precision, options={} if options is None else {name: options}, nms=nms
    ).job(row)
    writer = writer_of(row)
    wanted = processed(program, job.options)
    program = program if wanted is program else wanted.in_float32()
    if row.made_from == "layers":
        prepared = Prepared(program, lower(program))
    else:
        prepared = Prepared(writer.adapt(program, job).program)
    writer.write(prepared, path, job)


def load_file(name: str, path: Path, outputs: tuple[OutputSpec, ...]) -> Session:
    """A session of a file."""
    return runtime_of(get_format(name)).load(path, outputs)


@pytest.fixture(scope="session")
def source() -> Source:
    """`TinyNet`; all tests share it, and `shared_network_is_unchanged` sees to that."""
    return make_source()


@pytest.fixture(scope="session")
def program(source: Source) -> Program:
    """Shares its weights with ``source``."""
    return trace(source)


@pytest.fixture(autouse=True)
def shared_network_is_unchanged(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that writes to the network that all tests share fails; what it wrote is undone.

    The next tests in the process would compare files of other weights with it.
    """
    if not {"source", "program", "exported"} & set(request.fixturenames):
        yield
        return
    module = request.getfixturevalue("source").module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [child.training for child in module.modules()]
    yield
    after = module.state_dict()
    same = all(torch.equal(after[name], value) for name, value in before.items())
    same &= [child.training for child in module.modules()] == modes
    module.load_state_dict(before)
    module.eval()
    assert same, "this test changed the network that all tests share: make one with make_source()"


def load_script(path: Path) -> ModuleType:
    """A script of the repository as a module."""
    name = f"{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def exported(
    tmp_path_factory: pytest.TempPathFactory, source: Source
) -> Callable[..., ExportReport]:
    """Export `TinyNet` once per format and set of options; later calls get the same report."""
    made: dict[tuple[object, ...], ExportReport] = {}

    def get(
        format_name: str,
        *,
        precision: str | None = None,
        coreml: CoreMLOptions | None = None,
        tflite: TFLiteOptions | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> ExportReport:
        key = (format_name, precision, coreml, tflite, labels)
        if key not in made:
            config = ExportConfig(
                out_dir=tmp_path_factory.mktemp(format_name),
                precision=precision,
                options={
                    k: v for k, v in (("coreml", coreml), ("tflite", tflite)) if v is not None
                },
            )
            loaded = source if labels is None else Source(**{**vars(source), "labels": labels})
            made[key] = export_program(lambda: loaded, "tiny", [get_format(format_name)], config)
        return made[key]

    return get


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path

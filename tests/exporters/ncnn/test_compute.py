"""Every form of an op that the lowering knows, written as ncnn files and executed by ncnn.

The rows are those of ``tests.lowering/test_ops.py``; the reference is eager PyTorch in
float64. ncnn runs here without our runtime, with float32 options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobile_export.errors import ExportError, LoweringError
from mobile_export.exporters.ncnn import tables
from mobile_export.exporters.ncnn.writer import build
from mobile_export.graph.capture import flatten_outputs
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.lowering import ir
from mobile_export.lowering.lower import lower
from mobile_export.lowering.simplify import fuse_activations, unfold_as_convolutions
from tests.lowering.core_set import ENDS, compared
from tests.lowering.graphs import Calls, prepared
from tests.lowering.test_ops import CASES, ELEMENTWISE, IMAGE
from tests.passes.graphs import busy

ncnn = pytest.importorskip("ncnn")

IMAGES = [name for name, (_, shape, _) in CASES.items() if len(shape) == 4]
REFUSED: dict[str, str] = {}
"""Rows that ncnn has no layers for -> a word of the refusal."""


def run(param: Path, graph: ir.LayerGraph, image: np.ndarray) -> list[np.ndarray]:
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.num_threads = 1
    assert net.load_param(str(param)) == 0
    assert net.load_model(str(param.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    extractor.input(graph.inputs[0].name, ncnn.Mat(np.ascontiguousarray(image)).clone())
    results = []
    for name in graph.output_names or tuple(value.name for value in graph.outputs):
        status, mat = extractor.extract(name)
        assert status == 0, name
        results.append(np.array(mat))
    return results


def check(function: Any, shape: tuple[int, ...], parts: tuple[Any, ...], path: Path) -> None:
    torch.manual_seed(0)
    module = busy(Calls(function, *parts), 0)
    graph = unfold_as_convolutions(lower(prepared(module, shape)))
    graph = fuse_activations(graph, tables.FUSED_ACTIVATIONS)
    build(graph).write(path, path.with_suffix(".bin"), half=False)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact = flatten_outputs(run_float64(double_copy(module), x.double()))[1]
    for got, expected in zip(run(path, graph, x[0].numpy()), exact, strict=True):
        wanted = expected.numpy()
        assert got.size == wanted.size
        error = np.abs(got.reshape(wanted.shape) - wanted).max() / max(np.abs(wanted).max(), 1e-30)
        assert error <= 1e-5


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name: str, tmp_path: Path) -> None:
    check(ELEMENTWISE[name], IMAGE, (), tmp_path / "net.ncnn.param")


@pytest.mark.parametrize("name", IMAGES)
def test_case(name: str, tmp_path: Path) -> None:
    if name in REFUSED:
        with pytest.raises(ExportError, match=REFUSED[name]):
            check(*CASES[name], tmp_path / "net.ncnn.param")
        assert not list(tmp_path.iterdir())
        return
    check(*CASES[name], tmp_path / "net.ncnn.param")


@pytest.mark.parametrize("first", [torch.relu, lambda x: x])
def test_a_clip_of_frames(first: Any, tmp_path: Path) -> None:
    """An input of four axes besides the batch (SqueezeTime): 3 channels, 4 frames, 6x8."""
    conv = torch.nn.Conv2d(12, 5, 3)
    check(lambda x, f: f(first(x).flatten(1, 2)), (1, 3, 4, 6, 8), (conv,), tmp_path / "n.param")


def test_comparisons_are_exact_at_infinities(tmp_path: Path) -> None:
    graph = lower(prepared(Calls(lambda x: compared(x[:, :1], x[:, 1:])), tuple(ENDS.shape)))
    path = tmp_path / "net.ncnn.param"
    build(graph).write(path, path.with_suffix(".bin"), half=False)
    exact = compared(ENDS[:, :1], ENDS[:, 1:]).numpy()
    (got,) = run(path, graph, ENDS[0].numpy())
    assert np.array_equal(got.reshape(exact.shape), exact)


def test_infinities_are_refused_by_name() -> None:
    """Its x86 code refines an estimate of 1 / x: 1 / 0 is NaN, as is log(0)."""
    module = Calls(lambda x: torch.isinf(1 / x.relu()).float())
    graph = lower(prepared(module.eval(), IMAGE))
    with pytest.raises(LoweringError, match=r"ncnn has no layer for infinities.*isinf"):
        build(graph)

"""A file with one damaged weight: the module it belongs to is named, in every format."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mobile_export.api import prepare
from mobile_export.exporters.table import get_format
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.graph.program import Program
from mobile_export.parity.localise import LayerReport, localise
from mobile_export.parity.samples import parity_samples
from mobile_export.pipeline import ExportReport
from mobile_export.sources.table import Source
from tests.conftest import load_file, need


def look(name: str, path: Path, program: Program, source: Source, tolerance: float) -> LayerReport:
    session = load_file(name, path, program.outputs)
    return localise(session, program, parity_samples(source.input)[0], tolerance)


def damage(path: Path, weight: np.ndarray, factor: float) -> None:
    """Multiply a stored float32 weight in place, wherever the format keeps it."""
    content = path.read_bytes()
    for array in (weight, weight.transpose(1, 2, 3, 0) if weight.ndim == 4 else weight.T):
        raw = np.ascontiguousarray(array, dtype=np.float32).tobytes()
        if content.count(raw) == 1:
            changed = np.ascontiguousarray(array * factor, dtype=np.float32).tobytes()
            path.write_bytes(content.replace(raw, changed))
            return
    raise AssertionError("the weight is not in the file as it stands")


@pytest.mark.parametrize("name", ["onnx", "tflite", "coreml", "tnn"])
def test_a_sound_file_has_no_errors(
    name: str, exported: Callable[..., ExportReport], program: Program, source: Source
) -> None:
    need(name)
    precision = [p.name for p in get_format(name).precisions]
    chosen = "fp32" if "fp32" in precision else None
    path = exported(name, precision=chosen).artifacts[0].path
    assert path is not None
    report = look(name, path, program, source, 1e-4)
    assert report.errors == ()
    assert report.good > 5


def error_of_queries(source: Source) -> float:
    """By eager PyTorch in float64: how far q is off when its weight is 1.5 times as large.

    The bias is not damaged, and the shift of the norm before it is folded into the bias.
    """
    net = double_copy(source.module)
    inputs: list[torch.Tensor] = []
    net.norm.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    run_float64(net, parity_samples(source.input)[0].image)
    (tokens,) = inputs
    with torch.no_grad():
        normed = torch.nn.functional.layer_norm(tokens, (8,)) * net.norm.weight
        extra = 0.5 * normed @ net.qkv.weight[:8].T
        queries = net.qkv(net.norm(tokens))[..., :8]
    return float(extra.abs().max() / queries.abs().max())


@pytest.mark.parametrize("name", ["onnx", "tflite", "coreml"])
def test_a_damaged_weight_is_localised(
    name: str,
    tmp_path: Path,
    exported: Callable[..., ExportReport],
    program: Program,
    source: Source,
) -> None:
    need(name)
    path = exported(name, precision="fp32").artifacts[0].path
    assert path is not None
    copy = tmp_path / path.name
    if path.is_dir():
        shutil.copytree(path, copy)
        file = next(copy.rglob("weight.bin"))
    else:
        shutil.copy(path, copy)
        file = copy
    stored = prepare(source.module, program.example).exported.state_dict
    weight = [value for key, value in stored.items() if "qkv.weight" in key][-1]
    damage(file, weight.detach().numpy(), 1.5)
    report = look(name, copy, program, source, 1e-4)
    assert report.good > 3, "what comes before the damage is good"
    first = report.errors[0]
    assert first.counterpart == "getitem", "the first chunk of what the module qkv computes: q"
    assert first.max_rel == pytest.approx(error_of_queries(source), rel=1e-4)

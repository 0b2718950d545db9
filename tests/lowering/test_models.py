"""Whole models, prepared as for an export: the layer graph equals eager float64.

The default run takes a sample. ``pytest -m "matrix or not matrix"`` on this file lowers networks of
all the zoo's families, and 60 models of timm, the smallest of each family.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobile_export.graph.capture import flatten_outputs, trace
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.lowering.lower import lower
from mobile_export.lowering.reference import run_graph
from mobile_export.passes import PASSES
from mobile_export.system.threads import one_thread
from tests.conftest import load_source
from tests.lowering.graphs import EXACT, assert_well_formed, relative_error

SAMPLE = ("emo_1m", "timm/levit_128s", "timm/mobilenetv3_small_050")
ZOO = (
    *(f"emo_{size}m@{side}" for size in (1, 2, 5, 6) for side in (224, 256, 512)),
    *("seaformer_tiny", "seaformer_small", "seaformer_tiny_seg@256", "seaformerpp_tiny"),
    *("seaformerpp_tiny_kd_seg@256", "seaformerpp_tiny_seg@256", "freenet_s1", "freenet_s2"),
    *("mobile_former_96m", "mobile_former_294m", "lite_mono_tiny"),
)
TIMM = (Path(__file__).parent / "timm_models.txt").read_text().split()


@pytest.mark.parametrize(
    "spec",
    [*SAMPLE, *(pytest.param(spec, marks=pytest.mark.matrix) for spec in (*ZOO, *TIMM))],
)
def test_lowering_is_exact(spec: str) -> None:
    name, _, side = spec.partition("@")
    source = load_source(name, size=(int(side), int(side)) if side else None)
    with one_thread():
        program = trace(source)
        for function in PASSES * 2:  # without rounding to float32
            program = function(program).program
        graph = lower(program)
        assert_well_formed(graph)
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(program.input.shape, generator=generator, dtype=torch.float64)
        eager = flatten_outputs(run_float64(double_copy(source.module), x))[1]
        exact = [a.numpy() for a in eager]
        assert relative_error(run_graph(graph, x.numpy()), exact) <= EXACT

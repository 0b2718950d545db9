"""Whole models, prepared as for an export: the layer graph equals eager float64.

The default run takes a sample. ``pytest -m "matrix or not matrix"`` on this file lowers every network
of the zoo's families, and 60 models of timm, the smallest of each family.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobile_export.config import ExportConfig
from mobile_export.exporters.layers.lower import lower
from mobile_export.exporters.layers.reference import run_graph
from mobile_export.float64 import one_thread, run_float64
from mobile_export.pipeline import prepare_program
from mobile_export.sources import load_source

from .graphs import EXACT, assert_well_formed, relative_error

SAMPLE = ("emo_1m", "timm/levit_128s", "timm/mobilenetv3_small_050")
ZOO = (
    *(f"emo_{size}m@{side}" for size in (1, 2, 5, 6) for side in (224, 256, 512)),
    *("seaformer_tiny", "seaformer_small", "seaformer_tiny_seg@256", "seaformerpp_tiny"),
    *("seaformerpp_tiny_kd_seg@256", "seaformerpp_tiny_seg@256", "freenet_s1", "freenet_s2"),
    *("mobile_former_96m", "mobile_former_294m"),
)
TIMM = (Path(__file__).parent / "timm_models.txt").read_text().split()


@pytest.mark.parametrize(
    "spec",
    [*SAMPLE, *(pytest.param(spec, marks=pytest.mark.matrix) for spec in (*ZOO, *TIMM))],
)
def test_lowering_is_exact(spec: str) -> None:
    name, _, side = spec.partition("@")
    size = (int(side), int(side)) if side else None
    program, _ = prepare_program(lambda: load_source(name, size=size), ExportConfig())
    with one_thread():
        graph = lower(program)
        assert_well_formed(graph)
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(program.input.shape, generator=generator, dtype=torch.float64)
        exact = [a.numpy() for a in run_float64(program.float64(), x)]
        assert relative_error(run_graph(graph, x.numpy()), exact) <= EXACT

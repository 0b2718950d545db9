"""What the passes reach on real models in training form, against timm's own hooks.

The sweep (``pytest -m "matrix or not matrix" tests/passes/test_reach.py``) writes the table
docs/reach.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mobile_export.graph.capture import trace
from mobile_export.graph.float64 import run_float64
from mobile_export.graph.program import Program
from mobile_export.parity.compare import compare
from mobile_export.parity.reference import make_reference
from mobile_export.parity.samples import parity_samples
from mobile_export.passes import EXACT, PASSES, run_passes, select_passes
from mobile_export.system.threads import one_thread
from tests.conftest import load_source
from tests.passes.graphs import multiplications, ops

TABLE = Path(__file__).parents[2] / "docs" / "reach.md"
SAMPLE = ("emo_1m", "timm/repvgg_a0")
REST = (
    *("timm/mobilenetv3_large_100", "timm/convnext_atto", "emo_2m", "emo_5m", "emo_6m"),
    *(f"timm/mobileone_s{n}" for n in range(5)),
    *("timm/repvgg_b1", "timm/fastvit_t8", "timm/fastvit_sa12", "timm/repvit_m1_0"),
    *("timm/repghostnet_080", "timm/levit_128s", "timm/efficientformer_l1"),
    *("timm/efficientformerv2_s0", "timm/tiny_vit_11m_224", "timm/starnet_s1"),
    "timm/edgenext_x_small",
)


@dataclass(frozen=True)
class Row:
    """One model: counts before the passes, after them, and what timm's own hooks leave."""

    model: str
    norms: tuple[int, int]
    convs: tuple[int, int]
    timm: int
    macs: tuple[int, int]
    nodes: tuple[int, int]
    refused: int
    error: float

    def __str__(self) -> str:
        counts = (self.norms, self.convs, self.macs, self.nodes)
        norms, convs, macs, nodes = (f"{a} → {b}" for a, b in counts)
        cells = [self.model, norms, convs, str(self.timm), macs, nodes, str(self.refused)]
        return f"| {' | '.join(cells)} | {self.error:.0e} |"


HEAD = """# What the graph passes reach

Written by `pytest -m "matrix or not matrix" --write-docs tests/passes/test_reach.py`: counts of
calls in the ATen graph, before → after. The convolutions are counted without `move_less`, which
writes some of them as linear layers. "timm" is what timm's own `reparameterize_model` leaves of the
same module; the passes use no hook. Multiplications are millions, of products, convolutions and
linear layers, by PyTorch's own counter. A refusal is a rewrite that would not be exact, such as
products in a cheaper order with a softmax between.

| model | batch norms | convolutions | timm | multiplications | nodes | refusals | float64 error |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """The rows of this run; a complete run with ``--write-docs`` writes the table."""
    found: list[Row] = []
    yield found
    if request.config.getoption("--write-docs") and len(found) == len(SAMPLE) + len(REST):
        TABLE.write_text(HEAD + "".join(f"{row}\n" for row in found))


def reparameterized_convs(module: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Convolutions that timm's hooks leave."""
    from timm.utils.model import reparameterize_model

    folded = reparameterize_model(module)
    exported = torch.export.export(folded, (torch.zeros(shape),), strict=False)
    return sum(str(node.target) == "aten.conv2d.default" for node in exported.graph.nodes)


def count(program: Program) -> int:
    return sum(ops(program).values())


def millions(model: Program | torch.nn.Module, shape: tuple[int, ...]) -> int:
    return round(multiplications(model, shape) / 1e6)


def measure(model: str) -> Row:
    source = load_source(model)
    with one_thread():
        program = trace(source)
        reference = make_reference(source.module, parity_samples(source.input)[:1])
        folded = exact = program
        for _ in range(3):  # without the proof, and without rounding to float32
            for function in PASSES:
                exact = function(exact).program
            for function in select_passes(["move_less"]):
                folded = function(folded).program
        final, reports = run_passes(program, reference)
        (got,) = run_float64(exact.float64(), reference.samples[0].image)
    before, after = ops(program), ops(folded)
    return Row(
        model,
        (before["batch_norm"], ops(final)["batch_norm"]),
        (before["conv2d"], after["conv2d"]),
        reparameterized_convs(source.module, source.input.shape),
        (millions(source.module, source.input.shape), millions(final, source.input.shape)),
        (count(program), count(final)),
        sum(len(report.refusals) for report in reports),
        compare(got.numpy(), reference.outputs[0][0]).max_rel,
    )


@pytest.mark.parametrize(
    "model", [*SAMPLE, *(pytest.param(name, marks=pytest.mark.matrix) for name in REST)]
)
def test_reach(model: str, rows: list[Row]) -> None:
    row = measure(model)
    rows.append(row)
    print(row)
    assert row.norms[1] == 0
    assert row.convs[1] <= row.timm
    assert row.macs[1] <= row.macs[0]
    assert row.error <= EXACT

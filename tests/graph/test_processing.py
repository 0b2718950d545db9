"""Normalisation, softmax and bytes inside a program, against the formulas in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobile_export.graph.capture import trace
from mobile_export.graph.processing import with_bytes, with_normalization, with_probabilities
from mobile_export.graph.program import Program
from mobile_export.graph.specs import InputSpec
from mobile_export.parity.reference import make_reference
from mobile_export.parity.samples import pixel_samples
from mobile_export.passes.prove import float64_outputs
from mobile_export.passes.run import PassRunner
from mobile_export.passes.table import select_passes
from mobile_export.sources.table import Source
from tests.conftest import make_source

MEAN, STD = (0.1, 0.5, 0.7), (0.2, 0.3, 0.6)
PIXELS = torch.arange(3 * 8 * 6, dtype=torch.float64).reshape(1, 3, 8, 6) * 255 / 143


class Net(nn.Module):
    """A convolution and a mean: logits."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean((2, 3))


def _source(module: nn.Module) -> Source:
    torch.manual_seed(1)
    made = make_source(module, size=(8, 6))
    spec = InputSpec((1, 3, 8, 6), MEAN, STD)
    return Source(**{**vars(made), "input": spec})


def _expected(net: Net) -> torch.Tensor:
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        return net.double()((PIXELS / 255 - mean) / std)


def _error(program: Program, expected: torch.Tensor) -> float:
    (got,) = float64_outputs(program, PIXELS)
    return float((torch.from_numpy(got) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("padding", [0, 1])
def test_pixels(padding: int) -> None:
    net = Net(padding)
    program = with_normalization(trace(_source(net)))
    assert (program.input.name, program.input.pixels) == ("pixels", True)
    assert _error(program, _expected(net)) < 1e-15


def _calls(program: Program) -> list[str]:
    return [
        str(node.target).split(".")[1]
        for node in program.exported.graph.nodes
        if node.op == "call_function"
    ]


@pytest.mark.parametrize(("padding", "left"), [(0, []), (1, ["sub"])])
def test_what_zero_padding_allows_is_folded(padding: int, left: list[str]) -> None:
    """Of x · s + t, the factor always goes into the convolution, the offset without padding."""
    net = Net(padding)
    source = _source(net)
    program = with_normalization(trace(source))
    reference = make_reference(net, pixel_samples(source.input))
    folded, _ = PassRunner(program, reference).run(select_passes())
    assert _calls(folded) == [*left, "conv2d", "mean"]
    assert _error(folded, _expected(net)) < 1e-6  # weights are rounded to float32


def test_probabilities() -> None:
    net = Net(1)
    program = with_probabilities(with_normalization(trace(_source(net))))
    assert [(o.name, o.meaning) for o in program.outputs] == [("probabilities", "probabilities")]
    assert program.activation == "softmax"
    powers = _expected(net).exp()
    assert _error(program, powers / powers.sum()) < 1e-15


def test_bytes() -> None:
    net = Net(1)
    program = with_bytes(with_normalization(trace(_source(net))))
    assert program.example.dtype == torch.uint8
    pixels = PIXELS.round().to(torch.uint8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        got = program.in_float32().module()(pixels)
        expected = net.float()((pixels / 255 - mean) / std)
    torch.testing.assert_close(got, expected)

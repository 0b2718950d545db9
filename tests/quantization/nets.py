"""A small network with every role of `quantization.roles`, as a prepared program."""

from __future__ import annotations

import functools

import torch
from torch import nn

from mobile_export.graph.program import Program
from mobile_export.parity.reference import make_reference
from mobile_export.parity.samples import Sample, parity_samples, synthetic_sample
from mobile_export.passes import run_passes

from ..passes.graphs import program_of


class Net(nn.Module):
    """Layers, a gate, an addition with ReLU, a concatenation, a pool, a norm, a stored operand."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.depth = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.narrow = nn.Conv2d(16, 8, 1, bias=False)
        self.shift = nn.Parameter(torch.linspace(-1, 1, 8 * 16 * 16).view(1, 8, 16, 16))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = self.depth(x)
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        x = self.narrow(torch.cat([torch.relu(x + y), nn.functional.silu(y)], 1))
        x = nn.functional.max_pool2d(x + self.shift, 2)
        return self.head(self.norm(x.mean((2, 3))))


class Padded(nn.Module):
    """Padding on one side only, as TensorFlow's SAME, and channels whose weights are nearly zero.

    Their bias is all that they compute: more than 2^24 of the steps that their weights would have.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2)
        self.deep = nn.Conv2d(8, 16, 3, 2)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            for layer in (self.stem, self.deep):
                layer.weight[::3] *= 1e-9
                layer.bias[::3] = torch.rand(len(layer.bias[::3])) + 0.3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu6(self.stem(nn.functional.pad(x, (0, 1, 0, 1))))
        x = nn.functional.relu6(self.deep(nn.functional.pad(x, (0, 1, 0, 1))))
        return self.head(x.mean((2, 3)))


def padded() -> nn.Module:
    torch.manual_seed(0)
    return Padded().eval()


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@functools.cache
def _prepared() -> Program:
    return prepared(net())


def prepared(module: nn.Module | None = None) -> Program:
    """`Net`, or another, after the passes."""
    if module is None:
        return _prepared()
    program = program_of(module, (1, 3, 32, 32))
    reference = make_reference(module, parity_samples(program.input))
    return run_passes(program, reference)[0]


def samples(program: Program, count: int = 4) -> tuple[Sample, ...]:
    """Synthetic images."""
    return tuple(synthetic_sample(f"s{i}", i, *program.inputs) for i in range(count))

"""Complex numbers as pairs of real tensors, against eager PyTorch in float64.

Tests mobile_export/operators/complex_numbers.py: what is written has no complex number left.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.graph.raised import FAILED_RULE
from mobile_export.operators import decompose
from tests.operators.test_decompose import Calls, written
from tests.passes.graphs import apply

Function = Callable[[torch.Tensor], torch.Tensor]
fft = torch.fft


def is_real(function: Function | nn.Module, shape: tuple[int, ...]) -> None:
    """What is written computes the same, with real numbers."""
    program = written(function, shape).program
    for node in program.exported.graph.nodes:
        value = node.meta.get("val")
        assert not (isinstance(value, torch.Tensor) and value.is_complex()), node


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("shape", [(1, 3, 8, 6), (2, 2, 7, 5)])
@pytest.mark.parametrize(
    "function",
    [
        lambda x, norm: torch.view_as_real(fft.fft(x, norm=norm)),
        lambda x, norm: torch.view_as_real(fft.ifft(x, dim=1, norm=norm).resolve_conj()),
        lambda x, norm: fft.fft2(x, norm=norm).real,
        lambda x, norm: fft.ifft2(x, dim=(1, 2), norm=norm).imag,
        lambda x, norm: torch.view_as_real(fft.rfft2(x, norm=norm)),
        lambda x, norm: torch.view_as_real(fft.rfftn(x, dim=(-2, -1, 1), norm=norm)),
        lambda x, norm: fft.irfft2(fft.rfft2(x, norm=norm) * 2, s=x.shape[-2:], norm=norm),
        lambda x, norm: fft.irfftn(torch.complex(x, x * x), norm=norm),
        lambda x, norm: fft.irfft(torch.complex(x, x * x), norm=norm),
    ],
)
def test_transforms(function: Any, shape: tuple[int, ...], norm: str | None) -> None:
    is_real(lambda x: function(x, norm), shape)


@pytest.mark.parametrize("size", [3, 9])
def test_sizes_cut_and_fill(size: int) -> None:
    shape = (1, 2, 6, 6)
    is_real(lambda x: fft.fft(x, n=size).real + fft.ifft(x, n=size).imag, shape)
    is_real(lambda x: fft.rfft2(x, s=(size, 4)).abs(), shape)
    is_real(lambda x: fft.irfft2(torch.complex(x, x * x), s=(-1, size)), shape)
    is_real(lambda x: fft.irfftn(torch.complex(x, x * x), s=(5, size)), shape)


@pytest.mark.parametrize(
    "function",
    [
        lambda z, x: z * z + x * z - z * (2 - 1j),
        lambda z, x: z / (x.abs() + 1) + 1 / z - x / z,
        lambda z, x: z @ z.transpose(-1, -2).conj() @ (z * x),
        lambda z, x: torch.einsum("bchw,bcwk->bchk", z, z.mT) + torch.einsum("bchw->bhcw", z).sum(),
        lambda z, x: torch.exp(z * 0.1) + z**2 - torch.square(z),
        lambda z, x: torch.polar(x.abs(), x) - torch.add(x, z, alpha=3),
        lambda z, x: torch.cat([z, x], 1).roll(2, 1).flip(2)[:, 1:4],
        lambda z, x: torch.stack(z.chunk(2, -1), 1).reshape(-1) + z.to(torch.complex64).reshape(-1),
        lambda z, x: z.mean((2, 3)) * z.angle().sum((2, 3)) + z.abs().amax((2, 3)),
        lambda z, x: torch.where(x > 0, z, x) * z.real.to(torch.complex64),
        lambda z, x: fft.fftshift(z) - fft.ifftshift(-z),
    ],
)
def test_arithmetic(function: Any) -> None:
    def both(x: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(function(torch.complex(x, x.flip(-1) + 0.3), x).resolve_conj())

    is_real(both, (1, 4, 6, 6))


class Spectral(nn.Module):
    """A product of frequencies with stored complex numbers (GFNet), and of the lowest (FNO)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 5, 3, 2))
        self.mixing = nn.Parameter(torch.randn(3, 3, 2, 2, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = fft.rfft2(x.permute(0, 2, 3, 1), dim=(1, 2), norm="ortho")
        y = fft.irfft2(y * torch.view_as_complex(self.weight), s=(8, 8), dim=(1, 2), norm="ortho")
        z = fft.rfft2(x)
        low = torch.zeros(1, 3, 8, 5, dtype=torch.cfloat)
        low[:, :, :2, :2] = torch.einsum("bixy,ioxy->boxy", z[:, :, :2, :2], self.mixing)
        result: torch.Tensor = y.permute(0, 3, 1, 2) + fft.irfft2(low, s=(8, 8))
        return result


def test_stored_complex_numbers() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 8, 8)
    module = Spectral().eval()
    program = mobile_export.prepare(module, x)
    assert not any("fft" in str(node.target) for node in program.exported.graph.nodes)
    assert torch.allclose(program.exported.module()(x), module(x), atol=1e-5)


def test_a_call_without_a_rule_is_named() -> None:
    class Decomposed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(fft.fft(x)).abs()

    program = apply(decompose, Decomposed(), (1, 4, 4), normalize=False).program
    first = next(n for n in program.exported.graph.nodes if n.op == "call_function")
    assert "linalg_eigvals" in first.meta[FAILED_RULE]


def test_a_matrix_that_is_too_large_is_said() -> None:
    program = apply(decompose, Calls(lambda x: fft.fft(x).real), (1, 2048), normalize=False).program
    first = next(n for n in program.exported.graph.nodes if n.op == "call_function")
    assert "a transform of 2048 values would store more than" in first.meta[FAILED_RULE]


class FourierUnit(nn.Module):
    """Of LaMa (arXiv 2109.07161): a convolution of both parts of the frequencies as channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.mixing = nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        z = torch.view_as_real(fft.rfftn(x, dim=(-2, -1), norm="ortho"))
        y = self.mixing(z.permute(0, 1, 4, 2, 3).flatten(1, 2)).relu().unflatten(1, (-1, 2))
        z = torch.view_as_complex(y.permute(0, 1, 3, 4, 2).contiguous())
        result: torch.Tensor = x + fft.irfftn(z, s=x.shape[-2:], dim=(-2, -1), norm="ortho")
        return result


@pytest.mark.parametrize(
    "formats",
    [("ncnn", "tnn"), pytest.param(("onnx", "coreml", "tflite"), marks=pytest.mark.matrix)],
)
def test_files(formats: tuple[str, ...], tmp_path: Path) -> None:
    for module in (FourierUnit(), Spectral()):
        options: dict[str, Any] = {"size": 8, "precision": "fp32", "name": "m", "force": True}
        report = mobile_export.export(module.eval(), formats, tmp_path, **options)
        assert [each.parity.status for each in report.artifacts] == ["passed"] * len(formats)

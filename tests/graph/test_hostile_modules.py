"""Modules in a state that no export expects: handled exactly, or refused with the reason."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.errors import SourceError

IMAGE = (1, 3, 16, 16)


def block(**norm: bool) -> nn.Sequential:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, **norm)).eval()
    if module[1].running_mean is not None:
        nn.init.normal_(module[1].running_mean)
        nn.init.uniform_(module[1].running_var, 0.5, 2.0)
    return module


def with_statistic(name: str, value: float) -> nn.Sequential:
    module = block()
    getattr(module[1], name)[2] = value
    return module


class Spectrum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft2(x).abs()


class Rotated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 1, 1, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).real


EXACT: dict[str, Callable[[], nn.Module]] = {
    "in training mode": lambda: block().train(),
    "without running statistics": lambda: block(track_running_stats=False),
    "a variance of zero": lambda: with_statistic("running_var", 0.0),
    "a tiny variance": lambda: with_statistic("running_var", 1e-30),
    "half": lambda: block().half(),
    "bfloat16": lambda: block().bfloat16(),
    "double": lambda: block().double(),
    "complex values": lambda: Spectrum().eval(),
    "a complex weight": lambda: Rotated().eval(),
}


@pytest.mark.parametrize("name", EXACT)
def test_it_computes_what_the_module_does_in_eval_mode(name: str) -> None:
    module = EXACT[name]()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    x = torch.randn(IMAGE, generator=torch.Generator().manual_seed(1))
    got = mobile_export.prepare(module, torch.zeros(IMAGE)).module()(x)
    exact = copy.deepcopy(module).eval()
    if name not in ("complex values", "a complex weight"):
        exact = exact.double()
    expected = exact(x.double() if name != "a complex weight" else x)
    assert float((got.double() - expected).abs().max() / expected.abs().max()) < 1e-6
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), -1.0])
def test_a_variance_that_gives_nan_is_named(value: float) -> None:
    with pytest.raises(SourceError, match=r"returns NaN.*\n?.*1\.running_var"):
        mobile_export.prepare(with_statistic("running_var", value), torch.zeros(IMAGE))


def test_sparse_tensors_are_refused() -> None:
    module = block()
    module.register_buffer("mask", torch.eye(8).to_sparse())
    with pytest.raises(SourceError, match="sparse"):
        mobile_export.prepare(module, torch.zeros(IMAGE))


def test_a_quantised_module_is_refused() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(768, 10)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.ao.quantization.quantize_dynamic(linear, {nn.Linear})
    with pytest.raises(SourceError, match="quantised"):
        mobile_export.prepare(module, torch.zeros(IMAGE))

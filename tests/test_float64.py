"""Everything is float64 under the mode, whatever the code asks for."""

from __future__ import annotations

import torch
from torch import nn

from mobile_export.float64 import double_copy, one_thread, run_float64


class Careless(nn.Module):
    """Code that brings float32 and float16 back in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.table = torch.linspace(0, 1, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(x.float())
        x = (x.half() * torch.ones(4, dtype=torch.float16)).to(torch.float32)
        return x + self.table + torch.arange(4) + torch.zeros(4)


def test_no_precision_is_lost() -> None:
    torch.manual_seed(0)
    module = Careless()
    x = torch.randn(2, 4, dtype=torch.float64)
    result = run_float64(double_copy(module), x)
    weight, bias = (p.detach().double() for p in (module.linear.weight, module.linear.bias))
    expected = x @ weight.T + bias + module.table.double() + torch.arange(4)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-15)


def test_the_original_is_untouched() -> None:
    module = Careless()
    double_copy(module)
    assert module.linear.weight.dtype == torch.float32


def test_one_thread_is_restored() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before

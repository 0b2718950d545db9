"""What methods of compression leave behind, in every format: a pruned, merged and binary network.

The related papers (`models.papers`) have methods that make a network smaller or its weights
simpler. What people export is the result, an ordinary module; right is that module in float64.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize, prune
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mobile_export import api
from mobile_export.exporters.table import FORMATS


class Plain(nn.Module):
    """Convolution and norm; two convolutions with nothing between, a residual; a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.third = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.first(x)))
        x = F.relu(x + self.third(self.second(x)))
        return self.head(x.mean((2, 3)))


def plain() -> Plain:
    torch.manual_seed(0)
    return Plain().eval()


def pruned() -> Plain:
    """PyTorch's pruning, not made permanent: masks are buffers, weights are products.

    Whole filters of the second convolution and single weights of the first are zero.
    """
    module = plain()
    prune.ln_structured(module.second, "weight", amount=0.5, n=2, dim=0)
    prune.l1_unstructured(module.first, "weight", amount=0.6)
    return module


class Merged(nn.Module):
    """`Plain` after depth compression: one convolution for each that nothing bends.

    The norm is in the first one, the third in the second, as is the residual: a one in the middle.
    """

    def __init__(self, module: Plain) -> None:
        super().__init__()
        self.stem = fuse_conv_bn_eval(module.first, module.norm)
        mix, bias = module.third.weight[:, :, 0, 0], module.second.bias
        assert bias is not None
        kernel = torch.einsum("om,miyx->oiyx", mix, module.second.weight)
        kernel[:, :, 1, 1] += torch.eye(16)
        self.both = nn.Conv2d(16, 16, 3, padding=1)
        self.both.weight = nn.Parameter(kernel.detach())
        self.both.bias = nn.Parameter((mix @ bias + module.third.bias).detach())
        self.head = module.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.both(F.relu(self.stem(x)))).mean((2, 3)))


def merged() -> Merged:
    return Merged(plain()).eval()


class Binary(nn.Module):
    """XNOR-Net's weights: their sign times the mean magnitude of the filter."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        scale = weight.abs().mean((1, 2, 3), keepdim=True)
        return scale * torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)


def binary() -> Plain:
    module = plain()
    parametrize.register_parametrization(module.second, "weight", Binary())
    return module


@pytest.mark.parametrize("method", [pruned, merged, binary])
def test_the_result_of_a_method_is_written_in_every_format(
    method: type[nn.Module], tmp_path: Path
) -> None:
    formats = [row.name for row in FORMATS if not row.missing()]
    report = api.export(method(), formats, tmp_path, name="net", size=32)
    assert {failure.format: failure.error.message for failure in report.failures} == {}
    assert {each.format: each.parity.status for each in report.artifacts} == dict.fromkeys(
        formats, "passed"
    )


def test_the_merged_network_is_the_plain_one() -> None:
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(merged()(image), plain()(image), rtol=0, atol=1e-6)


def test_the_binary_weights_are_two_numbers_a_filter() -> None:
    assert all(len(each.unique()) == 2 for each in binary().second.weight)


def test_the_pruned_filters_are_zero() -> None:
    assert sum(not each.any() for each in pruned().second.weight) == 8

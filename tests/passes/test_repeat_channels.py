"""Depthwise convolutions get one output per channel when the next layer can take another order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobile_export.passes.repeat_channels import repeat_channels
from tests.passes.graphs import apply, ops


def net(times: int, *, bias: bool = True, last: nn.Module | None = None) -> nn.Module:
    wide = nn.Conv2d(3, 3 * times, 3, 2, 1, groups=3, bias=bias)
    return nn.Sequential(wide, nn.GELU(), last or nn.Conv2d(3 * times, 4, 1))


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_channels_are_repeated(times: int, bias: bool) -> None:
    result = apply(repeat_channels, net(times, bias=bias), (1, 3, 8, 8))
    assert ops(result.program)["cat"] == 1
    convs = [n for n in result.program.exported.graph.nodes if "conv2d" in str(n.target)]
    assert convs[0].args[1].meta["val"].shape == (3 * times, 1, 3, 3)
    assert convs[0].args[6] == 3 * times


@pytest.mark.parametrize("last", [nn.Flatten(), nn.Conv2d(6, 6, 1, groups=2), nn.AvgPool2d(2)])
def test_no_layer_behind_takes_another_order(last: nn.Module) -> None:
    result = apply(repeat_channels, net(2, last=last), (1, 3, 8, 8))
    assert not result.changes
    assert "no convolution of one group" in result.refusals[0].reason


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 6, 3, groups=3)
        self.last = nn.Conv2d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.wide(x)
        return self.last(y), y


def test_the_order_is_kept_where_others_see_it() -> None:
    result = apply(repeat_channels, Shared(), (1, 3, 8, 8))
    assert not result.changes
    assert "several users" in result.refusals[0].reason


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(4, 8, 3, 1, 1, groups=4)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.wide(self.last(self.wide(x).relu())).cumsum(1))


def test_a_layer_used_twice_keeps_its_weights_elsewhere() -> None:
    result = apply(repeat_channels, Tied(), (1, 4, 8, 8))
    assert len(result.changes) == 1
    assert len(result.refusals) == 1


@pytest.mark.parametrize("conv", [nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(1, 4, 3)])
def test_other_convolutions_stay(conv: nn.Module) -> None:
    result = apply(
        repeat_channels, nn.Sequential(conv, nn.Conv2d(4, 4, 1)), (1, conv.in_channels, 8, 8)
    )
    assert (result.changes, result.refusals) == ((), ())

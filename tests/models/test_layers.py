"""The shared layers against PyTorch's own functions and against their definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobile_export.models.layers import ConvBNAct, DropPath, attend, check_classes, drop_rates


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_pytorchs(heads: int) -> None:
    """Channels first, and values that are wider than the keys."""
    torch.manual_seed(0)
    q = torch.randn(2, 12, 5, dtype=torch.float64)
    k = torch.randn(2, 12, 7, dtype=torch.float64)
    v = torch.randn(2, 24, 7, dtype=torch.float64)
    parts = [x.unflatten(1, (heads, -1)).transpose(-2, -1) for x in (q, k, v)]
    expected = F.scaled_dot_product_attention(*parts).transpose(-2, -1).flatten(1, 2)
    torch.testing.assert_close(attend(q, k, v, heads), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(1, 1, 1), (3, 2, 1), (5, 1, 3)])
def test_convolutions_keep_the_size_over_the_stride(
    kernel: int, stride: int, dilation: int
) -> None:
    layer = ConvBNAct(4, 6, kernel, stride=stride, dilation=dilation, groups=2).eval()
    y = layer(torch.randn(1, 4, 15, 22))
    assert y.shape == (1, 6, -(-15 // stride), -(-22 // stride))
    assert bool((y >= 0).all()), "ReLU by default"
    assert set(layer.state_dict()) == {
        "conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var",
        "bn.num_batches_tracked",
    }  # fmt: skip


def test_the_activation_and_the_norm_can_be_chosen() -> None:
    layer = ConvBNAct(2, 2, 1, eps=0.25, act=nn.Identity).eval()
    nn.init.dirac_(layer.conv.weight)
    x = torch.randn(1, 2, 3, 3)
    torch.testing.assert_close(layer(x), x / 1.25**0.5)


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    y = layer(x)
    kept = y.flatten(1).amax(1) > 0
    assert torch.equal(y[kept], x[kept] / 0.75)
    assert not y[~kept].any()
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.03)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


def test_rates_grow_in_equal_steps() -> None:
    assert drop_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_rates(0.3, 1) == [0.0]
    assert drop_rates(0.3, 0) == []


@pytest.mark.parametrize("classes", [0, -1])
def test_a_head_without_classes_is_refused(classes: int) -> None:
    with pytest.raises(ValueError, match=f"num_classes is {classes}; it must be at least 1"):
        check_classes(classes)
    check_classes(1)

"""XNOR-Net: what its paper says of the weights, and the layers of its code."""

from __future__ import annotations

import torch
from torch import nn

from mobile_export.models import table
from mobile_export.models.xnor_net.network import LAYERS, BinaryConv, Sign


def test_a_binary_convolution_has_two_weights_a_filter() -> None:
    """§3.1 of arXiv 1603.05279: the sign, times the mean magnitude of the filter."""
    torch.manual_seed(0)
    conv = BinaryConv(4, 3, 3, padding=1)
    x = torch.randn(1, 4, 5, 6)
    signs = torch.where(conv.weight > 0, 1.0, -1.0)
    alpha = torch.stack([each.abs().sum() / (4 * 3 * 3) for each in conv.weight])
    expected = nn.functional.conv2d(x, signs, padding=1) * alpha[:, None, None]
    torch.testing.assert_close(conv(x), expected + conv.bias[:, None, None])


def test_binary_are_all_convolutions_but_the_first_and_the_last() -> None:
    with torch.device("meta"):
        modules = [table.get("xnor_alexnet").build(inputs=kind) for kind in ("float", "binary")]
    for module in modules:
        convs = [each for each in module.modules() if isinstance(each, nn.Conv2d)]
        kinds = [isinstance(each, BinaryConv) for each in convs]
        assert kinds == [False, *[True] * len(LAYERS), False]
        assert sum(p.numel() for p in module.parameters()) > 62_000_000
    signs = [sum(isinstance(each, Sign) for each in module.modules()) for module in modules]
    assert signs == [0, len(LAYERS)]


def test_shapes_inside() -> None:
    """224 -> 55, 27, 13 and 6 pixels, as models/alexnet.lua of the code has them."""
    with torch.device("meta"):
        module = table.get("xnor_alexnet").build(num_classes=3, inputs="binary").eval()
    sides = []
    x = torch.empty(1, 3, 224, 224, device="meta")
    for layer in module.features:
        x = layer(x)
        sides.append(x.shape[-1])
    assert list(dict.fromkeys(sides)) == [55, 27, 13, 6, 1]
    assert module(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 3)

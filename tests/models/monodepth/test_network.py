"""Monodepth against the official TensorFlow code's graph, written out with PyTorch's functions.

github.com/mrharicot/monodepth@b76bee4, monodepth_model.py, ``build_vgg``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mobile_export.models.monodepth.network import monodepth_vgg


def official(image: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """``disp1`` of the left picture, line by line."""

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        p = (weight.shape[2] - 1) // 2
        return F.conv2d(F.pad(x, (p, p, p, p)), weight, weights[f"{name}.bias"], stride)

    def block(x: Tensor, n: int) -> Tensor:
        return F.elu(conv(F.elu(conv(x, f"encoder.{n}.conv1")), f"encoder.{n}.conv2", 2))

    def up(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def iconv(x: Tensor, n: int, *joined: Tensor) -> Tensor:
        x = F.elu(conv(up(x), f"decoder.{n}.upconv"))
        return F.elu(conv(torch.cat([x, *joined], 1), f"decoder.{n}.iconv"))

    def disp(x: Tensor, n: int) -> Tensor:
        return 0.3 * torch.sigmoid(conv(x, f"decoder.{n}.disp"))

    conv1 = block(image, 0)
    conv2 = block(conv1, 1)
    conv3 = block(conv2, 2)
    conv4 = block(conv3, 3)
    conv5 = block(conv4, 4)
    conv6 = block(conv5, 5)
    conv7 = block(conv6, 6)
    iconv7 = iconv(conv7, 0, conv6)
    iconv6 = iconv(iconv7, 1, conv5)
    iconv5 = iconv(iconv6, 2, conv4)
    iconv4 = iconv(iconv5, 3, conv3)
    iconv3 = iconv(iconv4, 4, conv2, up(disp(iconv4, 3)))
    iconv2 = iconv(iconv3, 5, conv1, up(disp(iconv3, 4)))
    iconv1 = iconv(iconv2, 6, up(disp(iconv2, 5)))
    return disp(iconv1, 6)[:, :1]


def test_outputs_are_those_of_the_official_graph() -> None:
    torch.manual_seed(0)
    module = monodepth_vgg().eval().double()
    image = torch.rand(1, 3, 128, 256, dtype=torch.float64)
    with torch.no_grad():
        expected, found = official(image, dict(module.named_parameters())), module(image)
        module.output = "logits"
        logits = module(image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(0.3 * logits.sigmoid(), expected, rtol=0, atol=1e-12)
    count = sum(p.numel() for p in module.parameters())
    assert round(count / 1e6) in (31, 32), "31 million in §4.1"

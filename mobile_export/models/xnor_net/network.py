"""XNOR-Net: AlexNet of binary weights, and of binary inputs, too, ECCV 2016 (arXiv 1603.05279).

"XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks", Rastegari et al. All
convolutions but the first and the last have weights of one magnitude, the mean one of the filter
(§3.1); in an XNOR network their inputs are ±1, too, a norm before the sign (§3.2). The fully
connected layers are convolutions.

Layers as in the official code, of Torch 7 (github.com/allenai/XNOR-Net, models/alexnet.lua with
binary weights, and models/alexnetxnor.lua).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["BinaryConv", "XNORAlexNet", "xnor_alexnet"]

LAYERS = (
    # channels in and out, kernel, padding, pooled behind it
    (96, 256, 5, 2, True),
    (256, 384, 3, 1, False),
    (384, 384, 3, 1, False),
    (384, 256, 3, 1, True),
    (256, 4096, 6, 0, False),
    (4096, 4096, 1, 0, False),
)


class BinaryConv(nn.Conv2d):
    """A convolution whose weights are their signs times their mean magnitude in each filter."""

    def forward(self, input: Tensor) -> Tensor:
        scale = self.weight.abs().mean((1, 2, 3), keepdim=True)
        weight = self.weight.sign() * scale
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, 2)


def _layer(dim_in: int, dim: int, kernel: int, padding: int, *, binary: bool) -> nn.Sequential:
    conv = BinaryConv(dim_in, dim, kernel, padding=padding)
    if binary:
        return nn.Sequential(nn.BatchNorm2d(dim_in, eps=1e-4), Sign(), conv)
    return nn.Sequential(conv, nn.BatchNorm2d(dim, eps=1e-3), nn.ReLU())


class Sign(nn.Module):
    """-1, 0 or 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sign()


class XNORAlexNet(nn.Module):
    """Images (B, in_chans, H, W) -> logits (B, num_classes); H and W are 223 or more.

    Args:
        binary: whether the inputs of the binary convolutions are, too.
    """

    def __init__(self, num_classes: int, in_chans: int, *, binary: bool) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        layers: list[nn.Module] = [
            nn.Conv2d(in_chans, 96, 11, 4, 2),
            nn.BatchNorm2d(96, eps=1e-5 if binary else 1e-3),
            nn.ReLU(),
            _pool(),
        ]
        for dim_in, dim, kernel, padding, pooled in LAYERS:
            layers.append(_layer(dim_in, dim, kernel, padding, binary=binary))
            if pooled:
                layers.append(_pool())
        if binary:
            layers += [nn.BatchNorm2d(4096, eps=1e-3), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(4096, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x)).mean((2, 3))
        return logits


def xnor_alexnet(
    num_classes: int = 1000, *, in_chans: int = 3, inputs: str = "float"
) -> XNORAlexNet:
    """AlexNet of binary weights.

    Args:
        inputs: of the binary convolutions: "float" is the paper's Binary-Weight-Network (56.8 %
            top-1), "binary" its XNOR-Net (44.2 %), whose steps at zero let rounding change answers.
    """
    return XNORAlexNet(num_classes, in_chans, binary=inputs == "binary")

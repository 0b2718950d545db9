"""SparseNet, ECCV 2018 (arXiv 1801.05895).

"Sparsely Aggregated Convolutional Networks", Zhu et al. A DenseNet (arXiv 1608.06993) whose layers
do not read all layers before them, but those 1, 2, 4, 8, … before (§3.2). Three stages for images
of 32x32 pixels, with bottlenecks, and transitions that halve the channels ("BC").

Parameter names are those of the official code (github.com/Lyken17/SparseNet, denselink.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["SparseNet", "aggregated", "sparsenet_bc_100_24"]

STAGES = 3


_T = TypeVar("_T")


def aggregated(results: Sequence[_T]) -> list[_T]:
    """The results 1, 2, 4, 8, … from the end, in this order."""
    steps = (2**power for power in range(len(results).bit_length()))
    return [results[-step] for step in steps]


def _unit(dim_in: int, growth: int) -> nn.Sequential:
    """Norm, ReLU and a convolution of 1x1, and the same of 3x3."""
    middle = 4 * growth
    return nn.Sequential(
        OrderedDict(
            bn1=nn.BatchNorm2d(dim_in),
            relu1=nn.ReLU(),
            conv1=nn.Conv2d(dim_in, middle, 1, bias=False),
            bn2=nn.BatchNorm2d(middle),
            relu2=nn.ReLU(),
            conv2=nn.Conv2d(middle, growth, 3, padding=1, bias=False),
        )
    )


class Stage(nn.Module):
    """(B, dim_in, H, W) -> (B, dim_out, H, W)."""

    def __init__(self, dim_in: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = layers
        dims = [dim_in]
        for index in range(layers):
            self.add_module(f"block-{index + 1}", _unit(sum(aggregated(dims)), growth))
            dims.append(growth)
        self.dim_out = sum(aggregated(dims))

    def forward(self, x: Tensor) -> Tensor:
        results = [x]
        for index in range(self.layers):
            results.append(self.get_submodule(f"block-{index + 1}")(x))
            x = torch.cat(aggregated(results), 1)
        return x


def _transition(dim_in: int, dim_out: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            bn1=nn.BatchNorm2d(dim_in),
            relu1=nn.ReLU(),
            conv1=nn.Conv2d(dim_in, dim_out, 1, bias=False),
            avgpool=nn.AvgPool2d(2),
        )
    )


class SparseNet(nn.Module):
    """Normalised images (B, in_chans, H, W) -> logits (B, num_classes); H and W multiples of 4."""

    def __init__(self, depth: int, growth: int, *, num_classes: int, in_chans: int) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        layers = (depth - 4) // STAGES // 2
        dim = growth
        self.features = nn.Sequential(
            OrderedDict(conv0=nn.Conv2d(in_chans, dim, 3, padding=1, bias=False))
        )
        for index in range(STAGES):
            stage = Stage(dim, growth, layers)
            self.features.add_module(f"dense-stage-{index}", stage)
            dim = stage.dim_out
            if index < STAGES - 1:
                self.features.add_module(f"transition-{index}", _transition(dim, dim // 2))
                dim //= 2
        self.features.add_module("norm_last", nn.BatchNorm2d(dim))
        self.features.add_module("relu_last", nn.ReLU())
        self.classifier = nn.Sequential(OrderedDict(linear=nn.Linear(dim, num_classes)))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def sparsenet_bc_100_24(num_classes: int = 100, *, in_chans: int = 3) -> SparseNet:
    """SparseNet-BC-100-24: 1.46 M parameters."""
    return SparseNet(100, 24, num_classes=num_classes, in_chans=in_chans)

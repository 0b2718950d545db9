"""CCNN: convolutions of continuous kernels, ICLR 2023 (arXiv 2301.10540).

"Modelling Long Range Dependencies in N-D: From Task-Specific to a General Purpose CNN", Knigge et
al. A small network makes the kernel of every depthwise convolution of the positions in it, and a
Gaussian of learnt width bounds it (§3). Kernels depend on weights alone, so that exported files
store them. CCNN-4,140: four residual blocks of 140 channels, kernels of 33x33 (§4; the official
experiments, CIFAR10).

Parameter names are those of the official code (github.com/david-knigge/ccnn).
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["CCNN", "ContinuousConv", "KernelNetwork", "ccnn_4_140"]

BLOCKS, WIDTH = 4, 140
KERNEL = 33
HIDDEN, FILTERS = 32, 4
OMEGA = 4231.568793085858
DRAWS = 12
"""Of normal numbers for each width of the first filter, whose gamma distribution has shape 6."""
SIGMA = 0.075
"""The first width of the mask, where a kernel reaches from -1 to 1."""
THRESHOLD = 0.1
"""Where the mask is less, the kernel is cut off."""
SPREAD = 1.667
"""How far the filters' centres spread, over the mask's width."""


def pointwise(dim_in: int, dim: int) -> nn.Conv2d:
    """A 1x1 convolution as these networks start it."""
    conv = nn.Conv2d(dim_in, dim, 1)
    nn.init.kaiming_normal_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class GaborFilter(nn.Module):
    """A sine wave in a Gaussian window for each channel: positions (1, 2, K, K) -> (1, dim, K, K).

    Args:
        draws: whose squares make the windows' widths: half of ``draws`` is the shape of the gamma
            distribution of the paper.
    """

    def __init__(self, dim: int, draws: int) -> None:
        super().__init__()
        spread = SPREAD * SIGMA
        self.mu = nn.Parameter(spread * (2 * torch.rand(dim, 2) - 1))
        self.gamma = nn.Parameter(torch.randn(draws, dim, 2).square().sum(0) / 2)
        self.linear = pointwise(2, dim)
        with torch.no_grad():
            self.linear.weight.mul_(2 * math.pi * OMEGA * self.gamma[:, :, None, None])

    def forward(self, places: Tensor) -> Tensor:
        mu, gamma = self.mu[:, :, None, None], self.gamma[:, :, None, None]
        window = torch.exp(-0.5 * (gamma * (places - mu)).square().sum(1))
        y: Tensor = window * torch.sin(self.linear(places))
        return y


class KernelNetwork(nn.Module):
    """A multiplicative filter network (MAGNet): positions (1, 2, K, K) -> (1, dim, K, K)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList([nn.Conv2d(HIDDEN, HIDDEN, 1) for _ in range(FILTERS - 1)])
        self.output_linear = pointwise(HIDDEN, dim)
        self.filters = nn.ModuleList(
            [GaborFilter(HIDDEN, DRAWS // (index + 1)) for index in range(FILTERS)]
        )
        for linear in self.linears:
            nn.init.ones_(cast(Tensor, linear.bias))
        for linear in (*self.linears, self.output_linear):
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="linear")
        with torch.no_grad():
            self.output_linear.weight.mul_(1 / KERNEL)

    def forward(self, places: Tensor) -> Tensor:
        first, *others = self.filters
        y: Tensor = first(places)
        for one, linear in zip(others, self.linears, strict=True):
            y = one(places) * linear(y)
        found: Tensor = self.output_linear(y)
        return found


class ContinuousConv(nn.Module):
    """A depthwise convolution with such a kernel, and a 1x1 convolution (FlexConv, separable)."""

    mask_mean_param: Tensor
    mask_threshold: Tensor
    places: Tensor

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(dim_in))
        self.mask_width_param = nn.Parameter(torch.full((2,), SIGMA))
        self.register_buffer("train_length", torch.tensor([KERNEL], dtype=torch.int32))
        self.register_buffer("initialized", torch.ones(1, dtype=torch.bool))
        self.register_buffer("mask_mean_param", torch.zeros(2))
        self.register_buffer("mask_threshold", torch.full((1,), THRESHOLD))
        axis = torch.linspace(-1, 1, KERNEL)
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))
        self.register_buffer("places", places[None], persistent=False)
        self.Kernel = KernelNetwork(dim_in)
        self.channel_mixer = pointwise(dim_in, dim)

    def mask(self) -> Tensor:
        """What the kernel is multiplied with: a Gaussian, and nothing where it is cut off."""
        mean, width = self.mask_mean_param[:, None, None], self.mask_width_param[:, None, None]
        bell = torch.exp(-0.5 * ((self.places - mean).square() / (width.square() + 1e-8)).sum(1))
        reach = width.abs() * torch.sqrt(-2 * torch.log(self.mask_threshold)) + mean.abs()
        step = 2 / (KERNEL - 1)
        pixels = torch.ceil(reach / step + 1e-8)
        inside = ((self.places / step).round().abs() < pixels).all(1)
        return bell * inside

    def forward(self, x: Tensor) -> Tensor:
        kernel = (self.mask() * self.Kernel(self.places)).transpose(0, 1)
        y = F.conv2d(x, kernel, self.bias, padding=KERNEL // 2, groups=x.shape[1])
        mixed: Tensor = self.channel_mixer(y)
        return mixed


class Block(nn.Module):
    """A norm, such a convolution, GELU, a 1x1 convolution, GELU; with a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ContinuousConv(dim, dim)
        self.norm1 = nn.BatchNorm2d(dim)
        self.linear1 = pointwise(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear1(F.gelu(self.conv1(self.norm1(x))))
        return F.gelu(y) + x


class CCNN(nn.Module):
    """Normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    def __init__(self, num_classes: int, in_chans: int) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        self.conv1 = ContinuousConv(in_chans, WIDTH)
        self.norm1 = nn.BatchNorm2d(WIDTH)
        self.blocks = nn.Sequential(*(Block(WIDTH) for _ in range(BLOCKS)))
        self.out_layer = pointwise(WIDTH, num_classes)
        self.out_norm = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.gelu(self.norm1(self.conv1(x))))
        pooled = self.out_norm(x).mean((2, 3), keepdim=True)
        logits: Tensor = self.out_layer(pooled).flatten(1)
        return logits


def ccnn_4_140(num_classes: int = 10, *, in_chans: int = 3) -> CCNN:
    """CCNN-4,140, of 32 x 32 pixels."""
    return CCNN(num_classes, in_chans)

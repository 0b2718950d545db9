"""FlexNet, ICLR 2022 (arXiv 2110.08059): convolutions whose kernels are functions of places.

"FlexConv: Continuous Kernel Convolutions with Differentiable Kernel Sizes", Romero et al. A small
network of Gabor functions makes a convolution's kernel of the places of its elements (MAGNet,
§3.2); a learnt Gaussian masks it, and where the mask is below a tenth it is cropped (§3.1). Files
store the kernels, as large as the weights say when the module enters evaluation. FlexNet-7: a
residual network of 7 blocks for CIFAR-10, as in the official command.

Parameter names are those of the official checkpoints (github.com/rjbruin/flexconv).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["FlexConv", "FlexNet", "flexnet_7"]

DIMS = (24, 24, 36, 36, 36, 48, 48)
STEM = 24
LARGEST = 33
"""Side of a kernel that is not cropped."""
HIDDEN, LAYERS = 32, 3
"""Of the network that makes a kernel."""
WIDTH = 0.075
"""Of the mask at first, where the kernel's half side is 1."""
THRESHOLD, TEMPERATURE = 0.1, 15.0
INPUT_SCALE = 25.6
ALPHA = 6.0


class Gabor(nn.Module):
    """Sines of places under Gaussians: (1, 2, h, w) -> (1, hidden, h, w)."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.mu = nn.Parameter((2 * torch.rand(HIDDEN, 2) - 1) * 1.667 * WIDTH)
        shape = torch.full((HIDDEN, 2), ALPHA / (layer + 1))
        self.gamma = nn.Parameter(
            torch.distributions.Gamma(shape, 1.0, validate_args=False).sample()
        )
        self.linear = nn.Conv2d(2, HIDDEN, 1)
        with torch.no_grad():
            scale = INPUT_SCALE / math.sqrt(LAYERS + 1)
            self.linear.weight.mul_(scale * self.gamma[:, :, None, None])
        nn.init.uniform_(self.linear.bias, -math.pi, math.pi)  # type: ignore[arg-type]

    def forward(self, places: Tensor) -> Tensor:
        off = self.gamma[:, :, None, None] * (places - self.mu[:, :, None, None])
        window = torch.exp(-0.5 * (off * off).sum(1))
        y: Tensor = window * torch.sin(self.linear(places))
        return y


class KernelNetwork(nn.Module):
    """Products of Gabor functions: places (1, 2, h, w) -> (1, outputs, h, w)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Conv2d(HIDDEN, HIDDEN, 1) for _ in range(LAYERS))
        self.output_linear = nn.Conv2d(HIDDEN, outputs, 1)
        self.filters = nn.ModuleList(Gabor(layer) for layer in range(LAYERS + 1))

    def forward(self, places: Tensor) -> Tensor:
        y = self.filters[0](places)
        for gabor, linear in zip(list(self.filters)[1:], self.linear, strict=True):
            y = gabor(places) * linear(y)
        z: Tensor = self.output_linear(y)
        return z


class FlexConv(nn.Module):
    """Convolution of learnt size: (B, dim_in, H, W) -> (B, dim, H, W)."""

    train_length: Tensor
    temperature: Tensor
    mask_threshold: Tensor

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.dim_in, self.dim = dim_in, dim
        self.bias = nn.Parameter(torch.zeros(dim))
        self.mask_params = nn.Parameter(torch.tensor([[0.0, WIDTH], [0.0, WIDTH]]))
        self.register_buffer("train_length", torch.zeros(1, dtype=torch.int32))
        self.register_buffer("temperature", torch.full((1,), TEMPERATURE))
        self.register_buffer("mask_threshold", torch.full((1,), THRESHOLD))
        self.Kernel = KernelNetwork(dim * dim_in)
        self.cropped = (0, 0)
        """Elements that are left out at each end of a column and of a row."""

    def train(self, mode: bool = True) -> FlexConv:
        """Entering evaluation, the size of the kernel is that of the weights; without values, that
        of the first ones."""
        super().train(mode)
        self.cropped = (0, 0)
        if mode:
            return self
        first = [[0.0, WIDTH], [0.0, WIDTH]]
        threshold = THRESHOLD if self.mask_threshold.is_meta else float(self.mask_threshold)
        steepness = math.sqrt(-2 * math.log(threshold))
        reaches = [
            max(abs(mean - width * steepness), abs(mean + width * steepness))
            for mean, width in (first if self.mask_params.is_meta else self.mask_params.tolist())
        ]
        step = 2 / (LARGEST - 1)
        line = [index * step - 1 for index in range(LARGEST // 2 + 1)]
        kept = [
            next(index for index, place in enumerate(line) if place > -reach) if reach < 1 else 0
            for reach in reaches
        ]
        self.cropped = (kept[0], kept[1])
        return self

    def kernel(self) -> Tensor:
        """(dim, dim_in, h, w), with odd h and w."""
        like = self.mask_params
        line = torch.linspace(-1, 1, LARGEST, dtype=like.dtype, device=like.device)
        rows, columns = (line[cut : LARGEST - cut] for cut in self.cropped)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
        values = self.Kernel(places).reshape(self.dim, self.dim_in, *places.shape[2:])
        masks = [
            torch.exp(-0.5 * ((each - mean) / width) ** 2)
            for each, (mean, width) in zip((rows, columns), self.mask_params, strict=True)
        ]
        kernel: Tensor = values * masks[0][:, None] * masks[1]
        return kernel

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel()
        return F.conv2d(x, kernel, self.bias, padding=(kernel.shape[2] // 2, kernel.shape[3] // 2))


class Block(nn.Module):
    """Two convolutions with a residual."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.cconv1 = FlexConv(dim_in, dim)
        self.cconv2 = FlexConv(dim, dim)
        self.norm1 = nn.BatchNorm2d(dim)
        self.norm2 = nn.BatchNorm2d(dim)
        shortcut = [nn.Conv2d(dim_in, dim, 1)] if dim_in != dim else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.cconv2(F.relu(self.norm1(self.cconv1(x)))))
        return F.relu(y + self.shortcut(x))


class FlexNet(nn.Module):
    """Normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    def __init__(self, *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        self.cconv1 = FlexConv(in_chans, STEM)
        self.norm1 = nn.BatchNorm2d(STEM)
        before = (STEM, *DIMS)
        self.blocks = nn.Sequential(
            *(Block(dim_in, dim) for dim_in, dim in zip(before, DIMS, strict=False))
        )
        self.out_layer = nn.Conv2d(DIMS[-1], num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.norm1(self.cconv1(image))))
        logits: Tensor = self.out_layer(x.mean((2, 3), keepdim=True))
        return logits.flatten(1)


def flexnet_7(num_classes: int = 10, *, in_chans: int = 3) -> FlexNet:
    """FlexNet-7 for CIFAR-10."""
    return FlexNet(num_classes=num_classes, in_chans=in_chans)

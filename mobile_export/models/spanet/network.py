"""SPANet, ICCV 2023 (arXiv 2308.11568).

"SPANet: Frequency-balancing Token Mixer using Spectral Pooling Aggregation Modulation", Yun et al.
A depthwise convolution's channels, in three groups, each pass a filter of frequencies that weighs
those near zero against all others (spectral pooling filter, §3.2); their mixture is the gate of the
convolution (§3.3).

Such a filter is one factor for every frequency but those of a small disc. So no Fourier transform
is needed: the map times that factor, and of the few waves of the disc what is lacking
(`LowFrequencies`).

Parameter names are those of the official checkpoints (github.com/DoranLyong/SPANet-official). Their
``filter`` is as large as the map that it was made for, so it depends on the size of the images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..layers import (
    ConvFeedForward,
    DropPath,
    MetaFormerBlock,
    PoolFormerFrame,
    Projection,
    Scale,
    check_classes,
    drop_rates,
)

__all__ = ["SPANet", "spanet_small"]

KERNEL = 7
RATIO = 4
RADII = (2, 2, 1, 1)
"""Of the disc of low frequencies, stage by stage."""
LOW_WEIGHTS = (0.7, 0.8, 0.9)
"""Of the frequencies inside the disc, by group of channels; those outside have the rest of one."""
EDGE_WEIGHT = 1 / 3
"""Of the frequencies on the disc's edge."""
SCALED_STAGES = (2, 3)
"""Of these the residual is scaled per channel."""


def disc_filter(size: tuple[int, int], radius: int, low: float) -> Tensor:
    """Weights of the frequencies of a map of this (height, width), zero in the middle: (*size)."""
    down = torch.arange(size[0])[:, None] - size[0] // 2
    across = torch.arange(size[1])[None] - size[1] // 2
    apart = torch.sqrt(down**2 + across**2)
    weight = torch.tensor(low)
    weights = torch.where(apart < radius, weight, 1 - weight)
    return torch.where(apart == radius, EDGE_WEIGHT, weights)


def waves(size: tuple[int, int], radius: int) -> tuple[Tensor, list[int]]:
    """The real waves of the frequencies within a disc, of length one.

    Returns:
        The waves (n, H·W), and for each the index of its frequency in a flat `disc_filter`.
    """
    height, width = size
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) / height,
        torch.arange(width, dtype=torch.float64) / width,
        indexing="ij",
    )
    found: dict[tuple[int, int], tuple[int, list[Tensor]]] = {}
    for down in range(-(height // 2), (height + 1) // 2):
        for across in range(-(width // 2), (width + 1) // 2):
            opposite = (-down % height, -across % width)
            if down**2 + across**2 > radius**2 or opposite in found:
                continue
            angle = (2 * math.pi * (down * rows + across * columns)).flatten()
            alone = opposite == (down % height, across % width)
            parts = [torch.cos(angle)] if alone else [torch.cos(angle), torch.sin(angle)]
            index = (down + height // 2) * width + across + width // 2
            scale = (len(parts) / (height * width)) ** 0.5
            found[down % height, across % width] = (index, [part * scale for part in parts])
    stacked = [part for _, parts in found.values() for part in parts]
    return torch.stack(stacked), [index for index, parts in found.values() for _ in parts]


class LowFrequencies(nn.Module):
    """Spectral pooling filter: (B, dim, H, W) -> (B, dim, H, W).

    y = r x + Σ (f_i - r) <w_i, x> w_i over the waves w_i of the disc, where the filter is f_i, and
    r at the corner, the frequency that is farthest from zero.
    """

    waves: Tensor
    places: Tensor

    def __init__(self, size: tuple[int, int], radius: int, low: float) -> None:
        super().__init__()
        self.filter = nn.Parameter(disc_filter(size, radius, low)[None], requires_grad=False)
        found, places = waves(size, radius)
        self.register_buffer("waves", found, persistent=False)
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rest = self.filter[0, 0, 0]
        lacking = self.filter.flatten()[self.places] - rest
        basis = self.waves.to(x.dtype)
        seen = x.flatten(2) @ basis.T
        return rest * x + ((seen * lacking) @ basis).reshape(x.shape)


class Mixer(nn.Module):
    """Spectral pooling aggregation modulation: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, size: tuple[int, int], radius: int) -> None:
        super().__init__()
        half = KERNEL // 2
        self.proj_in = nn.Conv2d(dim, dim, 1)
        self.conv = nn.Sequential(
            nn.Conv2d(dim, dim, (1, KERNEL), padding=(0, half), groups=dim),
            nn.Conv2d(dim, dim, (KERNEL, 1), padding=(half, 0), groups=dim),
        )
        self.proj_out = nn.Conv2d(dim, dim, 1)
        self.sps = nn.ModuleList(LowFrequencies(size, radius, low) for low in LOW_WEIGHTS)
        group = -(-dim // len(LOW_WEIGHTS))
        self.groups = [group, group, dim - 2 * group]
        self.pws = nn.ModuleList(nn.Conv2d(width, dim, 1) for width in self.groups)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.proj_in(x))
        parts = zip(torch.split(x, self.groups, 1), self.sps, self.pws, strict=True)
        first, second, third = (project(keep(part)) for part, keep, project in parts)
        y: Tensor = self.proj_out(x * (first + second + third))
        return y


class Block(MetaFormerBlock):
    """Mixer and feed-forward, each with a residual."""

    def __init__(
        self, dim: int, size: tuple[int, int], radius: int, drop_path: float, *, scaled: bool
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(1, dim)
        self.token_mixer = Mixer(dim, size, radius)
        self.norm2 = nn.GroupNorm(1, dim)
        self.mlp = ConvFeedForward(dim, RATIO * dim)
        self.drop_path = DropPath(drop_path)
        self.res_scale1 = Scale(dim) if scaled else nn.Identity()
        self.res_scale2 = Scale(dim) if scaled else nn.Identity()


class SPANet(PoolFormerFrame):
    """SPANet classifier: normalised images (B, in_chans, *size) -> logits (B, num_classes)."""

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        *,
        size: tuple[int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        stem = Projection(in_chans, dims[0], 7, 4, 2)
        drops = iter(drop_rates(drop_path_rate, sum(depths)))
        network: list[nn.Module] = []
        for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            height, width = (extent // (4 << stage) for extent in size)
            scaled = stage in SCALED_STAGES
            blocks = [
                Block(dim, (height, width), RADII[stage], next(drops), scaled=scaled)
                for _ in range(depth)
            ]
            network.append(nn.Sequential(*blocks))
            if stage < len(dims) - 1:
                network.append(Projection(dim, dims[stage + 1], 3, 2, 1))
        super().__init__(stem, network, dims[-1], num_classes=num_classes)


def spanet_small(
    num_classes: int = 1000,
    *,
    in_chans: int = 3,
    size: tuple[int, int] = (224, 224),
    drop_path_rate: float = 0.0,
) -> SPANet:
    """SPANet-S: 28.7 M parameters, 83.1 % top-1 on ImageNet."""
    return SPANet(
        (64, 128, 320, 512),
        (4, 4, 12, 4),
        size=size,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )

"""SMPConv, CVPR 2023 (arXiv 2304.02330).

"SMPConv: Self-moving Point Representations for Continuous Convolution", Kim & Park. The frame of
RepLKNet (arXiv 2203.06717). A large depthwise kernel is a sum over points with learnt places, radii
and weights (§3.1): the nearer to a point, the more of its weights, nothing beyond the radius. The
kernel hangs on weights alone, so a file holds it as a constant.

Parameter names are those of the official checkpoints (github.com/sangnekim/SMPConv).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import ConvBNAct, DropPath, check_classes, drop_rates, initialize_layer

__all__ = ["SMPConvNet", "smpconv_tiny"]

KERNELS = (31, 29, 27, 13)
"""Of the large convolutions, stage by stage."""
SMALL_KERNEL = 5
CELLS_PER_POINT = 4
"""Weights of a kernel of the same size over the points."""
RATIO = 4
PLACE_STD = 0.2


class PointConv(nn.Module):
    """Depthwise convolution whose kernel is made of points: (B, dim, H, W) -> (B, dim, H, W)."""

    kernel_coord: Tensor

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        points = kernel**2 // CELLS_PER_POINT
        axis = torch.linspace(-1, 1, kernel)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))
        self.register_buffer("kernel_coord", grid[None])
        self.weight_coord = nn.Parameter(torch.empty(1, points, 2))
        self.radius = nn.Parameter(torch.full((1, points, 1, 1), 4 / kernel))
        self.weights = nn.Parameter(torch.empty(1, dim, points))
        nn.init.trunc_normal_(self.weight_coord, std=PLACE_STD, a=-1.0, b=1.0)
        nn.init.trunc_normal_(self.weights, std=0.02)

    def kernels(self) -> Tensor:
        """The kernel of each channel: (dim, 1, kernel, kernel), columns before rows as the official
        code has it."""
        cells = self.kernel_coord.reshape(2, -1)
        places = self.weight_coord[0]
        apart = (places[:, :, None] - cells).abs().sum(1)
        near = F.relu(1 - apart / self.radius[0, :, :, 0])
        square = (self.weights[0] @ near).reshape(-1, self.kernel, self.kernel)
        return square.transpose(1, 2).flip(1)[:, None]

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernels(), padding=self.kernel // 2, groups=x.shape[1])


class PointConvNorm(nn.Module):
    """A convolution of points and its norm."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.conv = PointConv(dim, kernel)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y


class LargeKernel(nn.Module):
    """A convolution of points beside a 5x5 one."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.smp = PointConvNorm(dim, kernel)
        self.small_conv = ConvBNAct(dim, dim, SMALL_KERNEL, groups=dim, act=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.smp(x) + self.small_conv(x)
        return y


class MixerBlock(nn.Module):
    """1x1, large and 1x1 convolutions, with a residual."""

    def __init__(self, dim: int, kernel: int, drop_path: float) -> None:
        super().__init__()
        self.pw1 = ConvBNAct(dim, dim, 1)
        self.pw2 = ConvBNAct(dim, dim, 1, act=nn.Identity)
        self.large_kernel = LargeKernel(dim, kernel)
        self.prelkb_bn = nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.large_kernel(self.pw1(self.prelkb_bn(x))))
        mixed: Tensor = x + self.drop_path(self.pw2(y))
        return mixed


class FeedForwardBlock(nn.Module):
    """Two 1x1 convolutions, each with its norm, and a residual."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path)
        self.preffn_bn = nn.BatchNorm2d(dim)
        self.pw1 = ConvBNAct(dim, RATIO * dim, 1, act=nn.GELU)
        self.pw2 = ConvBNAct(RATIO * dim, dim, 1, act=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.drop_path(self.pw2(self.pw1(self.preffn_bn(x))))
        return y


class Stage(nn.Module):
    """Blocks of one resolution."""

    def __init__(self, dim: int, kernel: int, drops: list[float]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for drop in drops:
            blocks += [MixerBlock(dim, kernel, drop), FeedForwardBlock(dim, drop)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x)
        return y


class SMPConvNet(nn.Module):
    """SMPConv classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    classifier_parts = ("norm", "head")

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        width = dims[0]
        self.stem = nn.Sequential(
            ConvBNAct(in_chans, width, 3, stride=2),
            ConvBNAct(width, width, 3, groups=width),
            ConvBNAct(width, width, 1),
            ConvBNAct(width, width, 3, stride=2, groups=width),
        )
        drops = iter(drop_rates(drop_path_rate, sum(depths)))
        self.stages = nn.ModuleList(
            Stage(dim, kernel, [next(drops) for _ in range(depth)])
            for dim, kernel, depth in zip(dims, KERNELS, depths, strict=True)
        )
        self.transitions = nn.ModuleList(
            nn.Sequential(
                ConvBNAct(before, after, 1), ConvBNAct(after, after, 3, stride=2, groups=after)
            )
            for before, after in pairwise(dims)
        )
        self.norm = nn.BatchNorm2d(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(initialize_layer)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        maps = [self.stages[0](self.stem(x))]
        for reduce, stage in zip(self.transitions, self.stages[1:], strict=True):
            maps.append(stage(reduce(maps[-1])))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.feature_maps(x)[-1]).mean((2, 3)))
        return logits


def smpconv_tiny(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> SMPConvNet:
    """SMPConv-T: 27 M parameters, 82.5 % top-1 on ImageNet."""
    return SMPConvNet(
        (96, 192, 384, 768),
        (2, 2, 8, 2),
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )

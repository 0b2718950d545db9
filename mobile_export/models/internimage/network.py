"""InternImage and FlashInternImage: deformable convolutions v3 and v4 as token mixers.

InternImage, CVPR 2023 (arXiv 2211.05778): blocks of a transformer whose attention is a deformable
depthwise 3x3 convolution; its nine values are weighted by a softmax per group of channels (DCNv3,
§3.1). FlashInternImage, CVPR 2024 (arXiv 2401.06197): the weights without softmax, offsets and
weights of one linear layer of the input itself (DCNv4, §3). Here the operator is composed of
`torch.nn.functional.grid_sample`. Tiny: the configurations of the official code.

Parameter names are those of the official checkpoints (github.com/OpenGVLab/InternImage and
github.com/OpenGVLab/DCNv4).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import DropPath, check_classes, drop_rates, initialize_linear, values_at

__all__ = ["InternImage", "flash_internimage_tiny", "internimage_tiny"]

EPS = 1e-6
KERNEL = 3
POINTS = KERNEL * KERNEL
CHANNELS = 64
DEPTHS = (4, 4, 18, 4)
GROUPS = (4, 8, 16, 32)
MLP_RATIO = 4
CLASSIFIER_RATIO = 1.5
MULTIPLE = 8
"""DCNv4's layer of offsets and weights has a multiple of this many outputs."""


class Last(nn.Module):
    """Moves the channels of a map behind its pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class First(nn.Module):
    """Moves the channels of a map in front of its pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


def norm(dim: int, *, first: bool = False, back: bool = False) -> nn.Sequential:
    """Layer norm over the channels: last, or ``first`` and put last, or put ``back`` again."""
    before = [Last()] if first else []
    behind = [First()] if back else []
    return nn.Sequential(*before, nn.LayerNorm(dim, eps=EPS), *behind)


def deformable_sum(x: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of nine values beside every pixel, zeros outside.

    Args:
        x: (B, H, W, groups·c).
        offsets: (B, H, W, groups, 9, 2) in pixels, along width and height; the nine points of the
            undeformed kernel go down column by column.
        weights: (B, H, W, groups, 9).

    Returns:
        (B, H, W, groups·c).
    """
    batch, height, width, dim = x.shape
    groups = offsets.shape[3]
    point = torch.arange(POINTS, device=x.device)
    across = torch.arange(width, device=x.device)[:, None] + (point // KERNEL - KERNEL // 2)
    down = torch.arange(height, device=x.device)[:, None] + (point % KERNEL - KERNEL // 2)
    pixels = torch.stack(
        [
            across[None].expand(height, width, POINTS),
            down[:, None].expand(height, width, POINTS),
        ],
        -1,
    ).reshape(height * width, POINTS, 2)
    moved = offsets.reshape(batch, height * width, groups, POINTS, 2).transpose(1, 2) + pixels
    images = x.permute(0, 3, 1, 2).reshape(batch * groups, dim // groups, height, width)
    values = values_at(images, moved.flatten(0, 1))
    shares = weights.reshape(batch, height * width, groups, POINTS).transpose(1, 2)
    total = (values * shares.reshape(batch * groups, 1, height * width, POINTS)).sum(-1)
    return total.reshape(batch, dim, height, width).permute(0, 2, 3, 1)


class DCNv3(nn.Module):
    """(B, H, W, dim) -> (B, H, W, dim): offsets and weights of a depthwise convolution."""

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        conv = nn.Conv2d(dim, dim, KERNEL, padding=KERNEL // 2, groups=dim)
        self.dw_conv = nn.Sequential(conv, norm(dim, first=True), nn.GELU())
        self.offset = nn.Linear(dim, 2 * groups * POINTS)
        self.mask = nn.Linear(dim, groups * POINTS)
        self.input_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:3], self.groups, POINTS)
        local = self.dw_conv(x.permute(0, 3, 1, 2))
        offsets = self.offset(local).reshape(*shape, 2)
        weights = self.mask(local).reshape(shape).softmax(-1)
        y: Tensor = self.output_proj(deformable_sum(self.input_proj(x), offsets, weights))
        return y


class DCNv4(nn.Module):
    """(B, H, W, dim) -> (B, H, W, dim): offsets and weights of the input itself."""

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        wanted = 3 * groups * POINTS
        self.offset_mask = nn.Linear(dim, -(-wanted // MULTIPLE) * MULTIPLE)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        both = self.offset_mask(x)[..., : 3 * self.groups * POINTS]
        both = both.reshape(*x.shape[:3], self.groups, 3 * POINTS)
        offsets = both[..., : 2 * POINTS].reshape(*both.shape[:4], POINTS, 2)
        weights = both[..., 2 * POINTS :]
        y: Tensor = self.output_proj(deformable_sum(self.value_proj(x), offsets, weights))
        return y


class FeedForward(nn.Module):
    """Linear, GELU, linear over the last axis."""

    def __init__(self, dim: int, middle: int, *, bias: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, middle)
        self.fc2 = nn.Linear(middle, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class Block(nn.Module):
    """Deformable sum and feed-forward, each behind a norm, with residuals: (B, H, W, dim)."""

    def __init__(self, dim: int, groups: int, drop_path: float, core: type[DCNv3 | DCNv4]) -> None:
        super().__init__()
        self.norm1 = norm(dim)
        self.dcn = core(dim, groups)
        self.drop_path = DropPath(drop_path)
        self.norm2 = norm(dim)
        self.mlp = FeedForward(dim, MLP_RATIO * dim, bias=core is DCNv3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.dcn(self.norm1(x)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class Stem(nn.Module):
    """Two convolutions of stride 2: (B, in_chans, H, W) -> (B, ⌈H/4⌉, ⌈W/4⌉, dim)."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, dim // 2, 3, 2, 1)
        self.norm1 = norm(dim // 2, first=True, back=True)
        self.conv2 = nn.Conv2d(dim // 2, dim, 3, 2, 1)
        self.norm2 = norm(dim, first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm2(self.conv2(F.gelu(self.norm1(self.conv1(x)))))
        return y


class Downsample(nn.Module):
    """(B, H, W, dim) -> (B, ⌈H/2⌉, ⌈W/2⌉, 2·dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, 2 * dim, 3, 2, 1, bias=False)
        self.norm = norm(2 * dim, first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x.permute(0, 3, 1, 2)))
        return y


class Stage(nn.Module):
    """Blocks and a norm, and what makes the map smaller for the next stage."""

    def __init__(self, blocks: list[Block], dim: int, *, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm(dim)
        self.downsample = None if last else Downsample(dim)

    def forward(self, x: Tensor) -> Tensor:
        """The map of this stage."""
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.norm(x)
        return y


class InternImage(nn.Module):
    """InternImage classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    classifier_parts = ("head",)

    def __init__(
        self,
        core: type[DCNv3 | DCNv4],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.patch_embed = Stem(in_chans, CHANNELS)
        drops = iter(drop_rates(drop_path_rate, sum(DEPTHS)))
        self.levels = nn.ModuleList()
        for index, (depth, groups) in enumerate(zip(DEPTHS, GROUPS, strict=True)):
            dim = CHANNELS * 2**index
            blocks = [Block(dim, groups, next(drops), core) for _ in range(depth)]
            self.levels.append(Stage(blocks, dim, last=index == len(DEPTHS) - 1))
        wide = int(CLASSIFIER_RATIO * dim)
        head_norm = nn.Sequential(nn.BatchNorm2d(wide))
        self.conv_head = nn.Sequential(nn.Conv2d(dim, wide, 1, bias=False), head_norm, nn.GELU())
        self.head = nn.Linear(wide, num_classes)
        self.apply(initialize_linear)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        x = self.patch_embed(x)
        maps: list[Tensor] = []
        for level in self.levels:
            stage = cast(Stage, level)
            x = stage(x)
            maps.append(x.permute(0, 3, 1, 2))
            x = x if stage.downsample is None else stage.downsample(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv_head(self.feature_maps(x)[-1]).mean((2, 3)))
        return logits


def internimage_tiny(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> InternImage:
    """InternImage-T: 30 M parameters, 5 G MACs, 83.5 % top-1."""
    return InternImage(
        DCNv3, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def flash_internimage_tiny(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> InternImage:
    """FlashInternImage-T: 30 M parameters, 83.6 % top-1."""
    return InternImage(
        DCNv4, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )

"""AANet, CVPR 2020 (arXiv 2004.09548): disparity of a left and a right picture.

"AANet: Adaptive Aggregation Network for Efficient Stereo Matching", Xu and Zhang. Features of
strides 3, 6 and 12 of both pictures are compared at up to 192 pixels of disparity; the comparisons
are the channels of maps, which six modules aggregate: deformable convolutions within a scale (§3.1)
and sums across scales (§3.2). The disparity of stride 3 is refined twice, by what differs between
the left picture and the right one moved by it (§3.3). As for inference: the last module has one
scale.

Parameter names are those of the official checkpoints (github.com/haofeixu/aanet, feature_type
aanet, feature_pyramid_network, no_intermediate_supervision).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import values_beside
from ..resnet import EXPANSION, Bottleneck

__all__ = ["AANet", "aanet", "compare"]

IMAGE = 3
STRIDE = 3
MAX_DISPARITY = 192
CANDIDATES = tuple(MAX_DISPARITY // STRIDE // 2**scale for scale in range(3))
"""Disparities that are compared at each scale, in its pixels."""
DEPTHS = (3, 4, 6)
STEM = 32
PYRAMID_DIM = 128
MODULES, PLAIN_MODULES = 6, 3
"""Modules of the aggregation; in how many, the first ones, no convolution is deformable."""
GROUPS, DILATION = 2, 2
"""Of deformable convolutions."""
POINTS = 9
SLOPE = 0.2
REFINED_DIM = 32
DILATIONS = (1, 2, 4, 8, 1, 1)


class Kernel(nn.Module):
    """The weights of a convolution without bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, dim, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)


class DeformableConv(nn.Module):
    """Modulated deformable 3x3 convolution, dilated by 2, of two groups of offsets.

    (B, dim, H, W) -> (B, dim, ⌈H/stride⌉, ⌈W/stride⌉)
    """

    def __init__(self, dim: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.deform_conv = Kernel(dim)
        self.offset_conv = nn.Conv2d(
            dim, 3 * GROUPS * POINTS, 3, stride, DILATION, DILATION, groups=GROUPS
        )
        for tensor in self.offset_conv.parameters():
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor) -> Tensor:
        found = self.offset_conv(x)
        offsets, shares = found.split((2 * GROUPS * POINTS, GROUPS * POINTS), 1)
        values = values_beside(x, offsets, stride=self.stride, dilation=DILATION, groups=GROUPS)
        shares = 2 * shares.sigmoid()
        batch, dim, _, height, width = values.shape
        taken = values.reshape(batch, GROUPS, -1, POINTS, height, width) * shares.reshape(
            batch, GROUPS, 1, POINTS, height, width
        )
        kernel = self.deform_conv.weight.reshape(dim, -1, 1, 1)
        return F.conv2d(taken.reshape(batch, -1, height, width), kernel)


class Features(nn.Module):
    """ResNet-40: images (B, 3, H, W) -> maps of strides 3, 6 and 12; the last is deformable."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(IMAGE, STEM, 7, STRIDE, 3, bias=False), nn.BatchNorm2d(STEM), nn.ReLU()
        )
        before = STEM
        for index, depth in enumerate(DEPTHS):
            middle = STEM * 2**index
            blocks = []
            for block in range(depth):
                stride = 2 if index and not block else 1
                plain = nn.Conv2d(middle, middle, 3, stride, 1, bias=False)
                mix = plain if index < len(DEPTHS) - 1 else DeformableConv(middle, stride)
                blocks.append(Bottleneck(before, EXPANSION * middle, stride, mix))
                before = EXPANSION * middle
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.conv1(image)
        maps: list[Tensor] = []
        for index in range(len(DEPTHS)):
            x = self.get_submodule(f"layer{index + 1}")(x)
            maps.append(x)
        return maps


class Pyramid(nn.Module):
    """Feature pyramid: the same maps, of 128 channels."""

    def __init__(self) -> None:
        super().__init__()
        dims = [EXPANSION * STEM * 2**index for index in range(len(DEPTHS))]
        self.lateral_convs = nn.ModuleList(nn.Conv2d(dim, PYRAMID_DIM, 1) for dim in dims)
        self.fpn_convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(PYRAMID_DIM, PYRAMID_DIM, 3, padding=1),
                nn.BatchNorm2d(PYRAMID_DIM),
                nn.ReLU(),
            )
            for _ in dims
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for index in range(len(laterals) - 1, 0, -1):
            larger = F.interpolate(laterals[index], scale_factor=2.0, mode="nearest")
            laterals[index - 1] = laterals[index - 1] + larger
        return [conv(x) for conv, x in zip(self.fpn_convs, laterals, strict=True)]


def compare(left: Tensor, right: Tensor, candidates: int) -> Tensor:
    """Mean products of the left pixel and the one so many pixels to the left in the right picture;
    0 where that is outside: (B, C, H, W) twice -> (B, candidates, H, W)."""
    batch, channels, height, width = left.shape
    pairs = left.permute(0, 2, 3, 1) @ right.permute(0, 2, 1, 3) / channels
    # (…, left pixel, right pixel): rows one longer than they are shift each row by one more, so a
    # column holds pixels of one disparity
    wide = F.pad(pairs, (candidates - 1, 0)).flatten(2)
    skewed = F.pad(wide, (0, width)).reshape(batch, height, width, width + candidates)
    return skewed[..., :candidates].flip(3).permute(0, 3, 1, 2)


def conv_norm(dim_in: int, dim: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, and batch norm."""
    return nn.Sequential(
        nn.Conv2d(dim_in, dim, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(dim)
    )


def across(source: int, target: int) -> nn.Module:
    """What leads the comparisons of one scale to another, but for making the map larger."""
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_norm(CANDIDATES[source], CANDIDATES[target], 1)
    steps: list[nn.Module] = []
    for _ in range(target - source - 1):
        dim = CANDIDATES[source]
        steps.append(nn.Sequential(*conv_norm(dim, dim, stride=2), nn.LeakyReLU(SLOPE)))
    steps.append(conv_norm(CANDIDATES[source], CANDIDATES[target], stride=2))
    return nn.Sequential(*steps)


class AggregationModule(nn.Module):
    """A block within each scale, then sums across the scales.

    Args:
        outputs: scales that are made, the finest first.
    """

    def __init__(self, *, deformable: bool, outputs: int) -> None:
        super().__init__()
        branches = []
        for dim in CANDIDATES:
            plain = nn.Conv2d(dim, dim, 3, 1, 1, bias=False)
            mix = DeformableConv(dim) if deformable else plain
            branches.append(nn.Sequential(Bottleneck(dim, dim, 1, mix, middle=dim)))
        self.branches = nn.ModuleList(branches)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(across(source, target) for source in range(len(CANDIDATES)))
            for target in range(outputs)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused: list[Tensor] = []
        for target in range(len(self.fuse_layers)):
            total: Tensor | None = None
            for source, x in enumerate(maps):
                y = self.get_submodule(f"fuse_layers.{target}.{source}")(x)
                if source > target:
                    size = [int(extent) for extent in maps[target].shape[2:]]
                    y = F.interpolate(y, size=size, mode="bilinear", align_corners=False)
                total = y if total is None else total + y
            assert total is not None
            fused.append(F.leaky_relu(total, SLOPE))
        return fused


class Aggregation(nn.Module):
    """Comparisons at three scales -> those of the finest one, aggregated."""

    def __init__(self) -> None:
        super().__init__()
        self.fusions = nn.Sequential(
            *(
                AggregationModule(
                    deformable=index >= PLAIN_MODULES,
                    outputs=1 if index == MODULES - 1 else len(CANDIDATES),
                )
                for index in range(MODULES)
            )
        )
        self.final_conv = nn.ModuleList([nn.Conv2d(CANDIDATES[0], CANDIDATES[0], 1)])

    def forward(self, maps: list[Tensor]) -> Tensor:
        y: Tensor = self.final_conv[0](self.fusions(maps)[0])
        return y


class DilatedBlock(nn.Module):
    """Two dilated 3x3 convolutions with a residual."""

    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, 1, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.bn1(self.conv1(x)), SLOPE)
        return F.leaky_relu(self.bn2(self.conv2(y)) + x, SLOPE)


def warp(right: Tensor, disparity: Tensor) -> Tensor:
    """The right picture, each pixel fetched so far to the left, the border outside.

    Positions are scaled as the official code does: pixel p of n is looked up at
    ``p · n / (n - 1) - 1/2``.
    """
    height, width = right.shape[2:]
    columns = torch.arange(width, dtype=right.dtype, device=right.device) - disparity[:, 0]
    rows = torch.arange(height, dtype=right.dtype, device=right.device)[:, None]
    places = [2 * columns / (width - 1) - 1, (2 * rows / (height - 1) - 1).expand_as(columns)]
    grid = torch.stack(places, -1)
    return F.grid_sample(right, grid, "bilinear", "border", align_corners=False)


class Refinement(nn.Module):
    """Disparities (B, 1, h, w) -> (B, 1, H, W), by pictures of that size."""

    def __init__(self) -> None:
        super().__init__()
        half = REFINED_DIM // 2
        self.conv1 = nn.Sequential(*conv_norm(2 * IMAGE, half), nn.LeakyReLU(SLOPE))
        self.conv2 = nn.Sequential(*conv_norm(1, half), nn.LeakyReLU(SLOPE))
        self.dilated_blocks = nn.Sequential(
            *(DilatedBlock(REFINED_DIM, dilation) for dilation in DILATIONS)
        )
        self.final_conv = nn.Conv2d(REFINED_DIM, 1, 3, 1, 1)

    def forward(self, disparity: Tensor, left: Tensor, right: Tensor) -> Tensor:
        size = [int(extent) for extent in left.shape[2:]]
        scale = size[1] / disparity.shape[3]
        larger = F.interpolate(disparity, size=size, mode="bilinear", align_corners=False) * scale
        error = warp(right, larger) - left
        x = torch.cat([self.conv1(torch.cat([error, left], 1)), self.conv2(larger)], 1)
        return F.relu(larger + self.final_conv(self.dilated_blocks(x)))


class AANet(nn.Module):
    """A left and a right picture, normalised, (B, 3, 2, H, W) -> disparity in pixels (B, 1, H, W).

    H and W are multiples of 12.
    """

    def __init__(self) -> None:
        super().__init__()
        self.feature_extractor = Features()
        self.fpn = Pyramid()
        self.aggregation = Aggregation()
        self.refinement = nn.ModuleList(Refinement() for _ in range(2))

    def forward(self, pictures: Tensor) -> Tensor:
        left, right = pictures[:, :, 0], pictures[:, :, 1]
        maps = [self.fpn(self.feature_extractor(picture)) for picture in (left, right)]
        pairs = zip(*maps, CANDIDATES, strict=True)
        likely = self.aggregation([compare(a, b, candidates) for a, b, candidates in pairs])
        places = torch.arange(CANDIDATES[0], dtype=likely.dtype, device=likely.device)
        disparity = (likely.softmax(1) * places[:, None, None]).sum(1, keepdim=True)
        halves = [
            F.interpolate(picture, scale_factor=0.5, mode="bilinear", align_corners=False)
            for picture in (left, right)
        ]
        disparity = self.refinement[0](disparity, *halves)
        refined: Tensor = self.refinement[1](disparity, left, right)
        return refined


def aanet(*, in_chans: int = IMAGE, output: str = "disparity") -> AANet:
    """AANet: 3.93 M parameters.

    Raises:
        ValueError: the pictures have other than three channels.
    """
    if in_chans != IMAGE:
        raise ValueError(f"in_chans is {in_chans}; pictures have {IMAGE} channels")
    return AANet()

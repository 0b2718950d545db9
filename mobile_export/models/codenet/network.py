"""CoDeNet, FPGA 2021 (arXiv 2006.08357): a detector of objects' centres.

"CoDeNet: Efficient Deployment of Input-Adaptive Object Detection on Embedded FPGAs", Dong et al.
ShuffleNetV2, then three steps that double the map, each behind a deformable depthwise convolution:
its nine points lie on a square around the pixel whose half side, at most 8 pixels, a 1x1
convolution finds (§3). At stride 4 every pixel tells for each class how likely an object's centre
is there, its size, and where within the pixel (CenterNet, arXiv 1904.07850). CoDeNet1x: Table 4.

Where the official code keeps the pixels that are the largest of 3x3, boxes and scores of all pixels
are returned, for `mobile_export.detection.suppress`.

Parameter names are those of the official checkpoints (github.com/Zhen-Dong/CoDeNet).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..heads.detector import DetectionOutput, check_detection_output, per_anchor
from ..layers import values_beside

__all__ = ["CoDeNet", "DeformableDepthwise", "Stem", "codenet_1x"]

Stem = Literal["stride", "maxpool"]

DIMS = (24, 116, 232, 464, 1024)
REPEATS = (3, 7, 3)
DECODER_DIMS = (256, 128, 64)
HEAD_DIM = 64
STRIDE = 4
LARGEST = 8
"""Half side of the nine points' square, in pixels."""
RARE = -2.19
"""Logit of every class at first."""


def conv_norm(
    dim_in: int, dim: int, kernel: int = 1, stride: int = 1, *, depthwise: bool = False
) -> list[nn.Module]:
    """A convolution without bias, and batch norm."""
    groups = dim_in if depthwise else 1
    conv = nn.Conv2d(dim_in, dim, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(dim)]


class Unit(nn.Module):
    """ShuffleNetV2's unit: (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int) -> None:
        super().__init__()
        half = dim // 2
        if stride > 1:
            self.b1 = nn.Sequential(
                *conv_norm(dim_in, dim_in, 3, stride, depthwise=True),
                *conv_norm(dim_in, half),
                nn.ReLU(),
            )
        self.b2 = nn.Sequential(
            *conv_norm(dim_in if stride > 1 else half, half),
            nn.ReLU(),
            *conv_norm(half, half, 3, stride, depthwise=True),
            *conv_norm(half, half),
            nn.ReLU(),
        )
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            halves = [self.b1(x), self.b2(x)]
        else:
            kept, changed = x.chunk(2, 1)
            halves = [kept, self.b2(changed)]
        return torch.stack(halves, 2).flatten(1, 2)


class Kernel(nn.Module):
    """The weights of a depthwise 3x3 convolution."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, 1, 3, 3).uniform_(-1, 1) / (9 * dim) ** 0.5)


class DeformableDepthwise(nn.Module):
    """A depthwise 3x3 convolution of values on a square of any size, then a pointwise one.

    (B, dim_in, H, W) -> (B, dim, H, W)
    """

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.conv_scale = nn.Conv2d(dim_in, 1, 1)
        nn.init.zeros_(self.conv_scale.weight)
        nn.init.ones_(self.conv_scale.bias)  # type: ignore[arg-type]
        self.conv = Kernel(dim_in)
        self.conv_channel = nn.Conv2d(dim_in, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        half_side = F.hardtanh(self.conv_scale(x), 1 - LARGEST, LARGEST)
        steps = torch.tensor((-1.0, 0.0, 1.0), dtype=x.dtype, device=x.device)
        points = torch.stack([steps.repeat_interleave(3), steps.repeat(3)], 1)
        offsets = points.reshape(1, -1, 1, 1) * (half_side - 1)
        taken = values_beside(x, offsets)
        kernel = self.conv.weight.reshape(-1, 9, 1, 1)
        y: Tensor = self.conv_channel(F.conv2d(taken.flatten(1, 2), kernel, groups=x.shape[1]))
        return y


def head(outputs: int) -> nn.Sequential:
    """What every pixel tells: 1x1, depthwise 3x3 and 1x1 convolutions."""
    last = DECODER_DIMS[-1]
    return nn.Sequential(
        *conv_norm(last, HEAD_DIM),
        nn.ReLU(),
        *conv_norm(HEAD_DIM, HEAD_DIM, 3, depthwise=True),
        nn.ReLU(),
        nn.Conv2d(HEAD_DIM, outputs, 1),
    )


class CoDeNet(nn.Module):
    """Normalised images (B, in_chans, H, W) -> boxes and scores of all pixels of stride 4.

    H and W are multiples of 32. ``output="raw"``: logits (B, N, classes) and deltas (B, N, 4): how
    far the centre is right of and below the pixel's corner, width and height, all in pixels of the
    map.
    """

    def __init__(
        self, num_classes: int, *, in_chans: int, output: DetectionOutput, stem: Stem
    ) -> None:
        super().__init__()
        check_detection_output(output, num_classes)
        self.num_classes = num_classes
        self.output = output
        pooled = stem == "maxpool"
        self.layer0 = nn.Sequential(
            nn.Conv2d(in_chans, DIMS[0], 3, 2 if pooled else STRIDE, 1, bias=False),
            nn.BatchNorm2d(DIMS[0]),
            nn.ReLU(),
            *([nn.MaxPool2d(3, 2, 1)] if pooled else []),
        )
        for index, repeats in enumerate(REPEATS):
            dim = DIMS[index + 1]
            units = [Unit(DIMS[index], dim, 2), *(Unit(dim, dim, 1) for _ in range(repeats))]
            self.add_module(f"layer{index + 1}", nn.Sequential(*units))
        self.layer4 = nn.Sequential(*conv_norm(DIMS[3], DIMS[4]), nn.ReLU())
        decoder: list[nn.Module] = []
        before = DIMS[4]
        for dim in DECODER_DIMS:
            decoder += [DeformableDepthwise(before, dim), nn.BatchNorm2d(dim), nn.ReLU()]
            decoder.append(nn.Upsample(scale_factor=2.0, mode="nearest"))
            before = dim
        self.deconv_layers = nn.Sequential(*decoder)
        self.hm = head(num_classes)
        self.wh = head(2)
        self.reg = head(2)
        nn.init.constant_(self.hm[-1].bias, RARE)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        height, width = x.shape[2:]
        for index in range(len(DIMS)):
            x = self.get_submodule(f"layer{index}")(x)
        x = self.deconv_layers(x)
        logits, size = per_anchor(self.hm(x), self.num_classes), per_anchor(self.wh(x), 2)
        shift = per_anchor(self.reg(x), 2)
        if self.output == "raw":
            return {"logits": logits, "deltas": torch.cat([shift, size], 2)}
        rows = torch.arange(x.shape[2], dtype=x.dtype, device=x.device)
        columns = torch.arange(x.shape[3], dtype=x.dtype, device=x.device)
        down, across = torch.meshgrid(rows, columns, indexing="ij")
        centres = torch.stack([across, down], -1).reshape(-1, 2) + shift
        corners = STRIDE * torch.cat([centres - size / 2, centres + size / 2], 2)
        left, top, right, bottom = corners.chunk(4, 2)
        inside = [left.clamp(0, width), top.clamp(0, height)]
        inside += [right.clamp(0, width), bottom.clamp(0, height)]
        return {"boxes": torch.cat(inside, 2), "scores": logits.sigmoid()}


def codenet_1x(
    num_classes: int = 80,
    *,
    in_chans: int = 3,
    output: DetectionOutput = "boxes",
    stem: Stem = "stride",
) -> CoDeNet:
    """CoDeNet1x: 1.5 M parameters, 22.2 box AP on COCO.

    Args:
        stem: "stride" is a convolution of stride 4 (configurations a, c and d for Pascal VOC),
            "maxpool" one of stride 2 and a pool (b and e).
    """
    return CoDeNet(num_classes, in_chans=in_chans, output=output, stem=stem)

"""HiFormer-S, WACV 2023 (arXiv 2207.08518).

"HiFormer: Hierarchical Multi-scale Representations Using Transformers for Medical Image
Segmentation", Heidari et al. A convolutional encoder (ResNet-34) and Swin's first three stages side
by side, each stage's tokens with the encoder's map of that size added (§3.1); the finest and the
coarsest are decoded together.

The paper's double-level fusion (§3.2) changes class tokens only, which the official code takes off
again before it decodes. So no result hangs on it, and it is left out, with its tensors.

Parameter names are those of the official code (github.com/amirhossein-kz/HiFormer).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import check_classes, from_map, to_map
from ..resnet import BasicBlock
from ..segmentation import SegmentationOutput, check_output, finish
from .swin import PatchMerging, SwinStages

__all__ = ["HiFormer", "hiformer_s"]

CNN_DIMS, CNN_DEPTHS = (64, 128, 256), (3, 4, 6)
DIMS, DEPTHS, HEADS = (96, 192, 384), (2, 2, 6), (3, 6, 12)
WIDTH, LAST = 128, 16
"""Channels of the decoder, and in front of the classes."""
GROUPS = 32

Size = tuple[int, int]


def encoder(in_chans: int) -> nn.ModuleList:
    """ResNet-34 up to stride 16: stem of four layers, and three stages."""
    width = CNN_DIMS[0]
    parts: list[nn.Module] = [
        nn.Conv2d(in_chans, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    before = width
    for dim, depth in zip(CNN_DIMS, CNN_DEPTHS, strict=True):
        first = BasicBlock(before, dim, 1 if dim == before else 2)
        parts.append(nn.Sequential(first, *(BasicBlock(dim, dim, 1) for _ in range(depth - 1))))
        before = dim
    return nn.ModuleList(parts)


class Pyramid(nn.Module):
    """Images -> tokens of strides 4 and 16."""

    def __init__(self, size: Size, in_chans: int) -> None:
        super().__init__()
        self.swin_transformer = SwinStages(DIMS, DEPTHS, HEADS, size)
        self.resnet_layers = encoder(in_chans)
        self.p1_ch = nn.Conv2d(CNN_DIMS[0], DIMS[0], 1)
        self.p1_pm = PatchMerging(DIMS[0], size)
        self.p2 = self.resnet_layers[5]
        self.p2_ch = nn.Conv2d(CNN_DIMS[1], DIMS[1], 1)
        self.p2_pm = PatchMerging(DIMS[1], (size[0] // 2, size[1] // 2))
        self.p3 = self.resnet_layers[6]
        self.p3_ch = nn.Conv2d(CNN_DIMS[2], DIMS[2], 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for part in self.resnet_layers[:5]:
            x = part(x)
        first, second, third = self.swin_transformer.layers
        tokens = from_map(self.p1_ch(x))
        fine = tokens + first(tokens)
        x = self.p2(x)
        middle = from_map(self.p2_ch(x)) + second(self.p1_pm(fine))
        coarse = from_map(self.p3_ch(self.p3(x))) + third(self.p2_pm(middle))
        return fine, coarse


class TwoLevels(nn.Module):
    """The pyramid's tokens with positions added, and normalised."""

    def __init__(self, size: Size, in_chans: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(size, in_chans)
        tokens = (size[0] * size[1], size[0] * size[1] // 16)
        ends = (DIMS[0], DIMS[-1])
        self.pos_embed = nn.ParameterList(
            nn.Parameter(torch.empty(1, 1 + count, dim))
            for count, dim in zip(tokens, ends, strict=True)
        )
        for embedding in self.pos_embed:
            nn.init.trunc_normal_(embedding, std=0.02)
        self.norm = nn.ModuleList(nn.LayerNorm(dim) for dim in ends)

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = zip(self.pyramid(x), self.pos_embed, self.norm, strict=True)
        return [norm(tokens + place[:, 1:]) for tokens, place, norm in levels]


class ConvUpsample(nn.Module):
    """3x3 convolutions, each with a norm, and doubled if ``larger``."""

    def __init__(self, dim: int, depth: int, *, larger: bool) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for index in range(depth):
            before = dim if index == 0 else WIDTH
            parts += [nn.Conv2d(before, WIDTH, 3, padding=1, bias=False)]
            parts += [nn.GroupNorm(GROUPS, WIDTH), nn.ReLU()]
            if larger:
                parts.append(nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False))
        self.conv_tower = nn.ModuleList(parts)
        self.convs_level = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convs_level(x)
        return y


class HiFormer(nn.Module):
    """HiFormer segmenter: images in [0, 1], (B, in_chans, *size) -> (B, num_classes, *size).

    ``output``: see `models.segmentation`.
    """

    training_only = (
        "All2Cross.blocks.",
        "All2Cross.pyramid.norm_1.",
        "All2Cross.pyramid.norm_2.",
    )

    def __init__(
        self, *, size: Size, num_classes: int, in_chans: int, output: SegmentationOutput
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        check_output(output)
        self.num_classes = num_classes
        self.output = output
        self.map_size = (size[0] // 4, size[1] // 4)
        self.All2Cross = TwoLevels(self.map_size, in_chans)
        self.ConvUp_s = ConvUpsample(DIMS[-1], 2, larger=True)
        self.ConvUp_l = ConvUpsample(DIMS[0], 1, larger=False)
        self.segmentation_head = nn.Sequential(nn.Conv2d(LAST, num_classes, 3, padding=1))
        self.conv_pred = nn.Sequential(
            nn.Conv2d(WIDTH, LAST, 1),
            nn.ReLU(),
            nn.Upsample(scale_factor=4.0, mode="bilinear", align_corners=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = self.All2Cross(x)
        height, width = self.map_size
        joined = self.ConvUp_l(to_map(fine, self.map_size))
        joined = joined + self.ConvUp_s(to_map(coarse, (height // 4, width // 4)))
        logits = self.segmentation_head(self.conv_pred(joined))
        return finish(logits, (x.shape[2], x.shape[3]), self.output)


def hiformer_s(
    num_classes: int = 9,
    *,
    in_chans: int = 3,
    size: Size = (224, 224),
    output: SegmentationOutput = "logits",
) -> HiFormer:
    """HiFormer-S for the nine classes of Synapse."""
    return HiFormer(size=size, num_classes=num_classes, in_chans=in_chans, output=output)

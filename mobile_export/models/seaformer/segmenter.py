"""SeaFormer for semantic segmentation: its backbone, fusion blocks, the light head.

Fusion blocks (§3.1.3) multiply the stride-8 feature map with gates made of the attending stages'
outputs, one after the other; the light head (§3.1.4) classifies each pixel of the result.
Parameter names are those of the official checkpoints (github.com/fudan-zvg/SeaFormer), with
`backbone.` and `decode_head.` as mmsegmentation saves them.

FLOPs agree with Table 13 of SeaFormer++ (arXiv 2301.13156) within 3 %. SeaFormer-S is 5 to 6 %
below its Tables 4 (0.98 G) and 5 (1.15 G), which contradict Table 13 (1.10 G): the official
configurations change nothing but the classes and the size, so from 1.10 G follow 0.93 G at 480 x
480 with 59 classes and 1.11 G with 171.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes
from ..segmentation import SegmentationOutput, check_output, finish
from .ablation import AblatedAttention
from .network import MakeAttention, SeaAttention, SeaFormerBackbone
from .variants import BASE, LARGE, SMALL, TINY, SeaFormerConfig

__all__ = [
    "SeaFormerSegmenter",
    "seaformer_base_seg",
    "seaformer_large_seg",
    "seaformer_small_seg",
    "seaformer_tiny_seg",
]


class Backbone(SeaFormerBackbone):
    """The context branch, returning the feature maps that the head fuses."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.forward_features(x)


class ConvNorm(nn.Module):
    """Convolution of kernel 1 without bias, and batch norm, named as mmcv names them."""

    def __init__(self, dim_in: int, dim_out: int, *, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, 1, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y


class FusionBlock(nn.Module):
    """local(x) · upsampled gate(context): (B, C, H, W) and (B, D, h, w) -> (B, dim, H, W).

    ``fusion`` is one of Table 11: without "sigmoid" what is upsampled is no gate, and with "add"
    the two are added.
    """

    def __init__(
        self, dim_local: int, dim_context: int, dim: int, fusion: str = "sigmoid_multiply"
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.local_embedding = ConvNorm(dim_local, dim)
        self.global_act = ConvNorm(dim_context, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        context = self.global_act(context)
        if self.fusion.startswith("sigmoid"):
            context = F.hardsigmoid(context)
        gate = F.interpolate(context, size=x.shape[2:], mode="bilinear", align_corners=False)
        local: Tensor = self.local_embedding(x)
        return local + gate if self.fusion.endswith("add") else local * gate


class LightHead(nn.Module):
    """Fusion blocks, a channel-wise scale and a classifier per pixel, all at stride 8."""

    def __init__(
        self,
        detail_dim: int,
        context_dims: tuple[int, ...],
        dims: tuple[int, ...],
        classes: int,
        fusion: str = "sigmoid_multiply",
    ) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(dims[-1], classes, 1)
        self.linear_fuse = ConvNorm(dims[-1], dims[-1], groups=dims[-1])
        for index, dim in enumerate(dims):
            block = FusionBlock(detail_dim, context_dims[index], dim, fusion)
            setattr(self, f"fuse{index + 1}", block)
            detail_dim = dim
        self.depth = len(dims)
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.conv_seg.bias))

    def forward(self, features: list[Tensor]) -> Tensor:
        x = features[0]
        for index in range(self.depth):
            x = getattr(self, f"fuse{index + 1}")(x, features[index + 1])
        logits: Tensor = self.conv_seg(F.relu(self.linear_fuse(x)))
        return logits


class SeaFormerSegmenter(nn.Module):
    """SeaFormer segmenter: normalised images (B, in_chans, H, W) -> one score map per class.

    Any H and W from 1 up work. ``output`` says what comes out: see `models.segmentation`.
    """

    def __init__(
        self,
        config: SeaFormerConfig,
        *,
        num_classes: int = 150,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        output: SegmentationOutput = "logits",
        attention: MakeAttention = SeaAttention,
        fusion: str = "sigmoid_multiply",
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        check_output(output)
        self.num_classes = num_classes
        self.output: SegmentationOutput = output
        self.backbone = Backbone(
            config, in_chans=in_chans, drop_path_rate=drop_path_rate, attention=attention
        )
        self.decode_head = LightHead(
            config.dims[1], config.attending_dims, config.fuse_dims, num_classes, fusion
        )

    def forward(self, x: Tensor) -> Tensor:
        logits = self.decode_head(self.backbone(x))
        return finish(logits, (x.shape[2], x.shape[3]), self.output)


def seaformer_tiny_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
    enhance: str = "qkv",
    mode: str = "multiply",
    squeeze: str = "mean",
    position: str = "learnt",
    fusion: str = "sigmoid_multiply",
) -> SeaFormerSegmenter:
    """SeaFormer-Tiny, light head: 1.7 M parameters, 35.8 % mIoU on ADE20K (Table 2).

    Args:
        enhance, mode: what the details are made of, and how they join the attention (Table 6).
        squeeze: the tokens of rows and columns, "mean" or "max" (Table 7).
        position: "learnt" or "none" (Table 12).
        fusion: of the light head (Table 11).
    """
    attention = partial(
        AblatedAttention, enhance=enhance, mode=mode, squeeze=squeeze, position=position
    )
    return SeaFormerSegmenter(
        TINY,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
        attention=attention,
        fusion=fusion,
    )


def seaformer_small_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
) -> SeaFormerSegmenter:
    """SeaFormer-Small, light head: 4.0 M parameters, 39.4 % mIoU on ADE20K (Table 2)."""
    return SeaFormerSegmenter(
        SMALL,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
    )


def seaformer_base_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
    fuse_dims: str = "128-160",
) -> SeaFormerSegmenter:
    """SeaFormer-Base, light head: 8.6 M parameters, 41.0 % mIoU on ADE20K (Table 2).

    Args:
        fuse_dims: channels of the two fusion blocks; Table 12 has others.
    """
    return SeaFormerSegmenter(
        replace(BASE, fuse_dims=tuple(map(int, fuse_dims.split("-")))),
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
    )


def seaformer_large_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
) -> SeaFormerSegmenter:
    """SeaFormer-Large, light head: 14.0 M parameters, 43.7 % mIoU on ADE20K (Table 2)."""
    return SeaFormerSegmenter(
        LARGE,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
    )

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

from torch import Tensor, nn

from ..layers import check_classes
from ..segmentation import SegmentationOutput, check_output, finish
from .ablation import AblatedAttention
from .fusion import LightHead
from .network import MakeAttention, SeaAttention, SeaFormerBackbone
from .others import CONVOLVED, OTHERS
from .simple_head import EmbeddingHead
from .variants import BASE, LARGE, SMALL, TINY, SeaFormerConfig

__all__ = [
    "SeaFormerSegmenter",
    "seaformer_base_seg",
    "seaformer_large_seg",
    "seaformer_small_seg",
    "seaformer_tiny_seg",
]


SEA = {"enhance": "qkv", "mode": "multiply", "squeeze": "mean", "position": "learnt"}
"""The options of SEA attention as the paper has it."""

SIMPLE_WIDTHS = {"tiny": 128, "small": 192, "base": 256}
"""Channels of TopFormer's simple head, which Table 13 puts on SeaFormer, too."""


class Backbone(SeaFormerBackbone):
    """The context branch, returning the feature maps that the head fuses."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.forward_features(x)


class SeaFormerSegmenter(nn.Module):
    """SeaFormer segmenter: normalised images (B, in_chans, H, W) -> one score map per class.

    Any H and W from 1 up work. ``output`` says what comes out: see `models.segmentation`.

    Args:
        fusion: of the light head.
        simple_width: channels of the simple head; None: it is the light head.
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
        simple_width: int | None = None,
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        check_output(output)
        self.num_classes = num_classes
        self.output: SegmentationOutput = output
        self.backbone = Backbone(
            config, in_chans=in_chans, drop_path_rate=drop_path_rate, attention=attention
        )
        detail, contexts = config.dims[1], config.attending_dims
        self.decode_head: nn.Module = (
            LightHead(detail, contexts, config.fuse_dims, num_classes, fusion)
            if simple_width is None
            else EmbeddingHead((detail, *contexts), simple_width, num_classes)
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
    head: str = "light",
    attention: str = "sea",
) -> SeaFormerSegmenter:
    """SeaFormer-Tiny, light head: 1.7 M parameters, 35.8 % mIoU on ADE20K (Table 2).

    Args:
        enhance, mode: what the details are made of, and how they join the attention (Table 6).
        squeeze: the tokens of rows and columns, "mean" or "max" (Table 7).
        position: "learnt" or "none" (Table 12).
        fusion: of the light head (Table 11).
        head: "light" or "simple" (Table 13).
        attention: "sea", or another in its place (Table 9), which takes none of the four options
            of SEA attention.

    Raises:
        ValueError: another attention with one of these options.
    """
    ablated = {"enhance": enhance, "mode": mode, "squeeze": squeeze, "position": position}
    changed = [key for key, value in ablated.items() if value != SEA[key]]
    if attention != "sea" and changed:
        raise ValueError(f"{changed[0]} is of SEA attention, and attention is {attention!r}")
    make: MakeAttention = OTHERS.get(attention) or partial(
        AblatedAttention, enhance=enhance, mode=mode, squeeze=squeeze, position=position
    )
    return SeaFormerSegmenter(
        CONVOLVED if attention == "conv" else TINY,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
        attention=make,
        fusion=fusion,
        simple_width=SIMPLE_WIDTHS["tiny"] if head == "simple" else None,
    )


def seaformer_small_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
    head: str = "light",
) -> SeaFormerSegmenter:
    """SeaFormer-Small, light head: 4.0 M parameters, 39.4 % mIoU on ADE20K (Table 2).

    Args:
        head: "light" or "simple" (Table 13).
    """
    return SeaFormerSegmenter(
        SMALL,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
        simple_width=SIMPLE_WIDTHS["small"] if head == "simple" else None,
    )


def seaformer_base_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
    fuse_dims: str = "128-160",
    head: str = "light",
) -> SeaFormerSegmenter:
    """SeaFormer-Base, light head: 8.6 M parameters, 41.0 % mIoU on ADE20K (Table 2).

    Args:
        fuse_dims: channels of the two fusion blocks; Table 12 has others.
        head: "light" or "simple" (Table 13).
    """
    return SeaFormerSegmenter(
        replace(BASE, fuse_dims=tuple(map(int, fuse_dims.split("-")))),
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
        simple_width=SIMPLE_WIDTHS["base"] if head == "simple" else None,
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

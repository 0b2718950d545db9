"""TopFormer: token pyramid transformer for mobile segmentation, CVPR 2022 (arXiv 2204.05525).

"TopFormer: Token Pyramid Transformer for Mobile Semantic Segmentation", Zhang et al. MobileNetV2
blocks make feature maps of strides 4 to 32 (§3.1); all of them, averaged to stride 64 and joined,
attend to each other (§3.2); what leaves is split again and injected into the maps of strides 8 to
32 (§3.3), whose sum is classified per pixel (§3.4, the simple head). SeaFormer is built on this
network, so blocks and feed-forwards are those of `models.seaformer`. Variants: Table 1 of the paper
and the official configurations.

Parameter names are those of the official checkpoints (github.com/hustvl/TopFormer, mmsegmentation).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..heads.layers import resized
from ..layers import check_classes, drop_rates
from ..seaformer.fusion import ConvNorm as NamedConvNorm
from ..seaformer.fusion import LightHead
from ..seaformer.network import ConvNorm, MobileBlock, SeaLayer, SeaStage
from ..seaformer.simple_head import SimpleHead
from ..seaformer.variants import Block
from ..segmentation import SegmentationOutput, check_output, finish

__all__ = [
    "TopFormerSegmenter",
    "topformer_base_seg",
    "topformer_small_seg",
    "topformer_tiny_seg",
]

STEM_DIM = 16
DEPTH = 4
KEY_DIM = 16
VALUE_RATIO = 2
MLP_RATIO = 2


@dataclass(frozen=True)
class TopFormerConfig:
    """One variant.

    Attributes:
        dims: channels of the maps of strides 4 to 32.
        last_depth: number of blocks of the last stage.
        heads: of attention.
        width: channels of the injected maps and of the head.
        depthwise: whether the head's convolution is depthwise.
        fuse_dims: channels of the light head's fusion blocks, SeaFormer's.
    """

    dims: tuple[int, int, int, int]
    last_depth: int
    heads: int
    width: int
    fuse_dims: tuple[int, int]
    depthwise: bool = False

    @property
    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The MobileNetV2 blocks of each stride; the first of all keeps stride 2."""
        d4, d8, d16, d32 = self.dims
        last = [Block(5, 6, d32, 2), Block(5, 6, d32, 1), Block(3, 6, d32, 1)]
        return (
            (Block(3, 1, STEM_DIM, 1), Block(3, 4, d4, 2), Block(3, 3, d4, 1)),
            (Block(5, 3, d8, 2), Block(5, 3, d8, 1)),
            (Block(3, 3, d16, 2), Block(3, 3, d16, 1)),
            tuple(last[: self.last_depth]),
        )


TINY = TopFormerConfig(
    (16, 32, 64, 96), last_depth=2, heads=4, width=128, fuse_dims=(64, 96), depthwise=True
)
SMALL = TopFormerConfig((24, 48, 96, 128), last_depth=3, heads=6, width=192, fuse_dims=(96, 128))
BASE = TopFormerConfig((32, 64, 128, 160), last_depth=3, heads=8, width=256, fuse_dims=(128, 160))


class TokenPyramid(nn.Module):
    """Stem and blocks in a row: images (B, in_chans, H, W) -> the maps of strides 4 to 32."""

    def __init__(self, config: TopFormerConfig, in_chans: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(in_chans, STEM_DIM, 3, stride=2), nn.ReLU())
        self.ends = tuple(accumulate(len(stage) for stage in config.stages))
        dim = STEM_DIM
        for index, block in enumerate(chain.from_iterable(config.stages), 1):
            setattr(self, f"layer{index}", MobileBlock(dim, block))
            dim = block.channels

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        maps: list[Tensor] = []
        for index in range(1, self.ends[-1] + 1):
            x = getattr(self, f"layer{index}")(x)
            if index in self.ends:
                maps.append(x)
        return maps


class Attention(nn.Module):
    """Multi-head attention of all pixels, unscaled: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        keys = KEY_DIM * heads
        self.to_q = ConvNorm(dim, keys)
        self.to_k = ConvNorm(dim, keys)
        self.to_v = ConvNorm(dim, VALUE_RATIO * keys)
        self.proj = nn.Sequential(nn.ReLU6(), ConvNorm(VALUE_RATIO * keys, dim, gain=0.0))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        q, k, v = (
            to(x).reshape(batch, self.heads, -1, height * width)
            for to in (self.to_q, self.to_k, self.to_v)
        )
        weights = (q.transpose(-2, -1) @ k).softmax(-1)
        mixed = (v @ weights.transpose(-2, -1)).reshape(batch, -1, height, width)
        y: Tensor = self.proj(mixed)
        return y


class Injection(nn.Module):
    """local(x) · gate(context) + global(context): (B, dim, H, W), (B, dim, h, w) -> (B, width, …).

    The gate and the global part are upsampled to the map's size.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.local_embedding = NamedConvNorm(dim, width)
        self.global_embedding = NamedConvNorm(dim, width)
        self.global_act = NamedConvNorm(dim, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        size = x.shape[2:]
        gate = resized(F.hardsigmoid(self.global_act(context)), size)
        y: Tensor = self.local_embedding(x) * gate + resized(self.global_embedding(context), size)
        return y


class Backbone(nn.Module):
    """Images (B, in_chans, H, W) -> the injected maps of strides 8, 16 and 32."""

    def __init__(self, config: TopFormerConfig, *, in_chans: int, drop_path_rate: float) -> None:
        super().__init__()
        self.dims = config.dims
        self.tpm = TokenPyramid(config, in_chans)
        dim = sum(config.dims)
        self.trans = SeaStage(
            [
                SeaLayer(Attention(dim, config.heads), dim, MLP_RATIO, drop)
                for drop in drop_rates(drop_path_rate, DEPTH)
            ]
        )
        injections = [Injection(dim, config.width) for dim in config.dims[1:]]
        self.SIM = nn.ModuleList([nn.Identity(), *injections])

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.tpm(x)
        height, width = maps[-1].shape[2:]
        pooled = ((height + 1) // 2, (width + 1) // 2)
        joined = torch.cat([F.adaptive_avg_pool2d(x, pooled) for x in maps], 1)
        contexts = self.trans(joined).split(list(self.dims), 1)
        triples = list(zip(self.SIM, maps, contexts, strict=True))
        return [inject(x, context) for inject, x, context in triples[1:]]


class TopFormerSegmenter(nn.Module):
    """TopFormer segmenter: normalised images (B, in_chans, H, W) -> one score map per class.

    Any H and W from 1 up work; the logits are at stride 8. ``output``: see `models.segmentation`.

    Args:
        head: "simple", or SeaFormer's "light" one. No text or code says how the latter stands on
            TopFormer (Table 13 of arXiv 2301.13156): of the ways tried, on the injected maps and
            with SeaFormer's channels it has the printed parameters and FLOPs of all variants.
    """

    def __init__(
        self,
        config: TopFormerConfig,
        num_classes: int = 150,
        *,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        output: SegmentationOutput = "logits",
        head: str = "simple",
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        check_output(output)
        self.num_classes = num_classes
        self.output: SegmentationOutput = output
        self.backbone = Backbone(config, in_chans=in_chans, drop_path_rate=drop_path_rate)
        width, depthwise = config.width, config.depthwise
        self.decode_head: nn.Module = (
            SimpleHead(width, num_classes, depthwise=depthwise)
            if head == "simple"
            else LightHead(
                width, (width, width), config.fuse_dims, num_classes, depthwise=depthwise
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        logits = self.decode_head(self.backbone(x))
        return finish(logits, (x.shape[2], x.shape[3]), self.output)


def topformer_tiny_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    output: SegmentationOutput = "logits",
    fuse: str = "depthwise",
    head: str = "simple",
) -> TopFormerSegmenter:
    """TopFormer-Tiny: 1.4 M parameters, 34.6 % mIoU on ADE20K.

    Args:
        fuse: the head's convolution, "depthwise" or "dense"; FLOPs of SeaFormer++'s tables for
            Pascal Context and COCO-Stuff are those of the latter.
        head: "simple" or "light".
    """
    config = replace(TINY, depthwise=fuse == "depthwise")
    return TopFormerSegmenter(
        config, num_classes=num_classes, in_chans=in_chans, output=output, head=head
    )


def topformer_small_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    output: SegmentationOutput = "logits",
    head: str = "simple",
) -> TopFormerSegmenter:
    """TopFormer-Small: 3.1 M parameters, 37.0 % mIoU on ADE20K.

    Args:
        head: "simple" or "light".
    """
    return TopFormerSegmenter(
        SMALL, num_classes=num_classes, in_chans=in_chans, output=output, head=head
    )


def topformer_base_seg(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    output: SegmentationOutput = "logits",
    width: str = "256",
    head: str = "simple",
) -> TopFormerSegmenter:
    """TopFormer-Base: 5.1 M parameters, 39.2 % mIoU on ADE20K.

    Args:
        width: channels of the injected maps and of the head: "256", or "128" as in the official
            configuration for Cityscapes (topformer_base_1024x512_80k_2x8city.py).
        head: "simple" or "light".
    """
    config = replace(BASE, width=int(width))
    return TopFormerSegmenter(
        config, num_classes=num_classes, in_chans=in_chans, output=output, head=head
    )

"""EMO for semantic segmentation: DeepLabv3 and PSPNet heads (arXiv 2301.01146, Table 10).

The heads are those of DeepLabv3 (arXiv 1706.05587: atrous spatial pyramid pooling, rates 12, 24 and
36) and PSPNet (arXiv 1612.01105: a pyramid of 1, 2, 3 and 6 bins), 256 channels wide, on the last
stage of the backbone, at stride 32. Windows of attention are 7 pixels wide in EMO-1M and 2M and 16
in EMO-5M. Parameter names are those of the official checkpoints (github.com/zhangzjn/EMO,
mmsegmentation); their auxiliary head serves training only and is not built. Table 10's FLOPs are
mmcv's count, without the products of attention, cut after one digit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from ..heads.context import DeepLabHead, PSPHead
from ..layers import check_classes
from ..segmentation import SegmentationOutput, check_output, finish
from .network import EMO_1M, EMO_2M, EMO_5M, EMOBackbone, EMOConfig

__all__ = [
    "EMOSegmenter",
    "emo_1m_deeplabv3",
    "emo_1m_pspnet",
    "emo_2m_deeplabv3",
    "emo_2m_pspnet",
    "emo_5m_deeplabv3",
    "emo_5m_pspnet",
]

WIDTH = 256


class EMOSegmenter(nn.Module):
    """EMO and a head: normalised images (B, in_chans, H, W) -> one score map per class.

    The head's logits are (B, num_classes, ⌈H/32⌉, ⌈W/32⌉); ``output``: see
    `models.segmentation`.
    """

    training_only = ("auxiliary_head.",)

    def __init__(
        self,
        config: EMOConfig,
        head: type[DeepLabHead] | type[PSPHead],
        *,
        num_classes: int = 150,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        output: SegmentationOutput = "logits",
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        check_output(output)
        self.num_classes = num_classes
        self.output: SegmentationOutput = output
        self.backbone = EMOBackbone(config, in_chans=in_chans, drop_path_rate=drop_path_rate)
        self.decode_head = head(config.dims[-1:], WIDTH, num_classes)
        nn.init.normal_(self.decode_head.conv_seg.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.decode_head.conv_seg.bias))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.decode_head(self.backbone.stages(x)[-1:])
        return finish(logits, (x.shape[2], x.shape[3]), self.output)


_WIDE_WINDOWS = replace(EMO_5M, window=16)


def emo_1m_deeplabv3(
    num_classes: int = 150, *, in_chans: int = 3, output: SegmentationOutput = "logits"
) -> EMOSegmenter:
    """EMO-1M with DeepLabv3: 33.5 % mIoU on ADE20K (Table 10)."""
    return EMOSegmenter(
        EMO_1M, DeepLabHead, num_classes=num_classes, in_chans=in_chans, output=output
    )


def emo_2m_deeplabv3(
    num_classes: int = 150, *, in_chans: int = 3, output: SegmentationOutput = "logits"
) -> EMOSegmenter:
    """EMO-2M with DeepLabv3: 35.3 % mIoU on ADE20K (Table 10)."""
    return EMOSegmenter(
        EMO_2M, DeepLabHead, num_classes=num_classes, in_chans=in_chans, output=output
    )


def emo_5m_deeplabv3(
    num_classes: int = 150, *, in_chans: int = 3, output: SegmentationOutput = "logits"
) -> EMOSegmenter:
    """EMO-5M with DeepLabv3: 37.8 % mIoU on ADE20K (Table 10)."""
    return EMOSegmenter(
        _WIDE_WINDOWS, DeepLabHead, num_classes=num_classes, in_chans=in_chans, output=output
    )


def emo_1m_pspnet(
    num_classes: int = 150, *, in_chans: int = 3, output: SegmentationOutput = "logits"
) -> EMOSegmenter:
    """EMO-1M with PSPNet: 33.2 % mIoU on ADE20K (Table 10)."""
    return EMOSegmenter(EMO_1M, PSPHead, num_classes=num_classes, in_chans=in_chans, output=output)


def emo_2m_pspnet(
    num_classes: int = 150, *, in_chans: int = 3, output: SegmentationOutput = "logits"
) -> EMOSegmenter:
    """EMO-2M with PSPNet: 34.5 % mIoU on ADE20K (Table 10)."""
    return EMOSegmenter(EMO_2M, PSPHead, num_classes=num_classes, in_chans=in_chans, output=output)


def emo_5m_pspnet(
    num_classes: int = 150, *, in_chans: int = 3, output: SegmentationOutput = "logits"
) -> EMOSegmenter:
    """EMO-5M with PSPNet: 38.2 % mIoU on ADE20K (Table 10)."""
    return EMOSegmenter(
        _WIDE_WINDOWS, PSPHead, num_classes=num_classes, in_chans=in_chans, output=output
    )

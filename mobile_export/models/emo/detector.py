"""EMO for object detection: SSDLite (arXiv 2301.01146, §3.2 and Table 8).

The head (`heads.ssdlite`) stands on stages 3 and 4 of the backbone. EMO-5M's windows of attention
are 10 pixels wide in the official configurations (github.com/zhangzjn/EMO), the others' 7.
Parameter names are those of the checkpoints.

Table 8's FLOPs are mmcv's count (no products of attention) of these networks at 320 x 320, cut
after one digit: 0.60, 0.98 and 1.87 G are printed as 0.6, 0.9 and 1.8. `mobile-export list` counts
the products, too: 0.62, 1.03 and 1.97 G.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..heads.detector import DetectionOutput, Detector, check_detection_output
from ..heads.ssdlite import EXTRA_DIMS, SSDLiteHead, SSDNeck
from .network import EMO_1M, EMO_2M, EMO_5M, EMOBackbone, EMOConfig

__all__ = [
    "EMODetector",
    "emo_1m_ssdlite",
    "emo_2m_ssdlite",
    "emo_5m_ssdlite",
]


class EMODetector(Detector):
    """EMO and SSDLite: normalised images (B, in_chans, H, W) -> boxes and scores.

    The anchors are made for 320 x 320 pixels; other sizes work, with anchors of the same pixels.
    """

    backbone: EMOBackbone
    classes_of = staticmethod(SSDLiteHead.classes_of)

    def __init__(
        self,
        config: EMOConfig,
        *,
        num_classes: int = 80,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        output: DetectionOutput = "boxes",
    ) -> None:
        check_detection_output(output, num_classes)
        dims = config.dims[-2:]
        super().__init__(
            EMOBackbone(config, in_chans=in_chans, drop_path_rate=drop_path_rate),
            SSDNeck(dims),
            SSDLiteHead((*dims, *EXTRA_DIMS), num_classes),
            num_classes=num_classes,
            output=output,
        )

    def pyramid(self, x: Tensor) -> list[Tensor]:
        return self.backbone.stages(x)[-2:]


def emo_1m_ssdlite(
    num_classes: int = 80, *, in_chans: int = 3, output: DetectionOutput = "boxes"
) -> EMODetector:
    """EMO-1M with SSDLite: 22.0 AP on COCO (Table 8)."""
    return EMODetector(EMO_1M, num_classes=num_classes, in_chans=in_chans, output=output)


def emo_2m_ssdlite(
    num_classes: int = 80, *, in_chans: int = 3, output: DetectionOutput = "boxes"
) -> EMODetector:
    """EMO-2M with SSDLite: 25.2 AP on COCO (Table 8)."""
    return EMODetector(EMO_2M, num_classes=num_classes, in_chans=in_chans, output=output)


def emo_5m_ssdlite(
    num_classes: int = 80, *, in_chans: int = 3, output: DetectionOutput = "boxes"
) -> EMODetector:
    """EMO-5M with SSDLite: 27.9 AP on COCO (Table 8)."""
    config = replace(EMO_5M, window=10)
    return EMODetector(config, num_classes=num_classes, in_chans=in_chans, output=output)

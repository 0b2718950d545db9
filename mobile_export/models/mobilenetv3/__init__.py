"""MobileNetV3 (ICCV 2019; arXiv 1905.02244): widths that libraries lack, and LR-ASPP as printed."""

from __future__ import annotations

from ..entry import SEGMENTATION, ModelEntry, Published

__all__ = ["ROWS"]

CODE = "https://github.com/pytorch/vision"


def _segmenter(variant: str, params_m: float, macs_m: float, miou: float) -> ModelEntry:
    """Figures are of Cityscapes, 1024x2048 pixels and 19 classes."""
    return ModelEntry(
        name=f"mobilenetv3_{variant}_lraspp",
        family="MobileNetV3",
        builder=f"mobilenetv3.segmenter:mobilenetv3_{variant}_lraspp",
        published=Published(
            source="MobileNetV3 (arXiv 1905.02244), Table 7; mIoU: SeaFormer++ (arXiv 2301.13156), "
            "Table 3",
            params_m=params_m,
            macs_m=macs_m,
            miou=miou,
            code=CODE,
        ),
        task="segmentation",
        size=(1024, 2048),
        num_classes=19,
        options=(*SEGMENTATION, ("tail", ("reduced", "full"))),
        weight_options=("tail",),
    )


ROWS = (
    ModelEntry(
        name="mobilenetv3_large",
        family="MobileNetV3",
        builder="mobilenetv3.network:mobilenetv3_large",
        published=Published(
            source="SeaFormer++ (arXiv 2301.13156), Table 14; EMO (arXiv 2301.01146), Table 7",
            params_m=5.4,
            macs_m=217,
            top1=75.2,
            code=CODE,
        ),
        options=(("width", ("1.0", "0.5", "1.25")),),
        weight_options=("width",),
    ),
    _segmenter("large", 1.51, 9740, 72.4),
    _segmenter("small", 0.47, 2900, 68.4),
)

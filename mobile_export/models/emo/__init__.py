"""EMO (ICCV 2023, arXiv 2301.01146): classifiers, segmenters and detectors."""

from __future__ import annotations

from ...graph.specs import Recipe
from ..entry import DETECTION, SEGMENTATION, ModelEntry, Published

__all__ = ["ROWS"]

_CENTRE = Recipe(0.875, "center", "bicubic", "configs/mobile/cls_emo.py of the official code")
_SQUASH = Recipe(
    1.0, "squash", "bilinear", "ssd_emo/ssdlite_emo_*_pretrain_coco.py of the official code"
)


def _classifier(
    variant: str,
    params_m: float,
    macs_m: float,
    top1: float,
    options: tuple[tuple[str, tuple[str, ...]], ...] = (),
) -> ModelEntry:
    return ModelEntry(
        name=f"emo_{variant}",
        family="EMO",
        builder=f"emo.network:emo_{variant}",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 7",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/zhangzjn/EMO",
        ),
        recipe=_CENTRE,
        strides=(2, 4, 8, 16, 32),
        options=options,
        weight_options=tuple(key for key, _ in options),
    )


def _segmenter(variant: str, head: str, params_m: float, macs_m: float, miou: float) -> ModelEntry:
    return ModelEntry(
        name=f"emo_{variant}_{head}",
        family="EMO",
        builder=f"emo.segmenter:emo_{variant}_{head}",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 10",
            params_m=params_m,
            macs_m=macs_m,
            miou=miou,
            code="https://github.com/zhangzjn/EMO",
        ),
        task="segmentation",
        size=(512, 512),
        num_classes=150,
        classes="ade20k150",
        options=SEGMENTATION,
    )


def _detector(variant: str, params_m: float, macs_m: float, box_ap: float) -> ModelEntry:
    return ModelEntry(
        name=f"emo_{variant}_ssdlite",
        family="EMO",
        builder=f"emo.detector:emo_{variant}_ssdlite",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 8",
            params_m=params_m,
            macs_m=macs_m,
            box_ap=box_ap,
            code="https://github.com/zhangzjn/EMO",
        ),
        task="detection",
        size=(320, 320),
        num_classes=80,
        classes="coco80",
        recipe=_SQUASH,
        options=DETECTION,
    )


ROWS = (
    _classifier("1m", 1.3, 261, 71.5),
    _classifier("2m", 2.3, 439, 75.1),
    _classifier(
        "5m",
        5.1,
        903,
        78.4,
        (
            ("depths", ("3-3-9-3", "2-2-10-3", "2-2-12-2", "4-4-8-3")),
            ("attention", ("34", "4", "234", "1234", "none")),
            ("dw_conv", ("all", "downsampling")),
        ),
    ),
    _classifier("6m", 6.1, 961, 79.0),
    ModelEntry(
        name="deit_tiny_irmb",
        family="EMO",
        builder="emo.columnar:deit_tiny_irmb",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 3",
            params_m=4.9,
            macs_m=1102,
            top1=74.3,
            code=None,
        ),
        size_step=16,
        min_size=16,
        sized=True,
    ),
    ModelEntry(
        name="pvt_tiny_irmb",
        family="EMO",
        builder="emo.pyramid:pvt_tiny_irmb",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 3",
            params_m=11.7,
            macs_m=1845,
            top1=75.4,
            code=None,
        ),
        size_step=32,
        min_size=32,
        sized=True,
    ),
    _segmenter("1m", "deeplabv3", 5.6, 2400, 33.5),
    _segmenter("2m", "deeplabv3", 6.9, 3500, 35.3),
    _segmenter("5m", "deeplabv3", 10.3, 5800, 37.8),
    _segmenter("1m", "pspnet", 4.3, 2100, 33.2),
    _segmenter("2m", "pspnet", 5.5, 3100, 34.5),
    _segmenter("5m", "pspnet", 8.5, 5300, 38.2),
    _detector("1m", 2.3, 600, 22.0),
    _detector("2m", 3.3, 900, 25.2),
    _detector("5m", 6.0, 1800, 27.9),
)

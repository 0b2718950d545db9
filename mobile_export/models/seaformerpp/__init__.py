"""SeaFormer++ (IJCV 2025, arXiv 2301.13156): classifiers and segmenters.

The networks are built on those of `seaformer`.
"""

from __future__ import annotations

from ..entry import SEGMENTATION, ModelEntry, Published

__all__ = ["ROWS"]


def _classifier(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"seaformerpp_{variant}",
        family="SeaFormer++",
        builder=f"seaformerpp.network:seaformerpp_{variant}",
        published=Published(
            source="SeaFormer++ (arXiv 2301.13156), Table 14",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code=None,
        ),
        strides=(4, 8, 16, 32, 64),
    )


def _segmenter(variant: str, params_m: float, macs_m: float, miou: float) -> ModelEntry:
    """A row of Table 2; the FLOPs are Table 13's, which has more digits, where it has the model."""
    module = "distilled" if variant.endswith("_kd") else "network"
    return ModelEntry(
        name=f"seaformerpp_{variant}_seg",
        family="SeaFormer++",
        builder=f"seaformerpp.{module}:seaformerpp_{variant}_seg",
        published=Published(
            source="SeaFormer++ (arXiv 2301.13156), Tables 2 and 13",
            params_m=params_m,
            macs_m=macs_m,
            miou=miou,
            code=None,
        ),
        task="segmentation",
        size=(512, 512),
        num_classes=150,
        classes="ade20k150",
        options=SEGMENTATION,
    )


ROWS = (
    _classifier("tiny", 1.9, 100, 69.8),
    _classifier("small", 4.2, 200, 74.5),
    _classifier("base", 8.8, 300, 77.0),
    _classifier("large", 14.1, 1200, 80.6),
    _segmenter("tiny", 1.8, 610, 36.8),
    _segmenter("small", 4.1, 1110, 39.7),
    _segmenter("base", 8.7, 1830, 41.4),
    _segmenter("large", 14.1, 6500, 43.8),
    _segmenter("tiny_kd", 2.3, 300, 35.5),
    _segmenter("small_kd", 5.0, 500, 38.4),
    _segmenter("base_kd", 10.2, 900, 39.5),
    _segmenter("large_kd", 17.1, 2900, 42.2),
)

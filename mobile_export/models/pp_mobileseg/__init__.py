"""PP-MobileSeg (arXiv 2304.05152): segmenters of Paddle."""

from __future__ import annotations

from ..entry import SEGMENTATION, ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="pp_mobileseg_tiny",
        family="PP-MobileSeg",
        builder="pp_mobileseg.network:pp_mobileseg_tiny",
        published=Published(
            source="SeaFormer++ (arXiv 2301.13156), Table 2",
            params_m=1.5,
            macs_m=700,
            miou=36.4,
            code="https://github.com/PaddlePaddle/PaddleSeg",
        ),
        task="segmentation",
        size=(512, 512),
        size_step=16,
        num_classes=150,
        classes="ade20k150",
        options=SEGMENTATION,
    ),
)

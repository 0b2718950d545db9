"""HiFormer (WACV 2023; arXiv 2207.08518): a segmenter of medical pictures."""

from __future__ import annotations

from ..entry import SEGMENTATION, ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="hiformer_s",
        family="HiFormer",
        builder="hiformer.network:hiformer_s",
        published=Published(
            source="HiFormer (arXiv 2207.08518), official code (without its fusion of class "
            "tokens, which nothing reads)",
            params_m=None,
            macs_m=None,
            code="https://github.com/amirhossein-kz/HiFormer",
        ),
        task="segmentation",
        size_step=112,
        sized=True,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=9,
        options=SEGMENTATION,
    ),
)

"""T2T-ViT (ICCV 2021; arXiv 2101.11986): tokens of tokens."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="t2t_vit_7",
        family="T2T-ViT",
        builder="t2t_vit.network:t2t_vit_7",
        published=Published(
            source="T2T-ViT (arXiv 2101.11986), README of the official code",
            params_m=4.3,
            macs_m=1100,
            top1=71.7,
            code="https://github.com/yitu-opensource/T2T-ViT",
        ),
        size_step=16,
        sized=True,
    ),
)

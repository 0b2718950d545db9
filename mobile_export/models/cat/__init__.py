"""CAT (NeurIPS 2022; arXiv 2211.13654): super-resolution by attention within rectangles."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="cat_r_x4",
        family="CAT (image restoration)",
        builder="cat.network:cat_r_x4",
        published=Published(
            source="CAT (arXiv 2211.13654), README of the official code",
            params_m=16.6,
            macs_m=292700,
            code="https://github.com/zhengchen1999/CAT",
        ),
        task="super-resolution",
        size=(128, 128),
        size_step=16,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=None,
    ),
)

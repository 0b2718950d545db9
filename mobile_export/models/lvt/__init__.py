"""LVT (CVPR 2022; arXiv 2112.10809): a lite vision transformer with enhanced self-attention."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="lvt",
        family="LVT",
        builder="lvt.network:lvt",
        published=Published(
            source="SeaFormer++ (arXiv 2301.13156), Table 14",
            params_m=5.5,
            macs_m=900,
            top1=74.8,
            code="https://github.com/Chenglin-Yang/LVT",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    ),
)

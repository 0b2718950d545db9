"""SVT (NeurIPS 2023; arXiv 2311.01310): a vision transformer with wavelets in its first stage."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="svt_s",
        family="SVT",
        builder="svt.network:svt_s",
        published=Published(
            source="SVT (arXiv 2311.01310), README of the official code",
            params_m=22.0,
            macs_m=3900,
            top1=84.2,
            code="https://github.com/badripatro/svt",
        ),
        size_step=32,
        min_size=64,
        sized=True,
    ),
)

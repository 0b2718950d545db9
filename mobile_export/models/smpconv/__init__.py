"""SMPConv (CVPR 2023; arXiv 2304.02330): large kernels of points that move."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="smpconv_tiny",
        family="SMPConv",
        builder="smpconv.network:smpconv_tiny",
        published=Published(
            source="SMPConv (arXiv 2304.02330), README of the official code",
            params_m=27,
            macs_m=5700,
            top1=82.5,
            code="https://github.com/sangnekim/SMPConv",
        ),
        strides=(4, 8, 16, 32),
    ),
)

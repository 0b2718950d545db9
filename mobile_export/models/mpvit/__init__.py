"""MPViT (CVPR 2022; arXiv 2112.11010): tokens of several scales side by side."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="mpvit_tiny",
        family="MPViT",
        builder="mpvit.network:mpvit_tiny",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 7",
            params_m=5.8,
            macs_m=1654,
            top1=78.2,
            code="https://github.com/youngwanLEE/MPViT",
        ),
        strides=(4, 8, 16, 32),
    ),
)
